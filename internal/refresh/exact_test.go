package refresh_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/refresh"
	"godwit/internal/resp"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// servers have each way of asking for TTLs and of propagating them.
func servers() []string { return []string{"redis-6.0", "redis-7.0", "redis-8.6", "valkey-9.1"} }

// dial connects for the length of the test.
func dial(t *testing.T, s *sandbox.Server) *refresh.Conn {
	t.Helper()
	c, err := refresh.Dial(t.Context(), s.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// The value of a key at an offset is the last that the stream has given it up to
// there, which the test reads as one more replica.
func TestReadIsExact(t *testing.T) {
	const (
		writers = 4
		keys    = 40 // more than a group of PTTLs
		looks   = 300
	)
	for _, name := range servers() {
		t.Run(name, func(t *testing.T) {
			s := sandboxtest.Start(t, name, sandbox.Options{})
			stream := follow(t, s)
			names := make([][]byte, keys)
			for i := range names {
				names[i] = fmt.Appendf(nil, "key:%d", i)
			}
			stop := write(t, s, writers, names)
			c := dial(t, s)
			found := make([]look, looks)
			for i := range found {
				values, place, err := c.Read(t.Context(), 0, names)
				if err != nil {
					t.Fatal(err)
				}
				found[i] = look{place, states(t, values)}
			}
			stop()
			written := stream.until(t, found[looks-1].place.Offset)
			checkLooks(t, found, written, names)
			t.Logf("%d looks at %d keys, %d commands in the stream between them", looks, keys, len(written))
		})
	}
}

// look is what was read at a place.
type look struct {
	place refresh.Place
	keys  []state
}

// state is a string and its TTL; not there if the string is empty.
type state struct {
	value    string
	expireAt int64
}

func states(t *testing.T, values []refresh.Value) []state {
	t.Helper()
	crc := rdb.NewCRC64()
	all := make([]state, len(values))
	for i, v := range values {
		all[i].expireAt = v.ExpireAt
		if !v.Exists() {
			continue
		}
		f, body, err := rdb.OpenDump(v.Payload, crc)
		if err != nil {
			t.Fatal(err)
		}
		value, err := rdb.DecodeValue(f, rdb.Type(body[0]), body[1:])
		if err != nil {
			t.Fatal(err)
		}
		all[i].value = string(value.Elements[0].Value)
	}
	return all
}

func checkLooks(t *testing.T, found []look, written []event, names [][]byte) {
	t.Helper()
	now := make([]state, len(names))
	for i := range now {
		now[i].expireAt = rdb.None
	}
	next, between := 0, 0
	for n, l := range found {
		at := int64(0)
		for ; next < len(written) && written[next].end <= l.place.Offset; next++ {
			written[next].apply(t, now, names)
			at = written[next].end
			between++
		}
		if at != 0 && at != l.place.Offset {
			t.Fatalf("look %d: offset %d is within a command: the one before it ends at %d", n, l.place.Offset, at)
		}
		if !slices.Equal(now, l.keys) {
			for i := range now {
				if now[i] != l.keys[i] {
					t.Errorf("look %d, offset %d: %s is %v, and in the stream up to there %v", n, l.place.Offset, names[i], l.keys[i], now[i])
				}
			}
			t.FailNow()
		}
	}
	if between < len(found) {
		t.Errorf("only %d commands between %d looks", between, len(found))
	}
}

// event is a command of the stream, and the offset of its end.
type event struct {
	end  int64
	args []string
}

func (e event) apply(t *testing.T, now []state, names [][]byte) {
	if len(e.args) > 0 && (e.args[0] == "MULTI" || e.args[0] == "EXEC") {
		t.Fatalf("reading has put %s into the stream", e.args[0])
	}
	if len(e.args) < 2 {
		return
	}
	i := slices.IndexFunc(names, func(name []byte) bool { return string(name) == e.args[1] })
	if i < 0 {
		return
	}
	switch e.args[0] {
	case "SET":
		now[i] = state{e.args[2], rdb.None}
	case "PEXPIREAT":
		now[i].expireAt, _ = strconv.ParseInt(e.args[2], 10, 64)
	case "DEL":
		now[i] = state{"", rdb.None}
	}
}

// replica reads a server's replication stream.
type replica struct {
	mu     sync.Mutex
	events []event
	read   int64
}

// follow attaches a replica, and returns once its snapshot is read.
func follow(t *testing.T, s *sandbox.Server) *replica {
	t.Helper()
	conn, err := s.Endpoint().DialConn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream, answer, err := psync.Attach(t.Context(), conn, psync.Hello{PSYNC2: true}, "?", psync.NoOffset, nil)
	if err != nil {
		t.Fatal(err)
	}
	header, err := stream.SnapshotHeader(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, stream, header.Length); err != nil {
		t.Fatal(err)
	}
	r := &replica{read: answer.Offset}
	var group sync.WaitGroup
	group.Go(func() { r.follow(stream) })
	t.Cleanup(func() { conn.Close(); group.Wait() })
	return r
}

func (r *replica) follow(stream io.Reader) {
	var held []byte
	buf := make([]byte, 64<<10)
	var args [][]byte
	for {
		n, err := stream.Read(buf)
		if err != nil {
			return
		}
		held = append(held, buf[:n]...)
		r.mu.Lock()
		for {
			e, err := resp.Scan(held, args)
			if err != nil {
				break
			}
			args = e.Args
			r.read += int64(e.Size)
			words := make([]string, len(e.Args))
			for i, a := range e.Args {
				words[i] = string(a)
			}
			r.events = append(r.events, event{r.read, words})
			held = held[e.Size:]
		}
		r.mu.Unlock()
	}
}

// until waits for an offset and gives all commands.
func (r *replica) until(t *testing.T, offset int64) []event {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		r.mu.Lock()
		events, read := r.events, r.read
		r.mu.Unlock()
		if read >= offset {
			return events
		}
		if time.Now().After(deadline) {
			t.Fatalf("the stream was read up to %d, not to %d", read, offset)
		}
	}
}

// write has clients write to the keys, many commands at a time.
func write(t *testing.T, s *sandbox.Server, clients int, names [][]byte) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	for client := range clients {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Address())
		if err != nil {
			t.Fatal(err)
		}
		group.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			writeTo(conn, client, names)
		})
	}
	stop = func() { cancel(); group.Wait() }
	t.Cleanup(stop)
	return stop
}

func writeTo(conn net.Conn, client int, names [][]byte) {
	const pipelined = 32
	r := bufio.NewReader(conn)
	var out []byte
	for n := client; ; {
		out = out[:0]
		for range pipelined {
			n += 7
			name := string(names[n%len(names)])
			switch n % 5 {
			case 0:
				out = resp.AppendCommand(out, "PEXPIREAT", name, strconv.Itoa(4e12+n))
			case 1:
				out = resp.AppendCommand(out, "DEL", name)
			default:
				out = resp.AppendCommand(out, "SET", name, fmt.Sprintf("%d:%d", client, n))
			}
		}
		if _, err := conn.Write(out); err != nil {
			return
		}
		for range pipelined {
			if _, err := r.ReadSlice('\n'); err != nil {
				return
			}
		}
	}
}
