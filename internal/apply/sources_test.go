package apply

import (
	"context"
	"fmt"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/load"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/traffic"
)

// Servers among which clients have divided their keys become one cluster.
func TestShardedByClients(t *testing.T) {
	t.Parallel()
	sources := []*sandbox.Server{
		sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}}),
		sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}}),
	}
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	for i, s := range sources {
		if err := dataset.Fill(t.Context(), s.Endpoint(), dataset.Options{Keys: 5000, NoFunctions: true, Prefix: fmt.Sprint("d", i, ":")}); err != nil {
			t.Fatal(err)
		}
	}
	var m memory
	c := configureServers(t, target.Nodes()[0], sources...)
	e := New(m.load(t, c))
	stop := run(t, e)
	caughtUp(t, e, sources...)
	var loads []*load.Load
	var sent []func() uint64
	for i, s := range sources {
		loads = append(loads, begin(t, load.Config{Endpoints: []server.Endpoint{s.Endpoint()}, Mix: load.AnySlots, Rate: 2000, Prefix: fmt.Sprint("l", i, ":")}))
		sent = append(sent, background(t, func(ctx context.Context, seed uint64) error {
			_, err := traffic.Run(ctx, s.Endpoint(), traffic.Options{Seed: seed, Commands: 1000, DBs: []int{0}, Prefix: fmt.Sprint("t", i, ":"), NoFlush: true, Without: []traffic.Feature{traffic.Function}})
			return err
		}))
	}
	for range 3 {
		time.Sleep(500 * time.Millisecond)
		stop()
		e = New(m.load(t, c))
		stop = run(t, e)
	}
	for i := range sources {
		loads[i].Stop()
		sent[i]()
	}
	caughtUp(t, e, sources...)
	// What empties one of them leaves the others' keys alone.
	if _, err := sandboxtest.Client(t, sources[1]).Do(t.Context(), "FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	if _, err := sandboxtest.Client(t, sources[1]).Do(t.Context(), "SET", "d1:after", "all"); err != nil {
		t.Fatal(err)
	}
	caughtUp(t, e, sources...)
	t.Log(sameServers(t, sources, primaries(t, target), nil), "keys")
	found(t, loads[0], target.Endpoints()...)
}

// change is what happens to a cluster that is the source.
type change struct {
	name    string
	version string
	source  sandbox.ClusterOptions
	target  int // shards, 0 for a standalone server
	happens func(context.Context, *sandbox.Cluster) error
}

// Whatever happens to the slots and the shards of a cluster, the target has its keys.
func TestFromACluster(t *testing.T) {
	t.Parallel()
	for _, tt := range []change{
		{name: "slots move", version: "redis-7.0", target: 5, happens: moveSlots(sandbox.SlotRange{First: 0, Last: 100}, 2)},
		{name: "slots move at once", version: "valkey-9.1", happens: func(ctx context.Context, c *sandbox.Cluster) error {
			return c.MoveAtomically(ctx, sandbox.SlotRange{First: 0, Last: 3000}, 2)
		}},
		{name: "a replica is promoted", version: "redis-7.0", source: sandbox.ClusterOptions{Replicas: 1}, target: 2, happens: func(ctx context.Context, c *sandbox.Cluster) error {
			_, err := c.Failover(ctx, 1)
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t)
		})
	}
}

// run has it happen under a load.
func (c change) run(t *testing.T) {
	t.Helper()
	source := sandboxtest.Cluster(t, c.version, c.source)
	targets := aTarget(t, c.version, c.target)
	fill(t, source, "fill:", 5000)
	l := begin(t, load.Config{Endpoints: source.Endpoints(), Mix: load.OneSlot, Rate: 2000})
	e := New(configureCluster(t, targets()[0], source))
	run(t, e)
	caughtUpCluster(t, e, source)
	began := time.Now()
	if err := c.happens(t.Context(), source); err != nil {
		t.Fatal(err)
	}
	took := time.Since(began)
	before := l.Snapshot().Acked
	until(t, func() (bool, string) { return l.Snapshot().Acked > before+300, "no writes" })
	l.Stop()
	caughtUpCluster(t, e, source)
	t.Logf("%d keys, %v: %+v", sameServers(t, primaries(t, source), targets(), c.known()), took, e.View())
	found(t, l, targets()[0].Endpoint())
}

