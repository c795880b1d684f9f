package apply

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/rdb"
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
		}, nil)
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
	for _, c := range mappingCases() {
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
			for range 10 {
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				stop()
				e = New(m.load(t, config))
				stop = run(t, e)
			}
			t.Logf("%d runs of traffic", sent())
			caughtUp(t, e, source)
			t.Logf("%d keys: %+v", sameThrough(t, r, source, target), e.View())
		})
	}
}
