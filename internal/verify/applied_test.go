package verify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/apply"
	"godwit/internal/dataset"
	"godwit/internal/hold"
	auditedload "godwit/internal/load"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/spool"
	"godwit/internal/topology"
	"godwit/internal/traffic"
	"godwit/internal/verify"
)

// applied is a source and a cluster that the apply engine feeds.
type applied struct {
	source  *sandbox.Server
	target  *sandbox.Cluster
	from    *server.Client
	engine  *apply.Engine
	side    verify.Side // the target
	clients []*server.Client
	feed    *applyFeed
	old     bool // the source is from before 7.0
}

// newApplied starts both, and has the engine carry.
func newApplied(t *testing.T, source, target string, fill dataset.Options) *applied {
	t.Helper()
	settings := []string{"--repl-diskless-sync-delay 0", "--repl-backlog-size 64mb", "--hz 100"}
	a := &applied{
		source: sandboxtest.Start(t, source, sandbox.Options{Args: settings}),
		target: sandboxtest.Cluster(t, target, sandbox.ClusterOptions{Args: settings}),
	}
	a.from = sandboxtest.Client(t, a.source)
	if err := dataset.Fill(t.Context(), a.source.Endpoint(), fill); err != nil {
		t.Fatal(err)
	}
	from, err := topology.Inspect(t.Context(), a.from)
	if err != nil {
		t.Fatal(err)
	}
	to, err := topology.Inspect(t.Context(), sandboxtest.Client(t, a.target.Nodes()[0]))
	if err != nil {
		t.Fatal(err)
	}
	a.side, a.clients = clusterSide(t, a.target)
	v := from.Version
	a.old = !v.AtLeast(7, 0)
	knows := to.Capabilities()
	knows.Module = to.LoadsModulesOf(from, nil)
	a.engine = apply.New(apply.Config{
		Name: "test", Target: a.target.Endpoints()[0], Capabilities: knows, Transcoder: rdb.TranscoderOptions{Module: knows.Module},
		Sources: []apply.Source{{
			Endpoint: a.source.Endpoint(), Capabilities: from.Capabilities(), Version: fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch),
			Now: func() int64 { return time.Now().UnixMilli() }, // they share a clock
		}},
		Spool: spool.Options{Dir: t.TempDir(), MemoryLimit: 16 << 20, DiskLimit: 1 << 30},
		Log:   slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	background(t, func(ctx context.Context) {
		if err := a.engine.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the engine ended: %v", err)
		}
	})
	a.feed = &applyFeed{engine: a.engine}
	a.caughtUp(t)
	return a
}

// caughtUp waits until the target has all that the source has said up to now.
func (a *applied) caughtUp(t *testing.T) {
	t.Helper()
	info, err := a.from.Info(t.Context(), "replication")
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		v := a.engine.View()[0]
		if v.State == apply.Streaming && v.Acked >= info.Int("master_repl_offset") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the target does not catch up: %+v, the source was at %s", v, info["master_repl_offset"])
		}
	}
}

// at is the shard of the target that serves a key.
func (a *applied) at(key string) *server.Client { return a.clients[a.side.Slots(slot.Of([]byte(key)))] }

func (a *applied) config(t *testing.T) verify.Config {
	cfg := verify.Config{Source: sideOf(a.source), Target: a.side, Feeds: []verify.Feed{a.feed}, Unlock: a.feed.unlock}
	cfg.Options.Dir = t.TempDir()
	return cfg
}

// applyFeed is a source's link of the engine as a feed.
type applyFeed struct {
	engine *apply.Engine
	last   atomic.Pointer[apply.Hold]
	ahead  atomic.Int64 // keys that were, all holds together
}

func (f *applyFeed) Trail(context.Context) (verify.Hold, error) {
	h, err := f.engine.Trail(0, 20*time.Millisecond)
	if err != nil {
		return nil, err
	}
	f.last.Store(h)
	return &applyHold{h, f}, nil
}

type applyHold struct {
	*apply.Hold
	feed *applyFeed
}

func (h *applyHold) Stop(ctx context.Context, offset int64) (hold.Stand, error) {
	stand, err := h.Hold.Stop(ctx, offset)
	h.feed.ahead.Add(int64(len(stand.Ahead)))
	return stand, err
}

