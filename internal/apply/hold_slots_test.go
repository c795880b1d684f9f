package apply

import (
	"errors"
	"testing"
	"time"

	"godwit/internal/hold"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/slot"
)

// While what one shard says is held back, and a repair may write to the target what that
// one had, no other shard takes over a slot of its: the repair's write could be the later.
func TestHeldShardKeepsItsSlots(t *testing.T) {
	t.Parallel()
	const key = "moved" // of a slot without keys, so that its shard says nothing of the move
	source := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{Args: []string{"--repl-ping-replica-period 3600"}})
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	e := New(configureCluster(t, target, source))
	run(t, e)
	caughtUpCluster(t, e, source)
	of := slot.Of([]byte(key))
	from, err := source.Owner(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	to := (from + 1) % source.Shards()
	old := primaries(t, source)[from]
	held, err := e.TrailFrom(old.Endpoint().Address, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	info, err := sandboxtest.Client(t, old).Info(t.Context(), "replication")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := held.Stop(t.Context(), info.Int("master_repl_offset")); err != nil {
		t.Fatal(err)
	}
	if err := source.Move(t.Context(), sandbox.SlotRange{First: of, Last: of}, to, sandbox.MoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := sandboxtest.Client(t, primaries(t, source)[to]).Do(t.Context(), "SET", key, "new"); err != nil {
		t.Fatal(err)
	}
	client := sandboxtest.Client(t, target)
	time.Sleep(3 * time.Second)
	if got, err := client.Do(t.Context(), "EXISTS", key); err != nil || got != int64(0) {
		t.Errorf("it was taken over while its shard was held: %v, %v", got, err)
	}
	if err := held.Err(); err != nil {
		t.Error(err)
	}
	held.Release()
	until(t, func() (bool, string) {
		got, err := client.Do(t.Context(), "EXISTS", key)
		return err == nil && got == int64(1), "it is not taken over"
	})
	caughtUpCluster(t, e, source)
	t.Log(sameServers(t, primaries(t, source), []*sandbox.Server{target}, nil), "keys")
}

// A target does not stand at an offset of a shard if it was not given every command up to
// there, as a slot was on the move.
func TestHoldOfASlotOnTheMove(t *testing.T) {
	t.Parallel()
	const key = "moves"
	source := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	e := New(configureCluster(t, target, source))
	run(t, e)
	caughtUpCluster(t, e, source)
	of := slot.Of([]byte(key))
	from, err := source.Owner(t.Context(), of)
	if err != nil {
		t.Fatal(err)
	}
	shard := primaries(t, source)[from]
	held, err := e.TrailFrom(shard.Endpoint().Address, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Release()
	if _, err := e.slots.unsettle(func(i uint16) bool { return i == of }); err != nil {
		t.Fatal(err)
	}
	client := sandboxtest.Client(t, shard)
	if _, err := client.Do(t.Context(), "SET", key, "1"); err != nil {
		t.Fatal(err)
	}
	info, err := client.Info(t.Context(), "replication")
	if err != nil {
		t.Fatal(err)
	}
	var broken *hold.BrokenError
	if stand, err := held.Stop(t.Context(), info.Int("master_repl_offset")); !errors.As(err, &broken) {
		t.Errorf("%+v: %v", stand, err)
	}
	held.Release()
	caughtUpCluster(t, e, source)
	t.Log(sameServers(t, primaries(t, source), []*sandbox.Server{target}, nil), "keys")
}
