package apply

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/command"
	"godwit/internal/dataset"
	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/route"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/traffic"
)

func mapped(t testing.TB, flags string) route.Route {
	t.Helper()
	r, err := route.Parse(strings.Fields(flags))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// sameThrough compares the source with the cluster through a mapping.
func sameThrough(t testing.TB, r route.Route, source *sandbox.Server, target *sandbox.Cluster) int {
	t.Helper()
	return sameMapped(t, r, source, target, nil)
}

// sameMapped is sameThrough that knows of differences, as same does.
func sameMapped(t testing.TB, r route.Route, source *sandbox.Server, target *sandbox.Cluster, known func(key string, want, got value) bool) int {
	t.Helper()
	var dbs []int
	for _, way := range r.Ways() {
		dbs = append(dbs, way.From)
	}
	there := func(db int, key []byte) (string, bool) {
		to, name, stays, err := r.Key(nil, db, key)
		if err != nil {
			t.Error(err)
		}
		return fmt.Sprintf("%d:%s", to, name), !stays
	}
	asItIs := func(db int, key []byte) (string, bool) { return fmt.Sprintf("%d:%s", db, key), true }
	formats := []rdb.Format{formatOf(t, source), formatOf(t, primaries(t, target)[0])}
	targets := []int{0, 1, 2, 3, 4, 5}
	if formats[1].Family != rdb.Valkey || !strings.Contains(fmt.Sprint(r), "1:2") {
		targets = []int{0}
	}
	return sameSides(t,
		func() map[string]value { return keysIn(t, formats, dbs, there, source.Endpoint()) },
		func() map[string]value {
			return keysIn(t, formats, targets, asItIs, endpoints(primaries(t, target))...)
		}, known)
}

// mappings are pairs of servers, and what becomes of the source's dbs.
type mappingCase struct {
	source, target, flags string
	args                  []string // of the target
}

func mappingCases() []mappingCase {
	return []mappingCase{
		{"redis-7.0", "redis-7.0", "1:prefix=db1: 2:drop 3:prefix=db1:three:", nil},
		{"redis-7.0", "valkey-8.1", "0:drop 1:0 2:prefix={two} 3:prefix=*[a]", nil},
		{"valkey-8.1", "valkey-9.1", "0:3 1:2 2:0 3:prefix=db3:", []string{"--cluster-databases 6"}},
	}
}

// Keys go where the mapping says, whatever is done to them in which db, and whenever the
// engine is ended.
func TestMapped(t *testing.T) {
	for _, c := range some(2, mappingCases()) {
		t.Run(c.source+" to "+c.target+" "+c.flags, func(t *testing.T) {
			t.Parallel()
			r := mapped(t, c.flags)
			source := sandboxtest.Start(t, c.source, sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}})
			target := sandboxtest.Cluster(t, c.target, sandbox.ClusterOptions{Args: c.args})
			if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 6000, DBs: []int{0, 1, 2, 3}, NoFunctions: true}); err != nil {
				t.Fatal(err)
			}
			var m memory
			config := configure(t, source, target)
			config.Route = r
			e := New(m.load(t, config))
			stop := run(t, e)
			caughtUp(t, e, source)
			t.Logf("%d keys copied: %+v", sameThrough(t, r, source, target), e.View())
			sent := background(t, func(ctx context.Context, seed uint64) error {
				o := traffic.Options{Seed: seed, Commands: 2000, DBs: []int{0, 1, 2, 3}, Prefix: "t:", NoFlush: seed%3 != 2, NoSwap: seed != 20, Without: []traffic.Feature{traffic.Function}}
				if seed%3 == 2 {
					o.DBs = append(slices.Delete(o.DBs, int(seed%4), int(seed%4)+1), int(seed%4)) // that one is emptied
				}
				_, err := traffic.Run(ctx, source.Endpoint(), o)
				return err
			})
			rng := rand.New(rand.NewPCG(1, 2))
			for i := range 10 {
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				if i == 4 {
					slots, several := sandbox.SlotRange{First: 0, Last: 100}, c.args != nil
					until(t, func() (bool, string) {
						var err error
						if several { // by keys, those of db 0 alone would be found
							err = target.MoveAtomically(t.Context(), slots, 2) // a new copy ends it
						} else {
							err = target.Move(t.Context(), slots, 2, sandbox.MoveOptions{})
						}
						return err == nil, fmt.Sprint(err)
					})
				}
				stop()
				e = New(m.load(t, config))
				stop = run(t, e)
			}
			t.Logf("%d runs of traffic", sent())
			caughtUp(t, e, source)
			renewed(t, e)
			t.Logf("%d keys: %+v", sameThrough(t, r, source, target), e.View())
		})
	}
}

