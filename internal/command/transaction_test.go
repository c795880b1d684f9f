package command_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/resp"
)

// TestReplicaCountsWholeTransactions is why several commands that replace one
// come in MULTI and EXEC: a replica that is cut off between them asks for all of
// them again, and has applied none.
func TestReplicaCountsWholeTransactions(t *testing.T) {
	before := resp.AppendCommand(nil, "SET", "before", "1")
	part := resp.AppendCommand(resp.AppendCommand(nil, "MULTI"), "INCR", "n")
	whole := resp.AppendCommand(resp.AppendCommand(part, "INCR", "n"), "EXEC")
	replid := strings.Repeat("a", 40)
	for _, s := range subjects() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			to := newTarget(t, s)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer listener.Close()
			accept := func() *psync.Peer {
				conn, err := listener.Accept()
				if err != nil {
					t.Fatal(err)
				}
				peer, err := psync.Accept(ctx, conn, func(string, string) (string, bool) { return "", true })
				if err != nil {
					t.Fatal(err)
				}
				return peer
			}
			applied := func(offset int) {
				t.Helper()
				want := fmt.Sprint(offset)
				for {
					info, err := to.client.Info(ctx, "replication")
					if err != nil {
						t.Fatal(err)
					}
					if info["slave_repl_offset"] == want {
						return
					}
					time.Sleep(2 * time.Millisecond)
				}
			}
			_, port, _ := net.SplitHostPort(listener.Addr().String())
			if _, err := to.client.Do(ctx, "REPLICAOF", "127.0.0.1", port); err != nil {
				t.Fatal(err)
			}
			peer := accept()
			var snapshot bytes.Buffer
			if err := rdb.NewWriter(&snapshot, s.format, rdb.WriterOptions{}).End(); err != nil {
				t.Fatal(err)
			}
			if err := peer.FullResync(replid, firstOffset); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(peer, "$%d\r\n%s%s%s", snapshot.Len(), snapshot.Bytes(), before, part)
			applied(firstOffset + len(before))
			time.Sleep(50 * time.Millisecond) // time enough to count the part, if it would
			applied(firstOffset + len(before))
			_ = peer.Close()

			peer = accept()
			defer peer.Close()
			if want := int64(firstOffset + len(before) + 1); peer.Offset != want {
				t.Fatalf("asks for %d, want %d", peer.Offset, want)
			}
			if err := peer.Continue(replid); err != nil {
				t.Fatal(err)
			}
			if _, err := peer.Write(whole); err != nil {
				t.Fatal(err)
			}
			applied(firstOffset + len(before) + len(whole))
			if n, err := to.client.Do(ctx, "GET", "n"); err != nil || n != "2" {
				t.Errorf("n is %v, %v", n, err)
			}
		})
	}
}
