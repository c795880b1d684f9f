package resp_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/psync"
	"godwit/internal/resp"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sizes are lengths of no-ops: all of the small ones, all around the places
// where a length gains a digit or a command is begun, and samples between.
func sizes() []int {
	var list []int
	for n := 1; n <= 70000; n++ {
		near := func(edge int) bool { return n >= edge-40 && n <= edge+40 }
		if n <= 300 || n%611 == 0 || near(1000) || near(10000) || near(16<<10) || near(32<<10) || near(64<<10) {
			list = append(list, n)
		}
	}
	return list
}

func TestFillNoopIsWholeCommandsOfExactlyThatSize(t *testing.T) {
	for _, n := range sizes() {
		guarded := bytes.Repeat([]byte("#"), n+2)
		resp.FillNoop(guarded[1 : n+1])
		if guarded[0] != '#' || guarded[n+1] != '#' {
			t.Fatalf("%d: wrote beyond its bytes", n)
		}
		newlines := 0
		var last resp.Extent
		for rest := guarded[1 : n+1]; len(rest) > 0; rest = rest[last.Size:] {
			e, err := resp.Scan(rest, nil)
			if err != nil {
				t.Fatalf("%d: %v in %q", n, err, rest[:min(len(rest), 40)])
			}
			if e.Total == 0 {
				newlines++
			} else if string(e.Args[0]) != "PING" || e.Total > 2 {
				t.Fatalf("%d: %q", n, e.Args)
			}
			last = e
		}
		if n >= resp.MinNoop && last.Total == 0 {
			t.Errorf("%d: ends in a newline", n)
		}
		if newlines >= resp.MinNoop {
			t.Errorf("%d: %d newlines", n, newlines)
		}
	}
}

// Each server counts the no-ops of every size as the bytes that they are, and
// at once: a switch waits for the offset.
func TestReplicasCountFillNoop(t *testing.T) {
	for _, name := range []string{"redis-6.0", "redis-7.0", "redis-8.0", "valkey-8.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, name, sandbox.Options{})
			client := sandboxtest.Client(t, s)
			const offset = 1000
			peer := primaryFor(t, client, offset)
			at := int64(offset)
			for _, n := range sizes() {
				if n < resp.MinNoop {
					continue // counted together with what follows: below
				}
				b := make([]byte, n)
				resp.FillNoop(b)
				if _, err := peer.Write(b); err != nil {
					t.Fatal(err)
				}
				at += int64(n)
				awaitOffset(t, client, at)
			}
			for n := 1; n < resp.MinNoop; n++ {
				b := make([]byte, n)
				resp.FillNoop(b)
				b = resp.AppendCommand(b, "PING")
				if _, err := peer.Write(b); err != nil {
					t.Fatal(err)
				}
				at += int64(len(b))
				awaitOffset(t, client, at)
			}
		})
	}
}

// primaryFor makes the server a replica of this test, with nothing in its snapshot.
func primaryFor(t *testing.T, client *server.Client, offset int64) *psync.Peer {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := client.Do(t.Context(), "REPLICAOF", "127.0.0.1", listener.Addr().(*net.TCPAddr).Port); err != nil {
		t.Fatal(err)
	}
	conn, err := listener.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	peer, err := psync.Accept(t.Context(), conn, func(string, string) (string, bool) { return "replica", true })
	if err != nil {
		t.Fatal(err)
	}
	if err := peer.FullResync(strings.Repeat("a", 40), offset); err != nil {
		t.Fatal(err)
	}
	const empty = "REDIS0009\xff\x00\x00\x00\x00\x00\x00\x00\x00" // a checksum of 0 is not checked
	if _, err := fmt.Fprintf(peer, "$%d\r\n%s", len(empty), empty); err != nil {
		t.Fatal(err)
	}
	for {
		offset, err := peer.ReadAck()
		if err != nil {
			t.Fatal(err)
		}
		if offset >= 0 {
			return peer // it has loaded
		}
	}
}

func awaitOffset(t *testing.T, client *server.Client, want int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	got := ""
	for ctx.Err() == nil {
		info, err := client.Info(ctx, "replication")
		if err != nil {
			break
		}
		if got = info["slave_repl_offset"]; got == strconv.FormatInt(want, 10) {
			return
		}
	}
	t.Fatalf("the replica stands at %s, want %d", got, want)
}
