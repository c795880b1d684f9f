//go:build fault

package apply

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"godwit/internal/load"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// Everything at once, in any order: slots move by keys and atomically, shards fail over,
// crash, are emptied, come and go, and godwit is restarted.
func TestAClusterThatDoesNotRest(t *testing.T) {
	for _, tt := range []struct {
		version string
		target  int
		seed    uint64
	}{
		{"redis-7.0", 5, 1}, {"valkey-9.1", 2, 2}, {"valkey-8.1", 0, 3}, {"redis-7.0", 1, 4}, {"redis-6.0", 3, 5}, {"redis-8.6", 3, 6},
	} {
		t.Run(fmt.Sprint(tt.version, " ", tt.target, " ", tt.seed), func(t *testing.T) {
			ctx := t.Context()
			source := sandboxtest.Cluster(t, tt.version, sandbox.ClusterOptions{Replicas: 1, NodeTimeout: time.Second})
			targets := aTarget(t, tt.version, tt.target)
			fill(t, source, "fill:", 5000)
			l := begin(t, load.Config{Endpoints: source.Endpoints(), Mix: load.OneSlot, Rate: 2000})
			var m memory
			c := configureCluster(t, targets()[0], source)
			e := New(m.load(t, c))
			stop := run(t, e)
			rng := rand.New(rand.NewPCG(tt.seed, 0))
			known := change{version: tt.version}.knownAfter(15 * time.Second)
			shards := 3
			crashed := false
			for n := range 14 {
				first := uint16(rng.IntN(16000))
				slots := sandbox.SlotRange{First: first, Last: first + uint16(rng.IntN(60))}
				var err error
				what := rng.IntN(7)
				t.Log(n, what, slots)
				switch what {
				case 0, 1:
					err = move(ctx, source, slots, rng.IntN(shards), sandbox.MoveOptions{})
				case 2:
					if tt.version != "valkey-9.1" {
						err = move(ctx, source, slots, rng.IntN(shards), sandbox.MoveOptions{Batch: 1})
						break
					}
					err = moveAtOnce(ctx, t, source, slots, rng.IntN(shards))
				case 3:
					_, err = source.Failover(ctx, rng.IntN(3))
				case 4:
					var dead *sandbox.Server
					if dead, err = source.Crash(ctx, rng.IntN(3)); err == nil {
						crashed = true
						err = source.Restart(ctx, dead, true)
					}
				case 5:
					stop()
					e = New(m.load(t, c))
					stop = run(t, e)
				case 6:
					if shards == 3 {
						shards++
						_, err = source.AddShard(ctx)
					}
				}
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
			}
			l.Stop()
			caughtUpCluster(t, e, source)
			t.Logf("%d keys, %+v", sameServers(t, primaries(t, source), targets(), known), e.View())
			asAtSource(t, l, source, targets()[0].Endpoint(), crashed)
		})
	}
}

