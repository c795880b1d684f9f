package verify_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// repairedBut sees that of these differences a repair could not do those of keys that are
// there twice, and gives them.
func repairedBut(t *testing.T, dir string, differences []string) (twice []string) {
	t.Helper()
	var extra, others []string
	for _, x := range differences {
		switch kind, _, _ := strings.Cut(x, " "); verify.Kind(kind) {
		case verify.Twice:
			twice = append(twice, x)
		case verify.Extra:
			extra = append(extra, x)
		default:
			others = append(others, x)
		}
	}
	got := outcomes(t, dir)
	same(t, "repaired", got[verify.Repaired], others)
	same(t, "deleted", got[verify.Deleted], extra)
	same(t, "failed", got[verify.Failed], twice)
	return twice
}

// Without a feed, in every db, with libraries, and whatever the method.
func TestDividedApart(t *testing.T) {
	t.Parallel()
	var from []*server.Client
	var sources []*sandbox.Server
	for _, dbs := range []string{"2", "16", "16"} {
		s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--databases " + dbs}})
		sources, from = append(sources, s), append(from, sandboxtest.Client(t, s))
	}
	target := sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	to := sandboxtest.Client(t, target)
	in := func(c *server.Client, db int, command ...any) {
		t.Helper()
		if _, err := c.Transaction(t.Context(), []any{"SELECT", db}, command, []any{"SELECT", 0}); err != nil {
			t.Fatal(err)
		}
	}
	const library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
	for _, c := range append(slices.Clone(from), to) {
		do(t, c, "FUNCTION", "LOAD", library)
	}
	do(t, from[1], "FUNCTION", "LOAD", "#!lua name=two\nredis.register_function('two', function() return 1 end)")
	do(t, from[2], "FUNCTION", "LOAD", "#!lua name=two\nredis.register_function('two', function() return 2 end)")
	do(t, from[2], "FUNCTION", "LOAD", "#!lua name=third\nredis.register_function('third', function() return 2 end)")
	do(t, to, "FUNCTION", "LOAD", "#!lua name=two\nredis.register_function('two', function() return 1 end)")
	for i := range 300 {
		key, n := fmt.Sprint("key:", i), i%3
		do(t, from[n], "SET", key, i)
		do(t, to, "SET", key, i)
		if n > 0 {
			in(from[n], 5, "RPUSH", key, i)
			in(to, 5, "RPUSH", key, i)
		}
	}
	large := strings.Repeat("0123456789", 1_000_000)
	for _, key := range []string{"large", "large and other"} {
		do(t, from[1], "SET", key, large)
		do(t, to, "SET", key, large)
	}
	do(t, to, "SETRANGE", "large and other", 9_999_000, "x")
	do(t, from[0], "SET", "large twice", large)
	do(t, from[2], "SET", "large twice", large)
	in(from[1], 5, "SET", "missing", 1)
	do(t, to, "SET", "extra", 1)
	do(t, from[0], "SET", "twice", 1)
	do(t, from[1], "RPUSH", "twice", 1)
	do(t, from[2], "SET", "twice", 1)
	do(t, to, "SET", "twice", 1)
	want := []string{"twice -1 two", "missing -1 third", "value 0 large and other", "twice 0 large twice", "missing 5 missing", "extra 0 extra", "twice 0 twice"}
	for _, method := range []verify.Method{verify.Snapshot, verify.Scan} {
		cfg := verify.Config{Source: sideOf(sources...), Target: sideOf(target), Options: verify.Options{Method: method, Dir: t.TempDir(), Samples: 10}}
		report := compare(t, cfg)
		mustFind(t, report, cfg.Options.Dir, want...)
		for _, s := range report.Samples {
			if s.Kind == verify.Twice {
				t.Logf("%s: %s: %+v %+v", found(s), s.Detail, s.Source, s.Target)
			}
		}
		cfg.Options = verify.Options{Method: method, Dir: t.TempDir(), Keys: "key:*"}
		mustFind(t, compare(t, cfg), cfg.Options.Dir)
	}
	cfg := verify.Config{Source: sideOf(sources...), Target: sideOf(target), Options: verify.Options{Dir: t.TempDir(), Repair: true, DeleteExtra: true}}
	compare(t, cfg)
	twice := repairedBut(t, cfg.Options.Dir, want)
	cfg.Options = verify.Options{Dir: t.TempDir()}
	mustFind(t, compare(t, cfg), cfg.Options.Dir, twice...)
}

// Servers of which one is named twice, or is a replica of another one, or of a cluster, are
// no division.
func TestNotDivided(t *testing.T) {
	t.Parallel()
	one, replica := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target, member := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--cluster-enabled yes"}})
	do(t, sandboxtest.Client(t, replica), "REPLICAOF", "127.0.0.1", one.Port())
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		info, err := sandboxtest.Client(t, replica).Info(t.Context(), "replication")
		if err == nil && info["master_link_status"] == "up" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal(info, err)
		}
	}
	for _, tt := range []struct {
		with *sandbox.Server
		says string
	}{{one, "one history"}, {replica, "one history"}, {member, "of a cluster"}} {
		cfg := verify.Config{Source: sideOf(one, tt.with), Target: sideOf(target), Options: verify.Options{Dir: t.TempDir()}}
		if report := run(t, cfg); report.Result != verify.Unknown || !strings.Contains(report.Error, tt.says) || report.Hint == "" {
			t.Errorf("%+v", report)
		}
	}
	cfg := verify.Config{Source: sideOf(target), Target: sideOf(one, member), Options: verify.Options{Dir: t.TempDir()}}
	if _, err := verify.Run(t.Context(), cfg); err == nil {
		t.Error("a target of several servers")
	}
}

// A key that a client moves from one server to another may be at both for a moment: that is
// no difference. What a migration makes of such a move is another matter.
func TestDividedMoves(t *testing.T) {
	t.Parallel()
	a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	one, other := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	const keys = 1000
	for _, c := range []*server.Client{one, sandboxtest.Client(t, target)} {
		pipe := c.Redis().Pipeline()
		for i := range keys {
			pipe.Set(t.Context(), fmt.Sprint("key:", i), i, 0)
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	moved := make(chan struct{})
	background(t, func(ctx context.Context) {
		defer close(moved)
		for i := 0; i < keys && ctx.Err() == nil; i++ {
			key := fmt.Sprint("key:", i)
			if _, err := other.Do(ctx, "SET", key, i); err != nil {
				return
			}
			time.Sleep(3 * time.Millisecond) // there are always some at both
			if _, err := one.Do(ctx, "DEL", key); err != nil {
				return
			}
		}
	})
	looks, settled := 0, int64(0)
	for over := false; !over; looks++ {
		for _, method := range []verify.Method{verify.Snapshot, verify.Scan} {
			cfg := verify.Config{Source: sideOf(a, b), Target: sideOf(target), Options: verify.Options{Method: method, Dir: t.TempDir()}}
			report := compare(t, cfg)
			mustFind(t, report, cfg.Options.Dir)
			settled += report.Settled
		}
		select {
		case <-moved:
			over = true
		default:
			over = t.Failed()
		}
	}
	t.Logf("%d looks, %d settled", looks, settled)
	if settled == 0 {
		t.Error("no key was ever seen at both")
	}
}