// What clients write to a cluster by the names that a mapping has given reaches the dbs
// that it came from.
func TestFeedMapped(t *testing.T) {
	for _, c := range []mappingCase{
		{"redis-7.0", "redis-7.0", "1:prefix=db1: 2:drop 3:prefix=db1:three:", nil},
		{"valkey-8.1", "valkey-9.1", "0:3 1:2 2:0 3:prefix=db3:", []string{"--cluster-databases 6"}},
	} {
		t.Run(c.source+" from "+c.target, func(t *testing.T) {
			t.Parallel()
			o := feedOptions{old: c.source, cluster: c.target, keys: 2000, dbs: []int{0, 1, 2, 3}, route: c.flags}
			o.shards.Args = c.args
			several := c.args != nil
			if several { // which db is selected, the shards do not say again
				o.before = func(r *feedRig) {
					for i, shard := range r.clients() {
						if _, err := shard.Transaction(t.Context(), []any{"SELECT", 2}, []any{"SET", r.keyOf(i, 9), ""}, []any{"DEL", r.keyOf(i, 9)}, []any{"SELECT", 0}); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			r := newFeedRig(t, o)
			r.streaming()
			t.Logf("%+v: %d keys", r.at, r.compare())
			for i, shard := range r.clients() {
				if !several {
					continue
				}
				if r.at[i].DB != 2 {
					t.Errorf("shard %d: %+v", i, r.at[i])
				}
				if _, err := shard.Transaction(t.Context(), []any{"SELECT", 2}, []any{"SET", r.keyOf(i, 10), "x"}, []any{"SELECT", 0}); err != nil {
					t.Fatal(err)
				}
			}
			for i, shard := range r.clients() {
				key := r.keyOf(i, 1)
				of := func(prefix, name string) string { return prefix + "{" + key + "}" + name }
				for n := range 30 {
					a, b, x := of("", fmt.Sprint("a", n)), of("db1:", fmt.Sprint("b", n)), of("db1:three:", fmt.Sprint("x", n))
					if several {
						b, x = of("db3:", fmt.Sprint("b", n)), of("", fmt.Sprint("x", n))
					}
					do(t, shard, "SELECT", 0)
					do(t, shard, "MSET", a, 1, b, 2, x, 3)
					do(t, shard, "RENAME", b, of("", fmt.Sprint("r", n)))
					do(t, shard, "RPUSH", b, 3, 1, 2)
					do(t, shard, "SORT", b, "STORE", of("db1:three:", fmt.Sprint("s", n)))
					do(t, shard, "LMOVE", b, of("", fmt.Sprint("l", n)), "LEFT", "LEFT")
					do(t, shard, "COPY", b, x, "REPLACE")
					do(t, shard, "PEXPIRE", x, 100000+n)
					do(t, shard, "SET", of("db1:", "short"), n, "PX", 1+n)
					if _, err := shard.Transaction(t.Context(), []any{"INCR", a}, []any{"APPEND", of("db1:", fmt.Sprint("t", n)), n}, []any{"DEL", x}); err != nil {
						t.Fatal(err)
					}
					if several {
						if _, err := shard.Transaction(t.Context(), []any{"SELECT", 2}, []any{"SADD", a, n}, []any{"MOVE", a, 3}, []any{"SADD", a, n}, []any{"COPY", a, b, "DB", 0, "REPLACE"}, []any{"SELECT", 0}); err != nil {
							t.Fatal(err)
						}
					}
				}
			}
			if several {
				if _, err := r.clients()[1].Transaction(t.Context(), []any{"SELECT", 2}, []any{"SET", r.keyOf(1, 2), "x"}); err != nil {
					t.Fatal(err)
				}
				if err := r.feed.Drain(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				r.compare()
				c := r.clients()[1]
				conn := c.Redis().Conn()
				defer func() { _ = conn.Close() }()
				if err := conn.Do(t.Context(), "SELECT", 2).Err(); err != nil {
					t.Fatal(err)
				}
				if err := conn.Do(t.Context(), "FLUSHDB").Err(); err != nil {
					t.Fatal(err)
				}
			} else {
				do(t, r.clients()[1], "FLUSHALL")
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

// A mapping costs no memory.
func TestRenamingDoesNotAllocate(t *testing.T) {
	d, args, raw := renaming(t, "1:prefix=db1:")
	if n := testing.AllocsPerRun(100, func() {
		if _, _, left, err := d.rename(args, raw); left || err != nil {
			t.Error(left, err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func renaming(t testing.TB, flags string) (*dispatcher, [][]byte, []byte) {
	t.Helper()
	r := mapped(t, flags)
	raw := resp.AppendCommand(nil, "HSET", "user:{1234}:profile", "field", strings.Repeat("v", 100))
	e, err := resp.Scan(raw, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &dispatcher{link: &Link{}, placer: command.NewPlacer(command.Capabilities{}), route: r, selection: selects(r, 1)}, e.Args, raw
}

// What it takes to place a command, and to rename and place one.
func BenchmarkRename(b *testing.B) {
	for _, flags := range []string{"1:0 0:drop", "1:prefix=db1:"} {
		b.Run(flags, func(b *testing.B) {
			d, args, raw := renaming(b, flags)
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := d.placer.Place(args); err != nil {
					b.Fatal(err)
				}
				if d.plain {
					continue
				}
				renamed, _, _, err := d.rename(args, raw)
				if err == nil {
					_, _, err = d.placer.Place(renamed)
				}
				if err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
