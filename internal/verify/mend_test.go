package verify_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/hold"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// meddled is a feed with which something happens.
type meddled struct {
	verify.Feed
	trail   func() error
	stopped func(verify.Hold) // once the target has stopped
}

func (m *meddled) Trail(ctx context.Context) (verify.Hold, error) {
	if m.trail != nil {
		if err := m.trail(); err != nil {
			return nil, err
		}
	}
	h, err := m.Feed.Trail(ctx)
	return &meddledHold{h, m}, err
}

type meddledHold struct {
	verify.Hold
	m *meddled
}

func (h *meddledHold) Stop(ctx context.Context, offset int64) (hold.Stand, error) {
	at, err := h.Hold.Stop(ctx, offset)
	if err == nil && h.m.stopped != nil {
		h.m.stopped(h.Hold)
	}
	return at, err
}

// damage makes n keys differ in two dbs of the target.
func damage(t *testing.T, p *pair, n int) {
	t.Helper()
	const set = `for i = 1, ARGV[1] do redis.call('SET', 'damaged:' .. i, ARGV[2] .. i) end`
	for _, c := range []*server.Client{p.from, p.to} {
		for _, db := range []int{0, 3} {
			do(t, c, "EVAL", fmt.Sprintf("redis.call('SELECT', %d) %s", db, set), 0, n, fmt.Sprintf("%p", c))
		}
		if c == p.from {
			do(t, c, "WAIT", 1, 10_000)
		}
	}
}

// repairPair is a pair under load.
func repairPair(t *testing.T) *pair {
	t.Helper()
	p := newPair(t, options{source: "redis-7.0", target: "valkey-8.1"})
	p.follow(t)
	startLoad(t, p.source, 3000, false)
	return p
}

