package apply

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/internal/audit"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/slot"
)

// A server whose append-only file ends within a command of a transaction goes on with what
// is before that command, and does it once more when it is started again.
func TestCutTransaction(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}})
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{AOF: true})
	shard := target.Nodes()[0]
	key := keyIn(t, target, 0)
	writer := sandboxtest.Client(t, source)
	write := func(n int, key string) {
		t.Helper()
		for range n {
			if _, err := writer.Do(t.Context(), "INCR", key); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(3, key)
	e := New(configure(t, source, target))
	run(t, e)
	caughtUp(t, e, source)
	write(5, key)
	caughtUp(t, e, source)
	if err := shard.Kill(); err != nil {
		t.Fatal(err)
	}
	cutWithinTransaction(t, shard, key)
	if err := target.Restart(t.Context(), shard, false); err != nil {
		t.Fatal(err)
	}
	for range 10 { // so that the key is not one of those that are looked at after a restart anyway
		write(100, key+":other")
		caughtUp(t, e, source)
	}
	if err := target.Restart(t.Context(), shard, false); err != nil {
		t.Fatal(err)
	}
	if log, err := shard.Log(); err != nil || !strings.Contains(log, "MULTI calls can not be nested") {
		t.Fatalf("it has met no error, so nothing was tried: %v\n%s", err, log)
	}
	write(1, key+":other")
	caughtUp(t, e, source)
	renewed(t, e)
	t.Log(same(t, source, target, nil), "keys")
}

// keyIn is a key of a shard.
func keyIn(t *testing.T, c *sandbox.Cluster, shard int) string {
	t.Helper()
	ranges, err := c.Slots(t.Context(), shard)
	if err != nil {
		t.Fatal(err)
	}
	return "{" + slot.Tag(ranges[0].First) + "}:counter"
}

// cutWithinTransaction cuts the append-only file of a server that is down within the last
// transaction that writes a key, behind that command.
func cutWithinTransaction(t *testing.T, s *sandbox.Server, key string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.Dir(), "appendonlydir", "*.incr.aof"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no append-only file: %v", err)
	}
	slices.Sort(files)
	path := files[len(files)-1]
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	at := bytes.LastIndex(text, []byte("\r\n"+key+"\r\n"))
	if at < 0 || !bytes.Contains(text[:at], []byte("MULTI")) {
		t.Fatalf("%s is not within a transaction", key)
	}
	if err := os.Truncate(path, int64(at+len("\r\n"+key+"\r\n")+len("*6\r\n$4"))); err != nil {
		t.Fatal(err)
	}
}

// A target that has done a part of a transaction twice for that is loaded anew.
func TestFileIntoACutTransaction(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: saving("no")})
	pipe := sandboxtest.Client(t, s).Redis().Pipeline()
	for range 200_000 {
		pipe.Incr(t.Context(), "n")
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	path := copyOfAOF(t, s.Dir())
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: saving("yes")})
	m := playedInPart(t, path, target)
	if err := target.Kill(); err != nil {
		t.Fatal(err)
	}
	cutWithinTransaction(t, target, "n")
	if err := target.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	e := NewFile(m.load(t, configureFile(t, path, target)))
	client := sandboxtest.Client(t, target)
	before, err := client.Redis().Get(t.Context(), "n").Int()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	until(t, func() (bool, string) {
		n, err := client.Redis().Get(t.Context(), "n").Int()
		return err == nil && n > before, "commands are played"
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) || e.present().Played {
		t.Fatalf("%v, %+v", err, e.View())
	}
	if err := target.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := target.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if log, err := target.Log(); err != nil || !strings.Contains(log, "MULTI calls can not be nested") {
		t.Fatalf("it has met no error, so nothing was tried: %v\n%s", err, log)
	}
	loadFile(t, m.load(t, configureFile(t, path, target)))
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	equalToFile(t, s, []*sandbox.Server{target}, audit.Options{}, 1)
}