func (f *applyFeed) unlock(context.Context) (func(context.Context) error, error) {
	lock, err := f.last.Load().Unlock()
	return func(context.Context) error { lock(); return nil }, err
}

// writes has audited writers, at length as fast as they can, and traffic of every
// command go on until stop is called, which audits.
func (a *applied) writes(t *testing.T, fieldTTLs bool) (written func() int64, stop func()) {
	t.Helper()
	// Before 7.0 a TTL is as late as the stream, and that is told from 5 s on.
	rate := 2000
	if long && !a.old {
		rate = 0
	}
	l, err := auditedload.Start(t.Context(), auditedload.Config{
		Endpoints: []server.Endpoint{a.source.Endpoint()}, Writers: 8, Rate: rate, TTL: time.Hour,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	without := []traffic.Feature{traffic.Function}
	ended := background(t, func(ctx context.Context) {
		for seed := uint64(1); ctx.Err() == nil; seed++ {
			_, err := traffic.Run(ctx, a.source.Endpoint(), traffic.Options{
				Seed: seed, Commands: 2000, DBs: []int{0}, Prefix: "t:", NoFlush: true, Without: without,
			})
			if err != nil && ctx.Err() == nil {
				t.Error(err)
			}
		}
	})
	short := background(t, func(ctx context.Context) { a.shortLived(ctx, fieldTTLs) })
	return func() int64 { return l.Snapshot().Acked }, func() {
		t.Helper()
		ended()
		short()
		l.Stop()
		a.caughtUp(t)
		report, err := l.Audit(t.Context(), a.target.Endpoints()...)
		if err != nil || !report.Clean() {
			t.Errorf("%v: %v", report, err)
		}
		t.Logf("%v", report)
	}
}

// shortLived writes keys that expire within milliseconds, and some that are given a
// longer life just before, or are carried by value.
func (a *applied) shortLived(ctx context.Context, fieldTTLs bool) {
	for n := 0; ctx.Err() == nil; n++ {
		pipe := a.from.Redis().Pipeline()
		for i := n % 4; i < 20; i += 4 {
			key := fmt.Sprint("short:", n%50, ":", i)
			pipe.Do(ctx, "SET", key, n, "PX", 1+(n+7*i)%60)
			if i == n%60 {
				pipe.Do(ctx, "SADD", fmt.Sprint("members:", i), n%100)
				pipe.Do(ctx, "SUNIONSTORE", fmt.Sprint("union:", i), fmt.Sprint("members:", i), fmt.Sprint("members:", i+4))
			}
			if fieldTTLs {
				key := fmt.Sprint("fields:", n%10, ":", i)
				pipe.Do(ctx, "HSET", key, "f", n, "g", n)
				pipe.Do(ctx, "HPEXPIRE", key, 1+(n+7*i)%200, "FIELDS", 1, "f")
			}
			if i%3 == 0 {
				pipe.Do(ctx, "PEXPIRE", fmt.Sprint("short:", (n+47)%50, ":", i), 1+n%80)
			}
		}
		_, _ = pipe.Exec(ctx) // the end of ctx
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// sow plants differences, each at the shard of its key, and returns what a comparison
// must find.
func (a *applied) sow(t *testing.T, plants []plant) (want []string) {
	t.Helper()
	for _, p := range plants {
		send(t, a.from, p, p.setup)
	}
	a.caughtUp(t)
	for _, p := range plants {
		send(t, a.at(p.key()), p, p.plant)
		if p.want != "" && (!a.old || !strings.HasSuffix(p.name, "by a millisecond")) {
			want = append(want, fmt.Sprintf("%s 0 %s", p.want, p.key()))
		}
	}
	return want
}

// A cluster that is fed under load is found equal each time, and each difference at
// one of its shards is named, and repaired.
func TestAppliedUnderLoad(t *testing.T) {
	for i, tt := range some(1, []struct {
		source, target string
		fieldTTLs      bool
	}{
		{source: "redis-7.0", target: "valkey-8.1"},
		{source: "redis-7.0", target: "redis-7.0"},
		{source: "redis-6.0", target: "redis-6.0"},
		{source: "redis-8.6", target: "redis-8.6", fieldTTLs: true},
		{source: "valkey-9.1", target: "valkey-9.1", fieldTTLs: true},
	}) {
		t.Run(tt.source+" "+tt.target, func(t *testing.T) {
			a := newApplied(t, tt.source, tt.target, dataset.Options{Keys: 10_000, NoFunctions: true, NoFieldTTLs: !tt.fieldTTLs, Now: time.Now()})
			written, stop := a.writes(t, tt.fieldTTLs)
			runs := 5
			switch {
			case long && i == 0:
				runs = 100
			case long:
				runs = 20
			}
			equal := func() time.Duration {
				cfg := a.config(t)
				cfg.Options.Samples = 3
				report := compare(t, cfg)
				mustFind(t, report, cfg.Options.Dir)
				for _, d := range report.Samples {
					t.Logf("%s: %s\n%+v\n%+v", found(d), d.Detail, d.Source, d.Target)
				}
				if report.Method != verify.Snapshot || report.ReplID == "" {
					t.Errorf("%+v", report)
				}
				if t.Failed() {
					t.FailNow()
				}
				return report.Held
			}
			var longest time.Duration
			for range runs {
				longest = max(longest, equal())
			}
			t.Logf("%d comparisons, held for %v at most, %d keys ahead, %d written", runs, longest, a.feed.ahead.Load(), written())
			if a.feed.ahead.Load() == 0 {
				t.Error("no key was ever carried by value within a hold")
			}

			all := plants()
			if tt.fieldTTLs {
				all = append(all, fieldTTLPlants()...)
			}
			want := a.sow(t, all)
			if !a.old {
				load := []any{"FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"}
				do(t, a.from, load...)
				a.caughtUp(t)
				do(t, a.clients[2], "FUNCTION", "DELETE", "lib")
				want = append(want, "value -1 lib")
			}
			cfg := a.config(t)
			mustFind(t, compare(t, cfg), cfg.Options.Dir, want...)
			var extra, others []string
			for _, d := range want {
				if strings.HasPrefix(d, "extra") {
					extra = append(extra, d)
				} else {
					others = append(others, d)
				}
			}
			cfg = a.config(t)
			cfg.Options.Repair, cfg.Options.DeleteExtra = true, true
			report := compare(t, cfg)
			got := outcomes(t, cfg.Options.Dir)
			same(t, "repaired", got[verify.Repaired], others)
			same(t, "deleted", got[verify.Deleted], extra)
			t.Logf("%d repaired, held for %v at most, %d written", len(want), report.Held, written())
			equal()
			stop()
			equal()
		})
	}
}

// idle is the feed of a target that is a primary and that nobody writes to. It takes the
// offset at which it is stopped.
type idle struct{ stopped []int64 }

func (f *idle) Trail(context.Context) (verify.Hold, error) { return f, nil }

func (f *idle) Stop(_ context.Context, offset int64) (hold.Stand, error) {
	f.stopped = append(f.stopped, offset)
	return hold.Stand{}, nil
}

func (f *idle) Err() error { return nil }

func (f *idle) Release() {}

func (f *idle) Held() time.Duration { return 0 }

// clusterSide is a cluster as a side, with a client for each shard.
func clusterSide(t *testing.T, c *sandbox.Cluster) (verify.Side, []*server.Client) {
	t.Helper()
	d, err := topology.Resolve(t.Context(), c.Endpoints()[0])
	if err != nil {
		t.Fatal(err)
	}
	var clients []*server.Client
	for _, e := range d.Primaries {
		c, err := server.Dial(t.Context(), e, "test")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		clients = append(clients, c)
	}
	return verify.Side{Name: "cluster " + c.Endpoints()[0].Address, Shards: d.Primaries, Slots: d.Slots}, clients
}

// A source of several shards has a feed, and an offset, for each.
func TestFeedsOfSeveralShards(t *testing.T) {
	t.Parallel()
	settings := sandbox.ClusterOptions{Args: []string{"--repl-diskless-sync-delay 0"}}
	source, from := clusterSide(t, sandboxtest.Cluster(t, "redis-7.0", settings))
	target, to := clusterSide(t, sandboxtest.Cluster(t, "redis-7.0", settings))
	at := func(side verify.Side, clients []*server.Client, key string) *server.Client {
		return clients[side.Slots(slot.Of([]byte(key)))]
	}
	var want, wantLeft []string
	for _, p := range plants() {
		send(t, at(source, from, p.key()), p, p.setup)
		send(t, at(target, to, p.key()), p, p.setup)
		send(t, at(target, to, p.key()), p, p.plant)
		if p.want != "" {
			want = append(want, fmt.Sprintf("%s 0 %s", p.want, p.key()))
		}
		if p.want == verify.Extra {
			wantLeft = append(wantLeft, fmt.Sprintf("%s 0 %s", p.want, p.key()))
		}
	}
	const library = "#!lua name=lib\nredis.register_function('f', function() return 1 end)"
	for i := range from {
		do(t, from[i], "FUNCTION", "LOAD", library)
		if i != 1 {
			do(t, to[i], "FUNCTION", "LOAD", library)
		}
	}
	want = append(want, "value -1 lib") // the target's second shard does not have it
	feeds := []*idle{new(idle), new(idle), new(idle)}
	cfg := verify.Config{Source: source, Target: target, Feeds: []verify.Feed{feeds[0], feeds[1], feeds[2]}}
	cfg.Options.Dir = t.TempDir()
	report := compare(t, cfg)
	mustFind(t, report, cfg.Options.Dir, want...)
	if report.ReplID != "" || report.Offset != 0 {
		t.Errorf("several shards have one offset: %+v", report)
	}
	for i, f := range feeds {
		if len(f.stopped) < 2 { // two looks
			t.Errorf("the feed of shard %d was stopped at %v", i, f.stopped)
		}
	}
	cfg.Options.Repair = true
	compare(t, cfg)
	cfg.Options.Repair = false
	mustFind(t, compare(t, cfg), cfg.Options.Dir, wantLeft...)
	cfg.Feeds = cfg.Feeds[:2]
	if _, err := verify.Run(t.Context(), cfg); err == nil {
		t.Error("a shard without a feed")
	}
}

// Whatever a migration to a cluster has left there is no difference, also for those who
// know nothing of it; what only looks like it is one.
func TestCheckpointsAreNoDifference(t *testing.T) {
	t.Parallel()
	a := newApplied(t, "redis-7.0", "redis-7.0", dataset.Options{Keys: 1000, NoFunctions: true, Now: time.Now()})
	found := 0
	for _, c := range a.clients {
		keys, ok := do(t, c, "KEYS", "godwit:*").([]any)
		if !ok {
			t.Fatal("KEYS")
		}
		found += len(keys)
	}
	if found != 3 {
		t.Errorf("%d checkpoints", found)
	}
	do(t, a.at("godwit:mine"), "SET", "godwit:mine", "v")
	for _, method := range []verify.Method{verify.Snapshot, verify.Scan} {
		cfg := verify.Config{Source: sideOf(a.source), Target: a.side, Options: verify.Options{Method: method, Dir: t.TempDir()}}
		mustFind(t, compare(t, cfg), cfg.Options.Dir, "extra 0 godwit:mine")
	}
}

// flaky is a feed that cannot be held so many times.
type flaky struct {
	idle
	fails atomic.Int64
}

func (f *flaky) Trail(ctx context.Context) (verify.Hold, error) {
	if f.fails.Add(-1) >= 0 {
		return nil, errors.New("the link is broken")
	}
	return f.idle.Trail(ctx)
}

// Of keys that cannot be looked at because the feed cannot be held nothing is said before it
// can, or not at all.
func TestFeedThatIsNotHeld(t *testing.T) {
	t.Parallel()
	source, target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	from, to := sandboxtest.Client(t, source), sandboxtest.Client(t, target)
	do(t, from, "SET", "missing", 1)
	do(t, to, "SET", "extra", 1)
	feed := new(flaky)
	cfg := verify.Config{Source: sideOf(source), Target: sideOf(target), Feeds: []verify.Feed{feed}, Options: verify.Options{Method: verify.Scan, Dir: t.TempDir()}}
	feed.fails.Store(3)
	mustFind(t, compare(t, cfg), cfg.Options.Dir, "missing 0 missing", "extra 0 extra")
	feed.fails.Store(1000)
	cfg.Options.Dir = t.TempDir()
	if report := run(t, cfg); report.Result != verify.Unknown || !strings.Contains(report.Error, "the link is broken") {
		t.Errorf("%+v", report)
	}
}
