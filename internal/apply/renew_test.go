package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
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

// Slots that move once more while they are carried, are carried once more from their
// beginning, keys that had had their turn as well.
func TestRenewAskedForAgain(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 4000, NoFunctions: true, NoFieldTTLs: true}); err != nil {
		t.Fatal(err)
	}
	var names []any
	for i := range 2000 {
		names = append(names, fmt.Sprint("{06S}:", i)) // slot 0
	}
	client := sandboxtest.Client(t, target.Nodes()[0])
	write := func(c *server.Client, value string) {
		t.Helper()
		args := []any{"MSET"}
		for _, name := range names {
			args = append(args, name, value)
		}
		if _, err := c.Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	write(sandboxtest.Client(t, source), "right")
	e := New(configure(t, source, target))
	run(t, e)
	caughtUp(t, e, source)
	write(client, "wrong")
	l := e.links[0]
	moved := []topology.SlotRange{{First: 0, Last: 5000}}
	if err := l.Renew(moved); err != nil {
		t.Fatal(err)
	}
	carried := -1
	until(t, func() (bool, string) {
		reply, err := client.Do(t.Context(), append([]any{"MGET"}, names...)...)
		if err != nil {
			t.Fatal(err)
		}
		carried = slices.Index(reply.([]any), any("right"))
		return carried >= 0, "no key is carried"
	})
	// Nothing is carried while one of them is spoiled again.
	left := 0
	if err := l.running.Load().d.between(t.Context(), func(ctx context.Context) error {
		left = len(l.Renewing())
		_, err := client.Do(ctx, "SET", names[carried], "wrong")
		return errors.Join(err, l.Renew(moved))
	}); err != nil {
		t.Fatal(err)
	}
	if left == 0 {
		t.Fatal("all slots were carried at once")
	}
	renewed(t, e)
	if got, err := client.Do(t.Context(), "GET", names[carried]); err != nil || got != "right" {
		t.Errorf("a key that differed when its slot was to be carried again is %q: %v", got, err)
	}
	caughtUp(t, e, source)
	same(t, source, target, nil)
}

// What was carried by value once more is carried again if the new primary of its shard has
// not got it.
func TestRenewedAndLost(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{Replicas: 1})
	if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 500, NoFunctions: true, NoFieldTTLs: true}); err != nil {
		t.Fatal(err)
	}
	key := keyIn(t, target, 1) // the engine asks a node of the first shard
	do := func(s *sandbox.Server, args ...any) any {
		t.Helper()
		reply, err := sandboxtest.Client(t, s).Do(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	do(source, "SET", key, "right")
	e := New(configure(t, source, target))
	run(t, e)
	caughtUp(t, e, source)
	primary, err := target.Primary(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(target.Nodes(), func(s *sandbox.Server) bool {
		info, err := sandboxtest.Client(t, s).Info(t.Context(), "replication")
		return err == nil && info["role"] == "slave" && info.Int("master_port") == int64(primary.Port())
	})
	replica := target.Nodes()[i]
	follows, leads := sandboxtest.Client(t, replica), sandboxtest.Client(t, primary)
	do(primary, "SET", key, "wrong")
	until(t, func() (bool, string) {
		a, err1 := leads.Info(t.Context(), "replication")
		b, err2 := follows.Info(t.Context(), "replication")
		return err1 == nil && err2 == nil && a.Int("master_repl_offset") <= b.Int("slave_repl_offset"), "the replica has it"
	})
	do(replica, "CONFIG", "SET", "masterauth", "refused") // it gets nothing from now on
	do(primary, "CLIENT", "KILL", "TYPE", "replica")
	until(t, func() (bool, string) {
		info, err := follows.Info(t.Context(), "replication")
		return err == nil && info["master_link_status"] == "down", "the replica is cut off"
	})
	if err := e.links[0].Renew([]topology.SlotRange{{First: slot.Of([]byte(key)), Last: slot.Of([]byte(key))}}); err != nil {
		t.Fatal(err)
	}
	renewed(t, e)
	if got := do(primary, "GET", key); got != "right" {
		t.Fatal(got)
	}
	if _, err := target.Crash(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	do(source, "SET", "last", "1")
	caughtUp(t, e, source)
	renewed(t, e)
	if got := do(replica, "GET", key); got != "right" {
		t.Errorf("its new primary has %v", got)
	}
	same(t, source, target, nil)
}
