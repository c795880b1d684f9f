package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// What clients write to the cluster reaches the old primary, each command once and in
// its order, in whatever words that one has.
func TestFeed(t *testing.T) {
	t.Parallel()
	for _, o := range some(2, []feedOptions{
		{old: "redis-7.0", cluster: "redis-7.0", failover: true},
		{old: "redis-6.0", cluster: "redis-7.0"},
		{old: "valkey-8.1", cluster: "valkey-8.1"},
	}) {
		t.Run(o.old+" from "+o.cluster, func(t *testing.T) {
			t.Parallel()
			o.keys = 3000
			r := newFeedRig(t, o)
			l := r.load(0)
			r.written(l, 5000)
			r.goBack(l)
		})
	}
}

// What a shard says about all of its keys is about none of another's, and what all shards
// say is done once.
func TestFeedOfWholeShards(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"redis-7.0", "valkey-9.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			o := feedOptions{old: version, cluster: version, keys: 1000}
			o.shards.Args = []string{"--repl-diskless-sync-delay 5"}
			if version == "valkey-9.1" {
				o.shards.Args = append(o.shards.Args, "--cluster-databases 4")
			}
			r := newFeedRig(t, o)
			if r.attached > 3*time.Second {
				t.Errorf("it took %v to attach to the shards, which have no backlog", r.attached)
			}
			t.Logf("attached to in %v", r.attached)
			r.streaming()
			c := r.clients()
			at := 0 // the shard that is emptied
			mine := func(n int) string { return r.keyOf(at, n) }
			do(t, c[at], "SET", mine(1), "short", "PX", 20)
			do(t, c[at], "SET", mine(2), "long")
			time.Sleep(50 * time.Millisecond) // the old primary has it for as long as nobody tells it otherwise
			do(t, c[at], "FLUSHALL")
			do(t, c[at], "INCR", mine(1))
			do(t, c[at], "APPEND", mine(2), "x")
			for _, shard := range c {
				do(t, shard, "FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)")
				do(t, shard, "FUNCTION", "LOAD", "#!lua name=other\nredis.register_function('g', function() return 1 end)")
			}
			for _, shard := range c {
				do(t, shard, "FUNCTION", "DELETE", "lib")
			}
			if version == "valkey-9.1" {
				if _, err := c[at].Transaction(t.Context(), []any{"SELECT", 3}, []any{"SET", mine(1), "in db 3"}, []any{"EXPIRE", mine(1), 1000}, []any{"SELECT", 0}); err != nil {
					t.Fatal(err)
				}
				do(t, c[at], "CLUSTER", "FLUSHSLOT", int(slot.Of([]byte(mine(2)))))
			}
			if err := r.feed.Drain(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			if n := r.compare(); n < 500 {
				t.Errorf("%d keys", n)
			}
			if info := r.info("stats"); info.Int("unexpected_error_replies") != 0 {
				t.Errorf("the old primary has refused %s commands", info["unexpected_error_replies"])
			}
		})
	}
}

// clients are those of the shards' primaries.
func (r *feedRig) clients() []*server.Client {
	r.t.Helper()
	var clients []*server.Client
	for i := range r.cluster.Shards() {
		s, err := r.cluster.Primary(r.t.Context(), i)
		if err != nil {
			r.t.Fatal(err)
		}
		clients = append(clients, sandboxtest.Client(r.t, s))
	}
	return clients
}

// keyOf is the n-th name of a key of a shard.
func (r *feedRig) keyOf(shard, n int) string {
	r.t.Helper()
	ranges, err := r.cluster.Slots(r.t.Context(), shard)
	if err != nil {
		r.t.Fatal(err)
	}
	for i := 0; ; i++ {
		key := fmt.Sprint("mine:", i)
		of := slot.Of([]byte(key))
		if !slices.ContainsFunc(ranges, func(s sandbox.SlotRange) bool { return s.First <= of && of <= s.Last }) {
			continue
		}
		if n--; n == 0 {
			return key
		}
	}
}