// aTarget is a cluster of some shards, or a standalone server if these are none. The
// function gives its primaries.
func aTarget(t *testing.T, version string, shards int) func() []*sandbox.Server {
	t.Helper()
	if shards == 0 {
		s := sandboxtest.Start(t, version, sandbox.Options{})
		return func() []*sandbox.Server { return []*sandbox.Server{s} }
	}
	c := sandboxtest.Cluster(t, version, sandbox.ClusterOptions{Shards: shards})
	return func() []*sandbox.Server { return primaries(t, c) }
}

// known tells of differences that a version makes: Redis 6.0 says TTLs relative to the
// moment, so that its own replicas are as inexact.
func (c change) known() func(string, value, value) bool { return c.knownAfter(2 * time.Second) }

// knownAfter is known where a shard may have been out of reach for so long: what its
// primary had said before comes when another one is found, and its TTLs count from then.
func (c change) knownAfter(away time.Duration) func(string, value, value) bool {
	if c.version != "redis-6.0" {
		return nil
	}
	return func(_ string, want, got value) bool {
		return want.Value == got.Value && want.until > 0 && max(want.until-got.until, got.until-want.until) < away.Milliseconds()
	}
}

func moveSlots(slots sandbox.SlotRange, to int) func(context.Context, *sandbox.Cluster) error {
	return func(ctx context.Context, c *sandbox.Cluster) error {
		return c.Move(ctx, slots, to, sandbox.MoveOptions{})
	}
}

// begin starts a load, and waits until it writes.
func begin(t *testing.T, c load.Config) *load.Load {
	t.Helper()
	l, err := load.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	until(t, func() (bool, string) { return l.Snapshot().Acked > 500, fmt.Sprint(l.Snapshot()) })
	return l
}

// found wants everything that the load was acknowledged, once.
func found(t *testing.T, l *load.Load, endpoints ...server.Endpoint) {
	t.Helper()
	report, err := l.Audit(t.Context(), endpoints...)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Clean() {
		t.Errorf("%v: %q", report, report.Samples)
	}
	t.Log(report)
}

// fill gives a cluster keys of all types.
func fill(t *testing.T, c *sandbox.Cluster, prefix string, n int) {
	t.Helper()
	all := map[int]*sandbox.Server{}
	shard := make([]int, slot.Count)
	for i := range c.Shards() {
		ranges, err := c.Slots(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		if len(ranges) > 0 {
			if all[i], err = c.Primary(t.Context(), i); err != nil {
				t.Fatal(err)
			}
		}
		for _, r := range ranges {
			for of := int(r.First); of <= int(r.Last); of++ {
				shard[of] = i
			}
		}
	}
	for i, s := range all {
		pipe := sandboxtest.Client(t, s).Redis().Pipeline()
		for k := range n {
			key := fmt.Sprint(prefix, k)
			if shard[slot.Of([]byte(key))] != i {
				continue
			}
			for _, args := range [][]any{
				{"SET", key, k}, {"RPUSH", key, k, "a", "b"}, {"HSET", key, "f", k, "g", 1}, {"SADD", key, k, "x"}, {"ZADD", key, k, "m"}, {"XADD", key, "1-1", "f", k},
			}[k%6 : k%6+1] {
				pipe.Do(t.Context(), args...)
			}
			if k%7 == 0 {
				pipe.Do(t.Context(), "PEXPIREAT", key, time.Now().Add(time.Hour+time.Duration(k)*time.Second).UnixMilli())
			}
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}
