package migrate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/route"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// aClusterWithDBs is one of Valkey 9, with keys in some of its dbs, of 0 to 2.
func aClusterWithDBs(t *testing.T, dbs ...int) *deployed {
	t.Helper()
	args := append([]string{"--cluster-databases 4"}, backlog...)
	d := &deployed{t: t, cluster: sandboxtest.Cluster(t, "valkey-9.1", sandbox.ClusterOptions{Replicas: 1, Args: args})}
	from := servers(t, "valkey-9.1", 1)
	err := dataset.Fill(t.Context(), from.servers[0].Endpoint(), dataset.Options{Keys: 2000, DBs: dbs, NoFieldTTLs: true, NoFunctions: true})
	if err != nil {
		t.Fatal(err)
	}
	c := config(t, from.endpoints()[0], d.endpoints()[0])
	if c.Route, err = route.Parse([]string{"1:1", "2:2"}); err != nil {
		t.Fatal(err)
	}
	m := start(t, c)
	m.ready()
	if _, err := m.Abort(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	return d
}

// wayLoad writes to the keys of one way.
type wayLoad struct {
	mappedLoad
	way *route.Way
}

// A cluster's dbs go to others, there, back, and there again; slots of the source move and a
// shard of it fails over: no write is lost or doubled, and in the end both sides are equal
// through the mapping.
func TestDBMapOfACluster(t *testing.T) {
	t.Parallel()
	another := func(t *testing.T) *deployed {
		args := append([]string{"--cluster-databases 8"}, backlog...)
		return &deployed{t: t, cluster: sandboxtest.Cluster(t, "valkey-9.1", sandbox.ClusterOptions{Shards: 2, Args: args})}
	}
	for _, tt := range some(1, []struct {
		name  string
		to    func(t *testing.T) *deployed
		flags []string
		from  []int // dbs of the source that have keys
		dbs   []int // of the target
		adds  bool  // a shard to the target while that serves
	}{
		{"to a cluster", another, []string{"0:3", "1:1", "2:drop"}, []int{0, 1, 2}, []int{0, 1, 2, 3, 4}, false},
		{"to one server", func(t *testing.T) *deployed { return servers(t, "valkey-8.1", 1) }, []string{"0:5", "1:0", "2:drop"}, []int{0, 1, 2}, []int{0, 1, 2, 5}, false},
		{"without db 1", another, []string{"0:0", "2:4"}, []int{0, 2}, []int{0, 1, 2, 3, 4}, false},
		{"without db 0 at the target", another, []string{"0:2", "2:3"}, []int{0, 2}, []int{0, 1, 2, 3, 4}, true},
	}) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r, err := route.Parse(tt.flags)
			if err != nil {
				t.Fatal(err)
			}
			from, to := aClusterWithDBs(t, tt.from...), tt.to(t)
			c := config(t, from.endpoints()[0], to.endpoints()[0])
			c.Route, c.MaxPause = r, 10*time.Second // how fast it is, is not the question
			at := func(list []server.Endpoint, db int) []server.Endpoint {
				for i := range list {
					list[i].DB = db
				}
				return list
			}
			var loads []wayLoad
			begin := func(prefix string) (begun []wayLoad) {
				for _, db := range tt.from {
					way, err := r.Of(db)
					if err != nil {
						t.Fatal(err)
					}
					if way.Stays && prefix != "early:" {
						continue // nobody writes to it once the source does not serve
					}
					config := load.Config{Writers: 3, Prefix: prefix, Rate: 500, Mix: load.OneSlot, Endpoints: at(from.endpoints(), db)}
					if !way.Stays {
						config.Endpoints = append(config.Endpoints, at(to.endpoints(), way.To)...)
					}
					begun = append(begun, wayLoad{mappedLoad{Load: startLoad(t, config)}, way})
				}
				loads = append(loads, begun...)
				return begun
			}
			early := begin("early:")
			run := startChild(t, c, "")
			run.must("ready")
			// Valkey 9.1 carries out commands in another db than they are for, and acknowledges
			// them, while slots move at once and clients use several dbs.
			for _, l := range early {
				l.Stop()
			}
			if err := from.cluster.MoveAtomically(t.Context(), sandbox.SlotRange{First: 0, Last: 2000}, 2); err != nil {
				t.Fatal(err)
			}
			late := begin("late:")
			run.must("ready")
			run.kill()
			run = startChild(t, c, "")
			run.must("ready")
			run.must("cutover")
			time.Sleep(300 * time.Millisecond)
			run.kill()
			run = startChild(t, c, "")
			run.must("ready")
			if to.cluster != nil {
				for _, l := range late {
					l.Stop()
				}
				gets := 0
				if tt.adds {
					if gets, err = to.cluster.AddShard(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				if err := to.cluster.MoveAtomically(t.Context(), sandbox.SlotRange{First: 9000, Last: 10000}, gets); err != nil {
					t.Fatal(err)
				}
				begin("later:")
				run.must("ready")
			}
			// It does not switch while slots that have moved are on their way, and may not know of
			// them yet.
			for a, ok := run.ask("rollback"); a.Error != ""; a, ok = run.ask("rollback") {
				if !ok || !strings.Contains(a.Error, "carried by value once more") {
					t.Fatalf("rollback: %v, %q", ok, a.Error)
				}
				run.must("ready")
			}
			time.Sleep(200 * time.Millisecond)
			run.kill()
			m := start(t, c)
			m.ready()
			m.verified(migrate.VerifyOptions{Samples: 10})
			if _, err := from.cluster.Failover(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			m.ready()
			m.verified(migrate.VerifyOptions{Samples: 10})
			m.verified(migrate.VerifyOptions{Method: verify.Scan})
			m.cutover()
			time.Sleep(200 * time.Millisecond)
			m.ready()
			m.verified(migrate.VerifyOptions{Samples: 10})
			for _, l := range loads {
				if l.Stop(); l.way.Stays {
					l.found(t, "", at(from.primaries(), l.way.From)...)
				} else {
					l.found(t, "", at(to.primaries(), l.way.To)...)
				}
			}
			m.until("drained", func(s migrate.Status) bool {
				return !slices.ContainsFunc(s.Links, func(l migrate.LinkStatus) bool { return l.LagBytes != 0 })
			})
			m.verified(migrate.VerifyOptions{Method: verify.Scan})
			equalThrough(t, r, []*sandbox.Server{from.nodes()[0], to.nodes()[0]}, from.primaries(), to.primaries(), tt.dbs)
			m.completed()
		})
	}
}

// A write to a db of the target that nothing goes to has no way back, and is told by name.
func TestDBMapOfAClusterHasNoWayBack(t *testing.T) {
	t.Parallel()
	from, to := aClusterWithDBs(t, 0, 1, 2), servers(t, "valkey-8.1", 1)
	c := config(t, from.endpoints()[0], to.endpoints()[0])
	var err error
	if c.Route, err = route.Parse([]string{"0:5", "1:1", "2:drop"}); err != nil {
		t.Fatal(err)
	}
	m := start(t, c)
	m.ready()
	m.cutover()
	do(t, connect(t, to.servers[0]), "SELECT 4", "SET stray v")
	m.until("the way back is lost", func(s migrate.Status) bool {
		return !s.Ready && strings.Contains(s.NotReady, "db 4 of the target belongs to no db of the source by --db-map")
	})
}

// A FLUSHALL of the target empties those dbs of the old cluster that belong to it: what has
// stayed behind, stays.
func TestDBMapOfAClusterFlushed(t *testing.T) {
	t.Parallel()
	from, to := aClusterWithDBs(t, 0, 1, 2), servers(t, "valkey-8.1", 1)
	c := config(t, from.endpoints()[0], to.endpoints()[0])
	var err error
	if c.Route, err = route.Parse([]string{"0:5", "1:0", "2:drop"}); err != nil {
		t.Fatal(err)
	}
	counts := func() (keys [3]int64) {
		for _, e := range from.primaries() {
			c, err := server.Dial(t.Context(), e, "")
			if err != nil {
				t.Fatal(err)
			}
			info, err := c.Info(t.Context(), "keyspace")
			if _ = c.Close(); err != nil {
				t.Fatal(err)
			}
			for db := range keys {
				var n int64
				_, _ = fmt.Sscanf(info[fmt.Sprintf("db%d", db)], "keys=%d", &n) // absent is none
				keys[db] += n
			}
		}
		return keys
	}
	m := start(t, c)
	m.ready()
	m.cutover()
	m.ready()
	before := counts()
	if slices.Contains(before[:], 0) {
		t.Fatalf("%v keys", before)
	}
	do(t, connect(t, to.servers[0]), "SELECT 5", "SET gone v", "FLUSHALL", "SET since v")
	m.until("drained", func(s migrate.Status) bool {
		return s.Ready && !slices.ContainsFunc(s.Links, func(l migrate.LinkStatus) bool { return l.LagBytes != 0 })
	})
	if after := counts(); after[1] != 0 || after[2] != before[2] {
		t.Errorf("%v keys, before it %v", after, before)
	}
	equalThrough(t, c.Route, []*sandbox.Server{from.nodes()[0], to.nodes()[0]}, from.primaries(), to.primaries(), []int{0, 1, 2, 5})
}
