package apply

import (
	"context"
	"fmt"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/slot"
	"godwit/internal/topology"
	"godwit/internal/traffic"
)

// Slots that are carried by value once more have what the source has, whatever they had,
// however often that is interrupted, while the stream goes on.
func TestRenew(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}})
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 8000, NoFunctions: true}); err != nil {
		t.Fatal(err)
	}
	var m memory
	c := configure(t, source, target)
	e := New(m.load(t, c))
	stop := run(t, e)
	caughtUp(t, e, source)
	sent := background(t, func(ctx context.Context, seed uint64) error {
		_, err := traffic.Run(ctx, source.Endpoint(), traffic.Options{Seed: seed, Commands: 2000, DBs: []int{0}, Prefix: "t:", NoFlush: true, Without: []traffic.Feature{traffic.Function}})
		return err
	})
	// Of the slots of one shard a third of the keys is changed, which is what no command
	// of the stream is about.
	slots := []topology.SlotRange{{First: 100, Last: 2000}, {First: 3000, Last: 5000}}
	var in [slot.Count]bool
	each(slots, func(of uint16) { in[of] = true })
	client := sandboxtest.Client(t, target.Nodes()[0])
	do := func(args ...any) {
		t.Helper()
		if _, err := client.Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	n := 0
	for key := range keysOf(t, nil, target.Nodes()[0].Endpoint()) {
		if !in[slot.Of([]byte(key))] || key[:2] == "t:" {
			continue
		}
		switch n++; n % 9 {
		case 0:
			do("DEL", key)
		case 1:
			do("PEXPIRE", key, 100_000_000)
		case 2:
			do("SET", key, "not what it was")
		}
	}
	for i := range 5000 {
		if key := fmt.Sprint("extra:", i); in[slot.Of([]byte(key))] {
			do("SET", key, "v")
			n++
		}
	}
	if err := e.links[0].Renew(slots); err != nil {
		t.Fatal(err)
	}
	interrupted := 0
	for len(e.links[0].Renewing()) > 0 && interrupted < 5 {
		time.Sleep(time.Duration(20*interrupted) * time.Millisecond)
		stop()
		interrupted++
		e = New(m.load(t, c))
		stop = run(t, e)
	}
	renewed(t, e)
	runs := sent()
	caughtUp(t, e, source)
	t.Logf("%d keys, %d changed, %d interruptions, %d runs of traffic", same(t, source, target, nil), n, interrupted, runs)
}
