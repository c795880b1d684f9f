package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// tagged is a hash tag whose slot is the given one.
func tagged(t *testing.T, at uint16) string {
	t.Helper()
	for i := range 1 << 20 {
		if tag := fmt.Sprintf("{%d}", i); slot.Of([]byte(tag)) == at {
			return tag
		}
	}
	t.Fatalf("no tag for slot %d", at)
	return ""
}

func do(t *testing.T, s *sandbox.Server, args ...any) any {
	t.Helper()
	reply, err := sandboxtest.Client(t, s).Do(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func primary(t *testing.T, c *sandbox.Cluster, shard int) *sandbox.Server {
	t.Helper()
	s, err := c.Primary(t.Context(), shard)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustOwn(t *testing.T, c *sandbox.Cluster, at uint16, want int) {
	t.Helper()
	if got, err := c.Owner(t.Context(), at); err != nil || got != want {
		t.Errorf("slot %d belongs to shard %d, %v; want %d", at, got, err, want)
	}
}

func timed(t *testing.T, what string, f func() error) {
	t.Helper()
	begin := time.Now()
	if err := f(); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	t.Logf("%s took %v", what, time.Since(begin).Round(time.Millisecond))
}

// Everything that a cluster can live through, once in the life of one.
func TestClusterLife(t *testing.T) {
	for _, name := range []string{"redis-6.0", "redis-7.0", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clusterLife(t, name)
		})
	}
}

func clusterLife(t *testing.T, name string) {
	var c *sandbox.Cluster
	ctx := t.Context()
	timed(t, "start of 3 + 3", func() error {
		c = sandboxtest.Cluster(t, name, sandbox.ClusterOptions{Replicas: 1, AOF: true, NodeTimeout: time.Second, Password: "secret"})
		return nil
	})
	for at, shard := range map[uint16]int{0: 0, 5461: 0, 5462: 1, 10923: 1, 10924: 2, 16383: 2} {
		mustOwn(t, c, at, shard)
	}
	tag := tagged(t, 7)
	for i := range 25 {
		do(t, primary(t, c, 0), "SET", fmt.Sprint(tag, i), i)
	}

	// Half moved, then the rest.
	stop := errors.New("far enough")
	err := c.Move(ctx, sandbox.SlotRange{First: 7, Last: 7}, 1, sandbox.MoveOptions{Step: func(_ uint16, moved int) error {
		if moved == 10 {
			return stop
		}
		return nil
	}})
	if !errors.Is(err, stop) {
		t.Fatal(err)
	}
	mustOwn(t, c, 7, 0)
	if a, b := do(t, primary(t, c, 0), "CLUSTER", "COUNTKEYSINSLOT", 7), do(t, primary(t, c, 1), "CLUSTER", "COUNTKEYSINSLOT", 7); a != int64(15) || b != int64(10) {
		t.Errorf("%v and %v keys of a slot half moved", a, b)
	}
	timed(t, "half a slot's move", func() error {
		return c.Move(ctx, sandbox.SlotRange{First: 7, Last: 7}, 1, sandbox.MoveOptions{})
	})
	mustOwn(t, c, 7, 1)
	if n := do(t, primary(t, c, 1), "CLUSTER", "COUNTKEYSINSLOT", 7); n != int64(25) {
		t.Errorf("%v keys at the new owner, want 25", n)
	}

	old := primary(t, c, 1)
	timed(t, "failover", func() error { _, err := c.Failover(ctx, 1); return err })
	if now := primary(t, c, 1); now == old {
		t.Error("the primary is the same after a failover")
	}
	mustOwn(t, c, 7, 1)

	var killed *sandbox.Server
	timed(t, "crash", func() (err error) { killed, err = c.Crash(ctx, 1); return err })
	if now := primary(t, c, 1); now != old || killed.Running() {
		t.Errorf("%s took over from %s, which runs: %v", now.Address(), killed.Address(), killed.Running())
	}
	timed(t, "restart as a replica", func() error { return c.Restart(ctx, killed, true) })
	if n := do(t, killed, "DBSIZE"); n != int64(25) {
		t.Errorf("the replica has %v keys", n)
	}

	timed(t, "a shard more", func() error {
		shard, err := c.AddShard(ctx)
		if shard != 3 {
			t.Errorf("it has the number %d", shard)
		}
		return err
	})
	timed(t, "move of 60 slots", func() error {
		return c.Move(ctx, sandbox.SlotRange{First: 0, Last: 59}, 3, sandbox.MoveOptions{})
	})
	if slots, err := c.Slots(ctx, 3); err != nil || !slices.Equal(slots, []sandbox.SlotRange{{First: 0, Last: 59}}) {
		t.Errorf("slots %v, %v", slots, err)
	}
	if n := do(t, primary(t, c, 3), "CLUSTER", "COUNTKEYSINSLOT", 7); n != int64(25) {
		t.Errorf("%v keys in the new shard, want 25", n)
	}
	if strings.HasPrefix(name, "valkey-9") {
		timed(t, "atomic move of 60 slots", func() error {
			return c.MoveAtomically(ctx, sandbox.SlotRange{First: 0, Last: 59}, 2)
		})
		mustOwn(t, c, 7, 2)
		if n := do(t, primary(t, c, 2), "CLUSTER", "COUNTKEYSINSLOT", 7); n != int64(25) {
			t.Errorf("%v keys after the atomic move, want 25", n)
		}
	}
	if got := len(c.Endpoints()); got != 8 || len(c.Nodes()) != 8 {
		t.Errorf("%d nodes", got)
	}
}

// A primary that is back before a replica has been elected has what it has saved.
func TestRestartOfAPrimary(t *testing.T) {
	t.Parallel()
	c := sandboxtest.Cluster(t, "valkey-8.1", sandbox.ClusterOptions{AOF: true, NodeTimeout: 15 * time.Second})
	s := primary(t, c, 0)
	key := tagged(t, 7)
	for _, empty := range []bool{false, true} {
		do(t, s, "SET", key, "v")
		if err := c.Restart(t.Context(), s, empty); err != nil {
			t.Fatal(err)
		}
		mustOwn(t, c, 7, 0)
		if got, want := do(t, s, "EXISTS", key) == int64(0), empty; got != want {
			t.Errorf("empty: %v, want %v", got, want)
		}
	}
}

func TestClusterErrors(t *testing.T) {
	t.Parallel()
	ctx := t.Context()
	for _, o := range []sandbox.ClusterOptions{{Shards: -1}, {Replicas: -1}, {Shards: slot.Count + 1}} {
		if _, err := sandbox.StartCluster(ctx, sandboxtest.Binary(t, "redis-7.0"), o); err == nil {
			t.Errorf("started %+v", o)
		}
	}
	if _, err := sandbox.StartCluster(ctx, sandboxtest.Binary(t, "redis-7.0"), sandbox.ClusterOptions{Args: []string{"--no-such-setting 1"}}); err == nil || !strings.Contains(err.Error(), "no-such-setting") {
		t.Errorf("a bad setting: %v", err)
	}
	c := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{Shards: 2})
	one := sandbox.SlotRange{First: 1, Last: 1}
	if err := c.Move(ctx, one, 2, sandbox.MoveOptions{}); err == nil {
		t.Error("moved to a shard that does not exist")
	}
	var reply *server.Error
	if err := c.MoveAtomically(ctx, one, 1); !errors.As(err, &reply) {
		t.Errorf("an atomic move on a server without it: %v", err)
	}
	if _, err := c.Failover(ctx, 0); err == nil || !strings.Contains(err.Error(), "no replica") {
		t.Errorf("failover without a replica: %v", err)
	}
	if _, err := c.Primary(ctx, 5); err == nil {
		t.Error("a shard that does not exist has a primary")
	}
	short, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.Move(short, one, 1, sandbox.MoveOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