func do(t *testing.T, c *server.Client, args ...any) any {
	t.Helper()
	reply, err := c.Do(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// What makes a way back impossible is said by name, and the old primary keeps what it has.
func TestFeedThatIsLost(t *testing.T) {
	t.Parallel()
	type lost struct {
		name    string
		happens func(t *testing.T, r *feedRig)
		like    string
		args    []string // of the old primary
	}
	for _, tt := range []lost{
		{"a shard has forgotten", func(t *testing.T, r *feedRig) {
			r.end()
			noise := strings.Repeat("x", 1<<20)
			for range 66 {
				do(t, r.clients()[1], "SET", r.keyOf(1, 1), noise)
			}
			r.start()
		}, "the shard of slots 5462-10923", nil},
		{"a slot moves", func(t *testing.T, r *feedRig) {
			of := slot.Of([]byte(r.keyOf(1, 1)))
			do(t, r.clients()[1], "SET", r.keyOf(1, 1), "x")
			if err := r.cluster.Move(t.Context(), sandbox.SlotRange{First: of, Last: of}, 2, sandbox.MoveOptions{}); err != nil {
				t.Fatal(err)
			}
		}, "has moved to or from the shard of slots 10924-16383", nil},
		{"the old primary has lost its data", func(t *testing.T, r *feedRig) {
			if err := r.old.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			host, port, err := net.SplitHostPort(r.proxy.Address())
			if err != nil {
				t.Fatal(err)
			}
			r.do("REPLICAOF", host, port)
		}, "and has no checkpoint", nil},
		{"the old primary was written to", func(t *testing.T, r *feedRig) {
			host, port, err := net.SplitHostPort(r.proxy.Address())
			if err != nil {
				t.Fatal(err)
			}
			r.do("REPLICAOF", "NO", "ONE")
			r.do("SET", "stray", "x")
			r.do("REPLICAOF", host, port)
		}, "may have been written to", nil},
		{"the old primary may have done something twice", func(t *testing.T, r *feedRig) {
			host, port, err := net.SplitHostPort(r.proxy.Address())
			if err != nil {
				t.Fatal(err)
			}
			r.do("CONFIG", "SET", "appendfsync", "always") // a busy disk has it written seconds later
			key := r.keyOf(1, 1)
			for _, restart := range []func() error{
				func() error {
					if err := r.old.Kill(); err != nil {
						return err
					}
					cutWithinTransaction(t, r.old, key)
					return r.old.Restart(t.Context())
				},
				func() error { return r.old.Restart(t.Context()) },
			} {
				n := do(t, r.clients()[1], "INCR", key)
				until(t, func() (bool, string) {
					got := r.do("GET", key)
					return got == fmt.Sprint(n), fmt.Sprint(got)
				})
				if err := restart(); err != nil {
					t.Fatal(err)
				}
				r.do("REPLICAOF", host, port)
				if n == int64(1) {
					r.streaming()
				}
			}
		}, "append-only file was cut within a transaction", []string{"--appendonly yes"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newFeedRig(t, feedOptions{old: "redis-7.0", cluster: "redis-7.0", keys: 300, oldArgs: tt.args})
			r.streaming()
			r.config.Resume = true
			keys := r.do("DBSIZE").(int64)
			if strings.HasSuffix(tt.name, "its data") {
				keys = 0
			}
			tt.happens(t, r)
			err := <-r.ended
			r.ended <- context.Canceled // as far as the rig is concerned
			var hint interface{ HintText() string }
			if !errors.As(err, &hint) || !strings.Contains(err.Error(), tt.like) {
				t.Fatalf("%v", err)
			}
			t.Log(err)
			if now := r.do("DBSIZE").(int64); now < keys {
				t.Errorf("%d keys, not %d", now, keys)
			}
		})
	}
}

// What the old primary has no words for is carried by the values that it made, or said in
// others.
func TestFeedOfWhatHasNoEqual(t *testing.T) {
	t.Parallel()
	r := newFeedRig(t, feedOptions{old: "redis-7.0", cluster: "redis-8.6", keys: 300, oldArgs: []string{"--replica-serve-stale-data no"}})
	r.streaming()
	shards := r.clients()
	for shard := range shards {
		key := r.keyOf(shard, 1)
		c := shards[shard]
		to := "{" + key + "}to"
		do(t, c, "SET", key, "\xff\x0f\xf0")
		for i := range 50 {
			do(t, c, "SETBIT", key, i*7, 1)
			do(t, c, "BITOP", "DIFF", to, key, "{"+key+"}none")
			do(t, c, "BITOP", "ONE", to+":by value", key, to, "{"+key+"}none")
			do(t, c, "APPEND", to+":by value", fmt.Sprint(i))
			do(t, c, "APPEND", to, fmt.Sprint(i))
		}
		do(t, c, "PEXPIRE", to, 1_000_000)
	}
	if err := r.feed.Drain(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	t.Log(r.compare(), "keys")
}
