package command_test

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"godwit/internal/command"
	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// subject is a server that the tests run on.
type subject struct {
	name    string
	version command.Version
	format  rdb.Format
}

func subjects() []subject {
	return []subject{
		{"redis-6.0", command.Version{Product: rdb.Redis, Major: 6}, rdb.Format{Family: rdb.Redis, Version: 9}},
		{"redis-7.0", command.Version{Product: rdb.Redis, Major: 7}, rdb.Format{Family: rdb.Redis, Version: 10}},
		{"redis-8.0", command.Version{Product: rdb.Redis, Major: 8}, rdb.Format{Family: rdb.Redis, Version: 12}},
		{"redis-8.6", command.Version{Product: rdb.Redis, Major: 8, Minor: 6}, rdb.Format{Family: rdb.Redis, Version: 13}},
		{"valkey-8.0", command.Version{Product: rdb.Valkey, Major: 8}, rdb.Format{Family: rdb.Valkey, Version: 11}},
		{"valkey-8.1", command.Version{Product: rdb.Valkey, Major: 8, Minor: 1}, rdb.Format{Family: rdb.Valkey, Version: 11}},
		{"valkey-9.1", command.Version{Product: rdb.Valkey, Major: 9, Minor: 1}, rdb.Format{Family: rdb.Valkey, Version: 80}},
		{"redict-7.3", command.Version{Product: rdb.Redict, Major: 7, Minor: 3}, rdb.Format{Family: rdb.Redict, Version: 12}},
	}
}

// databases is how many the servers of the tests have.
const databases = 16

// capabilities are what the table knows of the subject.
func (s subject) capabilities() command.Capabilities {
	c := command.NewCapabilities(s.version, s.format, databases)
	if s.version.Product == rdb.Redis && s.version.AtLeast(8, 0) {
		c.Module = func(id rdb.ModuleID) bool { return id.Name() == "vectorset" }
	}
	return c
}

// asked are the capabilities by the server's own replies to COMMAND and COMMAND DOCS.
func (s subject) asked(t testing.TB, client *server.Client) command.Capabilities {
	t.Helper()
	c := s.capabilities()
	reply, err := client.Do(t.Context(), "COMMAND")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Learnt.Commands(reply); err != nil {
		t.Fatal(err)
	}
	if s.name == "redis-6.0" {
		return c // before COMMAND DOCS
	}
	if reply, err = client.Do(t.Context(), docs(&c)...); err != nil {
		t.Fatal(err)
	}
	if err := c.Learnt.Docs(reply); err != nil {
		t.Fatal(err)
	}
	return c
}

// docs asks for the arguments of all commands that matter.
func docs(c *command.Capabilities) []any {
	question := []any{"COMMAND", "DOCS"}
	for _, name := range c.Learnt.Worth() {
		question = append(question, name)
	}
	return question
}

func start(t testing.TB, s subject) *sandbox.Server {
	t.Helper()
	var o sandbox.Options
	if s.version.Product != rdb.Redis || s.version.AtLeast(7, 0) {
		o.Args = []string{"--enable-debug-command yes"}
	}
	return sandboxtest.Start(t, s.name, o)
}

// propagated is a command as it came over a replication stream.
type propagated struct {
	args [][]byte
	at   int64 // milliseconds since 1970
}

// done is a line of writes.txt and what came of it.
type done struct {
	write
	err        error // the server's
	propagated []propagated
}

// source is a server whose replication stream is recorded.
type source struct {
	t       testing.TB
	client  *server.Client
	conn    *redis.Conn
	blocked sync.WaitGroup

	mu     sync.Mutex
	stream []byte
	first  int64 // the offset before stream[0]
	read   int   // of stream
}