// move moves slots, though Valkey refuses that as long as a shard's replica is not attached.
func move(ctx context.Context, c *sandbox.Cluster, slots sandbox.SlotRange, to int, o sandbox.MoveOptions) error {
	for range 50 {
		err := c.Move(ctx, slots, to, o)
		if err == nil || !strings.Contains(err.Error(), "NOREPLICAS") {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
	return errors.New("no replica is attached")
}

// moveAtOnce moves those of some slots that are the first one's owner's.
func moveAtOnce(ctx context.Context, t *testing.T, c *sandbox.Cluster, slots sandbox.SlotRange, to int) error {
	t.Helper()
	from, err := c.Owner(ctx, slots.First)
	if err != nil || from == to {
		return err
	}
	last := slots.First
	for last < slots.Last {
		if owner, err := c.Owner(ctx, last+1); err != nil || owner != from {
			break
		}
		last++
	}
	return c.MoveAtomically(ctx, sandbox.SlotRange{First: slots.First, Last: last}, to)
}

// Between clusters of other sizes, and to a standalone server.
func TestFromAClusterOfEachVersion(t *testing.T) {
	for _, version := range []string{"redis-6.0", "redis-7.0", "redis-8.6", "valkey-8.1", "valkey-9.1"} {
		for _, shards := range [][2]int{{3, 5}, {5, 3}, {3, 0}} {
			t.Run(fmt.Sprint(version, " ", shards), func(t *testing.T) {
				change{
					version: version, source: sandbox.ClusterOptions{Shards: shards[0]}, target: shards[1],
					happens: moveSlots(sandbox.SlotRange{First: 6000, Last: 6100}, 0),
				}.run(t)
			})
		}
	}
}

// Whenever godwit ends while slots move, it goes on where it was.
func TestGoesOnWhileSlotsMove(t *testing.T) {
	for _, version := range []string{"redis-7.0", "valkey-9.1"} {
		t.Run(version, func(t *testing.T) {
			ctx := t.Context()
			source := sandboxtest.Cluster(t, version, sandbox.ClusterOptions{})
			targets := aTarget(t, version, 2)
			fill(t, source, "fill:", 5000)
			var m memory
			c := configureCluster(t, targets()[0], source)
			e := New(m.load(t, c))
			stop := run(t, e)
			caughtUpCluster(t, e, source)
			l := begin(t, load.Config{Endpoints: source.Endpoints(), Mix: load.OneSlot, Rate: 2000})
			moved := background(t, func(_ context.Context, n uint64) error {
				first := uint16(n * 37 % 16000)
				slots := sandbox.SlotRange{First: first, Last: first + 10}
				if version == "valkey-9.1" && n%2 == 0 {
					return moveAtOnce(ctx, t, source, slots, int(n%3))
				}
				return source.Move(ctx, slots, int(n%3), sandbox.MoveOptions{})
			})
			rng := rand.New(rand.NewPCG(1, 2))
			for range 20 {
				time.Sleep(time.Duration(rng.IntN(400)) * time.Millisecond)
				stop()
				e = New(m.load(t, c))
				stop = run(t, e)
			}
			n := moved()
			l.Stop()
			caughtUpCluster(t, e, source)
			t.Logf("%d moves, %d keys, %+v", n, sameServers(t, primaries(t, source), targets(), nil), e.View())
			found(t, l, targets()[0].Endpoint())
		})
	}
}

// What a promoted replica has not is taken from the target, too.
func TestPromotedReplicaLacksWrites(t *testing.T) {
	ctx := t.Context()
	for _, version := range []string{"redis-7.0", "valkey-9.1"} {
		t.Run(version, func(t *testing.T) {
			source := sandboxtest.Cluster(t, version, sandbox.ClusterOptions{Replicas: 1, NodeTimeout: 2 * time.Second})
			targets := aTarget(t, version, 2)
			fill(t, source, "fill:", 3000)
			primary, err := source.Primary(ctx, 1)
			if err != nil {
				t.Fatal(err)
			}
			client := sandboxtest.Client(t, primary)
			attached, err := client.Text(ctx, "CLIENT", "LIST", "TYPE", "replica")
			if err != nil {
				t.Fatal(err)
			}
			var id int
			if _, err := fmt.Sscanf(attached, "id=%d ", &id); err != nil {
				t.Fatal(err)
			}
			var replica *sandbox.Server
			for i, n := range source.Nodes() {
				if n != primary && i/2 == 1 {
					replica = n
				}
			}
			e := New(configureCluster(t, targets()[0], source))
			run(t, e)
			caughtUpCluster(t, e, source)
			l := begin(t, load.Config{Endpoints: source.Endpoints(), Mix: load.OneSlot, Rate: 3000})
			// It gets nothing more, and is promoted before it has asked for what it lacks.
			if err := replica.Pause(); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Do(ctx, "CLIENT", "KILL", "ID", id); err != nil {
				t.Fatal(err)
			}
			before := l.Snapshot().Acked
			until(t, func() (bool, string) { return l.Snapshot().Acked > before+600, "no writes" })
			if err := primary.Kill(); err != nil {
				t.Fatal(err)
			}
			if err := replica.Resume(); err != nil {
				t.Fatal(err)
			}
			if err := source.Settle(ctx); err != nil {
				t.Fatal(err)
			}
			before = l.Snapshot().Acked
			until(t, func() (bool, string) { return l.Snapshot().Acked > before+600, "no writes" })
			l.Stop()
			caughtUpCluster(t, e, source)
			t.Logf("%d keys, %+v", sameServers(t, primaries(t, source), targets(), nil), e.View())
			want, err := l.Audit(ctx, replica.Endpoint())
			if err != nil {
				t.Fatal(err)
			}
			got, err := l.Audit(ctx, targets()[0].Endpoint())
			if err != nil {
				t.Fatal(err)
			}
			if want.Lost == 0 || got.Lost != want.Lost || got.Doubled != want.Doubled {
				t.Errorf("%v: %q\nat the source %v: %q", got, got.Samples, want, want.Samples)
			}
			t.Log(got)
		})
	}
}

// asAtSource sees that the target has what a cluster has kept of what it has acknowledged:
// one that loses what it has acknowledged, when a primary crashes, loses it there, too.
func asAtSource(t *testing.T, l *load.Load, source *sandbox.Cluster, target server.Endpoint, crashed bool) {
	t.Helper()
	want, err := l.Audit(t.Context(), source.Endpoints()...)
	if err != nil {
		t.Fatal(err)
	}
	got, err := l.Audit(t.Context(), target)
	if err != nil {
		t.Fatal(err)
	}
	if got.Lost != want.Lost || got.Doubled != want.Doubled || !crashed && !got.Clean() {
		t.Errorf("%v: %q\nat the source %v: %q", got, got.Samples, want, want.Samples)
	}
	t.Log(got)
}

// Slots move, and shards come and go, before the copy has ended.
func TestClusterChangesDuringTheCopy(t *testing.T) {
	for _, version := range []string{"redis-7.0", "valkey-9.1"} {
		t.Run(version, func(t *testing.T) {
			ctx := t.Context()
			source := sandboxtest.Cluster(t, version, sandbox.ClusterOptions{})
			targets := aTarget(t, version, 2)
			fill(t, source, "fill:", 60000)
			l := begin(t, load.Config{Endpoints: source.Endpoints(), Mix: load.OneSlot, Rate: 1000})
			moved := background(t, func(_ context.Context, n uint64) error {
				first := uint16(n * 37 % 16000)
				slots := sandbox.SlotRange{First: first, Last: first + 20}
				if version == "valkey-9.1" && n%2 == 0 {
					return moveAtOnce(ctx, t, source, slots, int(n%3))
				}
				return source.Move(ctx, slots, int(n%3), sandbox.MoveOptions{})
			})
			time.Sleep(100 * time.Millisecond)
			e := New(configureCluster(t, targets()[0], source))
			run(t, e)
			until(t, func() (bool, string) { return e.present().copied(), fmt.Sprintf("%+v", e.View()) })
			during := moved()
			l.Stop()
			caughtUpCluster(t, e, source)
			t.Logf("%d moves, %d keys, %+v", during, sameServers(t, primaries(t, source), targets(), nil), e.View())
			asAtSource(t, l, source, targets()[0].Endpoint(), false)
		})
	}
}

// A shard is emptied, one is given all its slots, and one has none left and goes.
func TestShardsComeAndGo(t *testing.T) {
	ctx := t.Context()
	source := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	targets := aTarget(t, "redis-7.0", 2)
	fill(t, source, "fill:", 5000)
	e := New(configureCluster(t, targets()[0], source))
	run(t, e)
	caughtUpCluster(t, e, source)
	l := begin(t, load.Config{Endpoints: source.Endpoints(), Mix: load.OneSlot, Rate: 1000})
	to, err := source.AddShard(ctx)
	if err != nil {
		t.Fatal(err)
	}
	slots, err := source.Slots(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range slots {
		if err := source.Move(ctx, r, to, sandbox.MoveOptions{Batch: 100}); err != nil {
			t.Fatal(err)
		}
	}
	l.Stop()
	caughtUpCluster(t, e, source)
	t.Logf("%d keys, %+v", sameServers(t, primaries(t, source), targets(), nil), e.View())
	found(t, l, targets()[0].Endpoint())
	if _, err := sandboxtest.Client(t, source.Nodes()[0]).Do(ctx, "FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	fill(t, source, "again:", 100)
	caughtUpCluster(t, e, source)
	t.Logf("%d keys, %+v", sameServers(t, primaries(t, source), targets(), nil), e.View())
}

// A slot stays half moved while its keys are written, and a move is given up.
func TestMovesThatDoNotEnd(t *testing.T) {
	for _, version := range []string{"redis-7.0", "valkey-9.1"} {
		t.Run(version, func(t *testing.T) {
			ctx := t.Context()
			source := sandboxtest.Cluster(t, version, sandbox.ClusterOptions{})
			targets := aTarget(t, version, 2)
			for i := range 300 { // all of one slot
				if _, err := sandboxtest.Client(t, source.Nodes()[2]).Do(ctx, "SET", fmt.Sprint("{half}", i), i); err != nil {
					t.Fatal(err)
				}
			}
			half := slot.Of([]byte("{half}"))
			e := New(configureCluster(t, targets()[0], source))
			run(t, e)
			caughtUpCluster(t, e, source)
			l := begin(t, load.Config{Endpoints: source.Endpoints(), Mix: load.OneSlot, Rate: 2000})
			enough := errors.New("enough")
			err := source.Move(ctx, sandbox.SlotRange{First: half, Last: half}, 0, sandbox.MoveOptions{Step: func(_ uint16, moved int) error {
				if moved > 100 {
					return enough
				}
				return nil
			}})
			if !errors.Is(err, enough) {
				t.Fatal(err)
			}
			for i := range 300 {
				at := source.Nodes()[2]
				if n, err := sandboxtest.Client(t, at).Do(ctx, "EXISTS", fmt.Sprint("{half}", i)); err != nil || n != int64(1) {
					continue // it is at the new owner by now
				}
				if _, err := sandboxtest.Client(t, at).Do(ctx, "APPEND", fmt.Sprint("{half}", i), "x"); err != nil {
					t.Fatal(err)
				}
			}
			time.Sleep(500 * time.Millisecond)
			if v := e.View()[0]; v.Unsettled != 1 {
				t.Errorf("%d slots are unsettled", v.Unsettled)
			}
			if err := source.Move(ctx, sandbox.SlotRange{First: half, Last: half}, 0, sandbox.MoveOptions{}); err != nil {
				t.Fatal(err)
			}
			if version == "valkey-9.1" {
				within, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
				_ = source.MoveAtomically(within, sandbox.SlotRange{First: 0, Last: 3000}, 1) // as far as it comes
				cancel()
			}
			l.Stop()
			caughtUpCluster(t, e, source)
			t.Logf("%d keys, %+v", sameServers(t, primaries(t, source), targets(), nil), e.View())
			found(t, l, targets()[0].Endpoint())
		})
	}
}
