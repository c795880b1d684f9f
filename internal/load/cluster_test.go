package load_test

import (
	"testing"
	"time"

	"godwit/internal/load"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// Slots that move, and stay half moved for a while, and a failover lose nothing and
// double nothing of what a good client writes.
func TestClusterThatChangesUnderLoad(t *testing.T) {
	for _, name := range []string{"redis-7.0", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := t.Context()
			c := sandboxtest.Cluster(t, name, sandbox.ClusterOptions{Replicas: 1, Password: "secret"})
			// Some endpoints: the others are found.
			l := start(t, load.Config{Endpoints: c.Endpoints()[1:3], Mix: load.OneSlot, Prefix: "x:", Rate: 4000})
			await(t, l, 2000)
			// Of two keys that are written in one transaction, first one has moved.
			for _, pattern := range []string{"x:*:shared", "{x:*:0:pair:}one"} {
				hot := slotOf(t, c, pattern)
				owner, err := c.Owner(ctx, hot)
				if err != nil {
					t.Fatal(err)
				}
				err = c.Move(ctx, sandbox.SlotRange{First: hot, Last: hot}, (owner+1)%3, sandbox.MoveOptions{Batch: 1, Step: func(_ uint16, moved int) error {
					if moved > 0 {
						await(t, l, 400)
					}
					return nil
				}})
				if err != nil {
					t.Fatal(err)
				}
			}
			if err := c.Move(ctx, sandbox.SlotRange{First: 6000, Last: 6030}, 2, sandbox.MoveOptions{}); err != nil {
				t.Fatal(err)
			}
			if name == "valkey-9.1" {
				if err := c.MoveAtomically(ctx, sandbox.SlotRange{First: 0, Last: 99}, 1); err != nil {
					t.Fatal(err)
				}
			}
			await(t, l, 500)
			promoted, err := c.Failover(ctx, 0)
			if err != nil {
				t.Fatal(err)
			}
			for l.Snapshot().Writing[promoted.Address()] == 0 {
				time.Sleep(time.Millisecond)
			}
			await(t, l, 2000)
			l.Stop()
			report, err := l.Audit(ctx, c.Endpoints()...)
			if err != nil {
				t.Fatal(err)
			}
			mustBeClean(t, report)
			stats := l.Snapshot()
			if stats.Errors["MOVED"] == 0 || stats.Errors["ASK"] == 0 || stats.Errors["TRYAGAIN"] == 0 {
				t.Errorf("not all redirections: %v", stats.Errors)
			}
			t.Log(report, stats.Errors, "longest stall", stats.Stall)
		})
	}
}

// slotOf is the slot of the one key that there is of a pattern.
func slotOf(t *testing.T, c *sandbox.Cluster, pattern string) uint16 {
	t.Helper()
	var found []any
	for _, s := range c.Nodes() {
		if role, ok := do(t, sandboxtest.Client(t, s), "ROLE").([]any); ok && role[0] == "master" {
			found = append(found, do(t, sandboxtest.Client(t, s), "KEYS", pattern).([]any)...)
		}
	}
	if len(found) != 1 {
		t.Fatalf("keys of pattern %s: %v", pattern, found)
	}
	return slot.Of([]byte(found[0].(string)))
}

// A shard that is killed and comes back with all that it has acknowledged.
func TestShardRestartedUnderLoad(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := sandboxtest.Cluster(t, "redis-6.0", sandbox.ClusterOptions{AOF: true, NodeTimeout: 15 * time.Second})
	l := start(t, load.Config{Endpoints: c.Endpoints(), Mix: load.OneSlot, Rate: 4000})
	await(t, l, 2000)
	if err := c.Restart(ctx, c.Nodes()[1], false); err != nil {
		t.Fatal(err)
	}
	await(t, l, 2000)
	report := audit(t, l, c.Endpoints()[0])
	mustBeClean(t, report)
	stats := l.Snapshot()
	if stats.Errors["connect"]+stats.Errors["connection"] == 0 {
		t.Errorf("nobody noticed: %v", stats.Errors)
	}
	t.Log(report, stats.Errors, "longest stall", stats.Stall)
}

// What a primary has acknowledged and not sent to its replica is lost with it, and the
// audit says so; nothing is doubled.
func TestCrashOfAPrimaryUnderLoad(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	c := sandboxtest.Cluster(t, "valkey-8.1", sandbox.ClusterOptions{Replicas: 1, NodeTimeout: time.Second})
	l := start(t, load.Config{Endpoints: c.Endpoints(), Mix: load.OneSlot, Rate: 4000})
	await(t, l, 2000)
	if _, err := c.Crash(ctx, 1); err != nil {
		t.Fatal(err)
	}
	await(t, l, 2000)
	l.Stop()
	report, err := l.Audit(ctx, c.Endpoints()...) // one of them is dead
	if err != nil {
		t.Fatal(err)
	}
	stats := l.Snapshot()
	if report.Doubled != 0 || report.Lost > 500 {
		t.Errorf("%v, %q", report, report.Samples)
	}
	if stats.Errors["connect"] == 0 || stats.Errors["CLUSTERDOWN"] == 0 {
		t.Errorf("nobody noticed: %v", stats.Errors)
	}
	t.Log(report, stats.Errors, "longest stall", stats.Stall)
}

// Writers move from a server to a cluster that is named after it, and back.
func TestWritersMoveToAClusterAndBack(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	c := sandboxtest.Cluster(t, "redis-8.0", sandbox.ClusterOptions{})
	fence := func(on int, servers ...*sandbox.Server) {
		t.Helper()
		for _, s := range servers {
			do(t, sandboxtest.Client(t, s), "CONFIG", "SET", "min-replicas-to-write", on)
		}
	}
	arrived := func(l *load.Load, standalone bool) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if there := l.Snapshot().Writing[s.Address()]; there == 8 && standalone || there == 0 && !standalone {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("writing to %v, errors %v", l.Snapshot().Writing, l.Snapshot().Errors)
			}
		}
	}
	fence(1, c.Nodes()...)
	l := start(t, load.Config{Endpoints: append([]server.Endpoint{s.Endpoint()}, c.Endpoints()...), Mix: load.AnySlots, Rate: 4000})
	await(t, l, 2000)
	arrived(l, true)
	fence(1, s)
	fence(0, c.Nodes()...)
	arrived(l, false)
	await(t, l, 2000)
	if stats := l.Snapshot(); stats.Errors["NOREPLICAS"] == 0 || stats.Errors["CROSSSLOT"] == 0 {
		t.Errorf("errors %v", stats.Errors)
	}
	fence(1, c.Nodes()...)
	fence(0, s)
	arrived(l, true)
	await(t, l, 2000)
}