// record attaches to an empty server as a replica.
func record(t testing.TB, s *sandbox.Server) *source {
	t.Helper()
	r := &source{t: t, client: sandboxtest.Client(t, s)}
	// Keys that expire are gone when they are looked for, not whenever it happens.
	r.must("DEBUG", "SET-ACTIVE-EXPIRE", 0)
	r.conn = r.client.Redis().Conn()
	t.Cleanup(func() { _ = r.conn.Close() })

	conn, err := s.Endpoint().DialConn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream, answer, err := psync.Attach(t.Context(), conn, psync.Hello{EOF: true, PSYNC2: true}, "?", psync.NoOffset, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.first = answer.Offset
	header, err := stream.SnapshotHeader(nil)
	if err != nil {
		t.Fatal(err)
	}
	scanner := rdb.NewScanner(stream, rdb.ScannerOptions{})
	for err == nil {
		_, err = scanner.Next()
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	rest := append([]byte(nil), scanner.Buffered()...)
	if header.Length < 0 {
		mark := make([]byte, max(0, len(header.Mark)-len(rest)))
		if _, err := io.ReadFull(stream, mark); err != nil {
			t.Fatal(err)
		}
		rest = rest[min(len(rest), len(header.Mark)):]
	}
	r.stream = rest
	var group sync.WaitGroup
	stop := make(chan struct{})
	group.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := stream.Read(buf)
			r.mu.Lock()
			r.stream = append(r.stream, buf[:n]...)
			r.mu.Unlock()
			if err != nil {
				return
			}
		}
	})
	group.Go(func() { // a diskless primary waits for an ACK after its child has ended
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				_ = stream.Ack(0)
			case <-stop:
				return
			}
		}
	})
	t.Cleanup(func() {
		close(stop)
		_ = stream.Close()
		group.Wait()
		r.blocked.Wait()
	})
	return r
}

// settle waits for the end of the snapshot: a FLUSHALL kills its child.
func (r *source) settle() {
	r.t.Helper()
	for !strings.Contains(r.info("replication", "slave0"), "state=online") || r.info("persistence", "rdb_bgsave_in_progress") != "0" {
		time.Sleep(time.Millisecond)
	}
}

func (r *source) must(args ...any) any {
	r.t.Helper()
	reply, err := r.client.Do(r.t.Context(), args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply
}

func (r *source) info(section, field string) string {
	r.t.Helper()
	info, err := r.client.Info(r.t.Context(), section)
	if err != nil {
		r.t.Fatal(err)
	}
	return info[field]
}

// new is what has come over the stream since it was last asked, but for PING and
// REPLCONF GETACK, which are no data.
func (r *source) new() []propagated {
	r.t.Helper()
	offset, err := strconv.ParseInt(r.info("replication", "master_repl_offset"), 10, 64)
	if err != nil {
		r.t.Fatal(err)
	}
	var all []propagated
	deadline := time.Now().Add(10 * time.Second)
	for r.first+int64(r.read) < offset {
		r.mu.Lock()
		buf := r.stream[r.read:]
		r.mu.Unlock()
		e, err := resp.Scan(buf, nil)
		switch {
		case errors.Is(err, resp.ErrIncomplete):
			if time.Now().After(deadline) {
				r.t.Fatal("the stream does not come")
			}
			time.Sleep(time.Millisecond)
			continue
		case err != nil:
			r.t.Fatal(err)
		}
		r.read += e.Size
		if len(e.Args) > 0 && !strings.EqualFold(string(e.Args[0]), "PING") && !strings.EqualFold(string(e.Args[0]), "REPLCONF") {
			all = append(all, propagated{e.Args, time.Now().UnixMilli()})
		}
	}
	return all
}

// play sends all writes, and collects what is propagated.
func (r *source) play(all []write) []done {
	r.t.Helper()
	var results []done
	stored := ""
	for _, w := range all {
		d := done{write: w}
		args := w.args(stored)
		if w.blocks {
			d.err = r.block(args)
		} else {
			reply, err := r.conn.Do(r.t.Context(), args...).Result()
			if err != nil && err != redis.Nil { //nolint:errorlint // the library's own value
				d.err = err
			}
			if w.store {
				stored, _ = reply.(string)
			}
		}
		d.propagated = r.new()
		results = append(results, d)
	}
	return append(results, r.expire())
}

// expire lets go what has expired meanwhile.
func (r *source) expire() done {
	r.t.Helper()
	r.must("DEBUG", "SET-ACTIVE-EXPIRE", 1)
	d := done{write: write{text: "expiry"}}
	for quiet := 0; quiet < 50; quiet++ {
		more := r.new()
		if len(more) > 0 {
			quiet = 0
		}
		d.propagated = append(d.propagated, more...)
		time.Sleep(10 * time.Millisecond)
	}
	return d
}

// block sends a command that blocks, and returns when it does, or has failed.
func (r *source) block(args []any) error {
	r.t.Helper()
	before := r.info("clients", "blocked_clients")
	failed := make(chan error, 1)
	r.blocked.Go(func() {
		conn := r.client.Redis().Conn()
		defer conn.Close()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		failed <- conn.Do(ctx, args...).Err()
	})
	for {
		select {
		case err := <-failed:
			return err
		default:
		}
		if r.info("clients", "blocked_clients") != before {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
}