// A repair that is interrupted, wherever it is, leaves the target fed, and locked but
// for a write that may still be on its way, which the release sees to. Another one
// does the rest.
func TestRepairInterrupted(t *testing.T) {
	p := repairPair(t)
	// After so many unlocks: a batch has been repaired by then.
	for at, after := range map[string]int64{"trail": 1, "stop": 1, "unlock": 1, "lock": 2} {
		t.Run(at, func(t *testing.T) {
			damage(t, p, 300)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var unlocked atomic.Int64
			point := func(name string) {
				if name == at && unlocked.Load() >= after {
					cancel()
				}
			}
			cfg := p.repairing(t, true)
			unlock, locks := cfg.Unlock, 0
			cfg.Unlock = func(ctx context.Context) (func(context.Context) error, error) {
				point("unlock")
				unlocked.Add(1)
				lock, err := unlock(context.WithoutCancel(ctx))
				return func(ctx context.Context) error {
					locks++
					point("lock")
					return lock(ctx)
				}, err
			}
			cfg.Feeds[0] = &meddled{cfg.Feeds[0], func() error { point("trail"); return nil }, func(verify.Hold) { point("stop") }}
			report, err := verify.Run(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if report.Result != verify.Different || !strings.Contains(report.Error, context.Canceled.Error()) {
				t.Errorf("%s: %s", report.Result, report.Error)
			}
			answered := unlocked.Load()
			if at == "unlock" {
				answered--
			}
			if int64(locks) != answered {
				t.Errorf("locked %d times, unlocked %d times", locks, unlocked.Load())
			}
			mended := report.Repaired[verify.Repaired]
			if mended == 0 {
				t.Error("nothing was repaired before")
			}

			cfg = p.repairing(t, true)
			report = compare(t, cfg)
			if n := report.Repaired[verify.Repaired]; report.Result != verify.Equal || n == 0 || n > 600-mended {
				t.Errorf("%s: %v", report.Result, report.Repaired)
			}
		})
	}
}

// A feed that is past the offset, or goes on while it is to be held, costs another
// try. What is written is what the source has.
func TestRepairTriesAgain(t *testing.T) {
	p := repairPair(t)
	damage(t, p, 50)
	var tries atomic.Int64
	writing := false
	cfg := p.repairing(t, true)
	cfg.Feeds[0] = &meddled{cfg.Feeds[0], func() error {
		if writing && tries.Add(1) == 1 {
			return errors.New("the link is down")
		}
		return nil
	}, func(h verify.Hold) {
		if n := tries.Load(); n == 2 || n == 3 {
			h.Release()
			time.Sleep(100 * time.Millisecond) // the stream goes on
		}
	}}
	unlock := cfg.Unlock
	cfg.Unlock = func(ctx context.Context) (func(context.Context) error, error) {
		writing = true // from the second db on
		return unlock(ctx)
	}
	report := compare(t, cfg)
	if report.Result != verify.Equal || report.Repaired[verify.Repaired] != 100 || tries.Load() < 4 {
		t.Errorf("%s: %v after %d tries", report.Result, report.Repaired, tries.Load())
	}
	cfg = p.config(t)
	mustFind(t, compare(t, cfg), cfg.Options.Dir)
}

// What was repaired meanwhile is said to be gone; and where the feed is lost for
// good, what was repaired before is kept, and the rest is still different.
func TestRepairWithoutTheFeed(t *testing.T) {
	p := repairPair(t)
	damage(t, p, 20)
	do(t, p.from, "SET", "damaged:in 0", "v")
	do(t, p.from, "EVAL", "redis.call('SELECT', 3) redis.call('SET', 'other', 'v')", 0)
	do(t, p.from, "WAIT", 1, 10_000)
	do(t, p.to, "EVAL", "redis.call('SELECT', 3) redis.call('SET', 'other', 'w')", 0)
	cfg := p.repairing(t, true)
	down := false
	cfg.Feeds[0] = &meddled{cfg.Feeds[0], func() error {
		if down {
			return errors.New("the link is down")
		}
		return nil
	}, nil}
	unlock, times := cfg.Unlock, 0
	cfg.Unlock = func(ctx context.Context) (func(context.Context) error, error) {
		if times++; times == 1 {
			lock, err := unlock(ctx)
			do(t, p.to, "EVAL", "redis.call('SELECT', 3) redis.call('SET', 'other', 'v')", 0)
			return func(ctx context.Context) error { down = true; return lock(ctx) }, err
		}
		return unlock(ctx)
	}
	report := run(t, cfg)
	if report.Result != verify.Different || report.Repaired[verify.Repaired] != 20 ||
		!strings.Contains(report.Error, "the link is down") || !strings.Contains(report.Hint, "repair again") {
		t.Errorf("%s: %v: %s (%s)", report.Result, report.Repaired, report.Error, report.Hint)
	}
	down, times = false, 1
	cfg.Options.Dir = t.TempDir()
	if report = compare(t, cfg); report.Result != verify.Equal || report.Repaired[verify.Repaired] != 20 {
		t.Errorf("%s: %v", report.Result, report.Repaired)
	}
}

// A key that is right by the time it is to be repaired is left alone.
func TestRepairOfWhatIsGone(t *testing.T) {
	p := repairPair(t)
	damage(t, p, 20)
	cfg := p.repairing(t, true)
	unlock, times := cfg.Unlock, 0
	cfg.Unlock = func(ctx context.Context) (func(context.Context) error, error) {
		lock, err := unlock(ctx)
		if times++; times == 1 { // the keys of db 0 are about to be written
			value := do(t, p.from, "EVAL", "redis.call('SELECT', 3) return redis.call('GET', 'damaged:7')", 0)
			do(t, p.to, "EVAL", "redis.call('SELECT', 3) redis.call('SET', 'damaged:7', ARGV[1])", 0, value)
		}
		return lock, err
	}
	report := compare(t, cfg)
	if report.Result != verify.Equal || report.Repaired[verify.Gone] != 1 || report.Repaired[verify.Repaired] != 39 {
		t.Errorf("%s: %v", report.Result, report.Repaired)
	}
}

// A repair after a scan that is interrupted or fails is not gone on with: the next
// run compares anew, and does the rest.
func TestRepairAfterAScanIsInterrupted(t *testing.T) {
	a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	const keys = 1000
	do(t, from, "EVAL", `for i = 1, ARGV[1] do redis.call('SET', 'k' .. i, 'v') end`, 0, keys)
	do(t, to, "ACL", "SETUSER", "writer", "on", ">secret", "~*", "+@all")
	cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Options: verify.Options{Method: verify.Scan, Repair: true, Dir: t.TempDir()}}
	cfg.Target.Shards[0].Username, cfg.Target.Shards[0].Password = "writer", "secret"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // once the first batch has been repaired
		for ctx.Err() == nil {
			if n, err := to.Do(ctx, "DBSIZE"); err == nil && n.(int64) > 300 {
				cancel()
			}
		}
	}()
	report, err := verify.Run(ctx, cfg)
	if err != nil || report.Result != verify.Different || report.Counts[verify.Missing] != keys || report.Interrupted {
		t.Errorf("%+v: %v", report, err)
	}
	if n := do(t, to, "DBSIZE").(int64); n == 0 || n == keys {
		t.Fatalf("%d of %d keys were repaired before", n, keys)
	}
	left := keys - do(t, to, "DBSIZE").(int64)
	if report = compare(t, cfg); report.Result != verify.Equal || report.Repaired[verify.Repaired] != left {
		t.Errorf("%+v", report)
	}
	if n := do(t, to, "DBSIZE").(int64); n != keys {
		t.Errorf("%d of %d keys are repaired", n, keys)
	}
}

// What a scan has left is not counted again by snapshots that have become possible.
func TestSnapshotsAfterAnInterruptedScan(t *testing.T) {
	t.Parallel()
	a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	const keys = 30_000
	do(t, from, "EVAL", `for i = 1, ARGV[1] do redis.call('SET', 'k' .. i, redis.sha1hex(i)) end`, 0, keys)
	do(t, to, "ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-psync")
	cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Options: verify.Options{MaxRate: 1 << 20, Dir: t.TempDir()}}
	cfg.Target.Shards[0].Username, cfg.Target.Shards[0].Password = "reader", "secret"
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // once some are journaled
		for ctx.Err() == nil {
			if info, err := os.Stat(filepath.Join(cfg.Options.Dir, "differences.jsonl")); err == nil && info.Size() > 0 {
				cancel()
			}
			time.Sleep(5 * time.Millisecond)
		}
	}()
	report, err := verify.Run(ctx, cfg)
	if err != nil || report.Method != verify.Scan || !report.Interrupted || report.Counts[verify.Missing] == 0 {
		t.Fatalf("%+v: %v", report, err)
	}
	first := report.ID
	do(t, to, "ACL", "SETUSER", "reader", "+psync")
	cfg.Options.MaxRate = 0
	report = compare(t, cfg)
	if report.Method != verify.Snapshot || report.Counts[verify.Missing] != keys || report.SourceRead.Keys != keys || report.ID == first {
		t.Errorf("%+v", report)
	}
	if n := len(journal(t, cfg.Options.Dir)); n != keys {
		t.Errorf("%d differences in the journal", n)
	}
}
