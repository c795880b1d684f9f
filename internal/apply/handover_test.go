package apply

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/slot"
)

// A shard that stands still within the handover of an atomic move, for longer than it holds
// its clients' writes back, carries these out as if the slots were its own still. What it is
// sent meanwhile is on the target once.
func TestShardStandsStillWithinAHandover(t *testing.T) {
	t.Parallel()
	for _, tt := range some(1, []struct {
		name        string
		first, last uint16 // slots that are moved
	}{
		{"the last slots", 5000, 5461}, {"the first slots", 0, 400},
	}) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
			target := sandboxtest.Cluster(t, "valkey-9.1", sandbox.ClusterOptions{
				NodeTimeout: time.Minute,
				Args:        []string{"--enable-debug-command yes", "--cluster-manual-failover-timeout 1000"},
			})
			e := New(configure(t, source, target))
			run(t, e)
			from := sandboxtest.Client(t, source)
			var keys []string // of the shard
			for i := 0; len(keys) < 200; i++ {
				if k := fmt.Sprint("k", i); slot.Of([]byte(k)) <= 5461 {
					keys = append(keys, k)
				}
			}
			increase := func() {
				for _, k := range keys {
					do(t, from, "INCR", k)
				}
			}
			increase()
			caughtUp(t, e, source)
			a, b := sandboxtest.Client(t, target.Nodes()[0]), sandboxtest.Client(t, target.Nodes()[1])
			id, err := b.Text(t.Context(), "CLUSTER", "MYID")
			if err != nil {
				t.Fatal(err)
			}
			do(t, b, "DEBUG", "SLOTMIGRATION", "PREVENT-FAILOVER", 1)
			do(t, a, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", tt.first, tt.last, "NODE", id)
			until(t, func() (bool, string) {
				jobs := fmt.Sprint(do(t, a, "CLUSTER", "GETSLOTMIGRATIONS"))
				return strings.Contains(jobs, "failover-granted"), jobs
			})
			increase()
			time.Sleep(100 * time.Millisecond) // what has come is held back
			if err := target.Nodes()[0].Pause(); err != nil {
				t.Fatal(err)
			}
			do(t, b, "DEBUG", "SLOTMIGRATION", "PREVENT-FAILOVER", 0)
			time.Sleep(3 * time.Second)
			if err := target.Nodes()[0].Resume(); err != nil {
				t.Fatal(err)
			}
			if err := target.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			t.Logf("%v", do(t, a, "CLUSTER", "GETSLOTMIGRATIONS"))
			caughtUp(t, e, source)
			until(t, func() (bool, string) {
				p := e.of(0)
				return p.Generation > 1 && len(p.Renew) == 0, fmt.Sprintf("%+v", p)
			})
			t.Logf("%d keys", same(t, source, target, nil))
		})
	}
}

// A copy waits for slots that are being moved at once, and leaves that alone; slots that
// move while nothing is written are noticed.
func TestCopyWaitsForMoves(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Cluster(t, "valkey-9.1", sandbox.ClusterOptions{Args: []string{"--enable-debug-command yes"}})
	if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 1000, NoFunctions: true}); err != nil {
		t.Fatal(err)
	}
	a := sandboxtest.Client(t, target.Nodes()[0])
	do(t, a, "DEBUG", "SLOTMIGRATION", "PREVENT-PAUSE", 1)
	moved := make(chan error, 1)
	go func() {
		moved <- target.MoveAtomically(context.WithoutCancel(t.Context()), sandbox.SlotRange{First: 0, Last: 1000}, 1)
	}()
	until(t, func() (bool, string) {
		jobs := fmt.Sprint(do(t, a, "CLUSTER", "GETSLOTMIGRATIONS"))
		return strings.Contains(jobs, "waiting-to-pause"), jobs
	})
	e := New(configure(t, source, target))
	run(t, e)
	until(t, func() (bool, string) {
		v := e.View()[0]
		return strings.Contains(v.Reason, "being moved from") && v.Hint != "", fmt.Sprintf("%+v", v)
	})
	do(t, a, "DEBUG", "SLOTMIGRATION", "PREVENT-PAUSE", 0)
	if err := <-moved; err != nil {
		t.Fatal(err)
	}
	caughtUp(t, e, source)
	generation := e.of(0).Generation
	if err := target.MoveAtomically(t.Context(), sandbox.SlotRange{First: 0, Last: 1000}, 2); err != nil {
		t.Fatal(err)
	}
	until(t, func() (bool, string) {
		p := e.of(0)
		return p.Generation > generation && len(p.Renew) == 0, fmt.Sprintf("%+v", p)
	})
	caughtUp(t, e, source)
	t.Logf("%d keys", same(t, source, target, nil))
}

// Slots that have gone and come back between two looks are carried by value, too: a move at
// once leaves out that an entry is pending which was deleted from its stream.
func TestSlotsThatCameBack(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Cluster(t, "valkey-9.1", sandbox.ClusterOptions{})
	from := sandboxtest.Client(t, source)
	do(t, from, "XADD", "{06S}s", "1-1", "f", "v") // slot 0
	do(t, from, "XGROUP", "CREATE", "{06S}s", "g", "0")
	do(t, from, "XREADGROUP", "GROUP", "g", "c", "STREAMS", "{06S}s", ">")
	do(t, from, "XDEL", "{06S}s", "1-1")
	e := New(configure(t, source, target))
	run(t, e)
	caughtUp(t, e, source)
	same(t, source, target, nil)
	a := sandboxtest.Client(t, target.Nodes()[0])
	for _, to := range []int{1, 0} {
		if err := target.MoveAtomically(t.Context(), sandbox.SlotRange{First: 0, Last: 10}, to); err != nil {
			t.Fatal(err)
		}
	}
	if pending := fmt.Sprint(do(t, a, "XPENDING", "{06S}s", "g")); pending[:2] != "[0" && len(e.of(0).Seen) == 0 {
		t.Errorf("the move has left it pending: %s", pending)
	}
	until(t, func() (bool, string) {
		p := e.of(0)
		return len(p.Seen) == 2 && len(p.Renew) == 0, fmt.Sprintf("%+v", p)
	})
	caughtUp(t, e, source)
	same(t, source, target, nil)
}
