package migrate_test

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/digest"
	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/rdb"
	"godwit/internal/refresh"
	"godwit/internal/route"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/topology"
	"godwit/internal/verify"
)

// dbMapCase is a source whose dbs go to a cluster by a mapping.
type dbMapCase struct {
	source, target string
	args           []string // of the cluster
	flags          string
}

func dbMapCases() []dbMapCase {
	return []dbMapCase{
		{"redis-7.0", "redis-7.0", nil, "1:prefix=db1: 2:drop"},
		{"redis-7.0", "valkey-8.1", nil, "0:prefix=zero: 1:0 2:drop"},
		{"valkey-8.1", "valkey-9.1", []string{"--cluster-databases 4"}, "0:3 1:1 2:drop"},
	}
}

// start starts both sides, the source with keys in its dbs.
func (c dbMapCase) start(t *testing.T) (*toCluster, route.Route) {
	t.Helper()
	r, err := route.Parse(strings.Fields(c.flags))
	if err != nil {
		t.Fatal(err)
	}
	backlog := []string{"--repl-backlog-size 64mb"}
	sides := &toCluster{
		t: t, source: sandboxtest.Start(t, c.source, sandbox.Options{Args: backlog}),
		target: sandboxtest.Cluster(t, c.target, sandbox.ClusterOptions{Args: append(backlog, c.args...)}),
	}
	if err := dataset.Fill(t.Context(), sides.source.Endpoint(), dataset.Options{Keys: 3000, DBs: []int{0, 1, 2}, NoFieldTTLs: true}); err != nil {
		t.Fatal(err)
	}
	return sides, r
}

// mappedValue is what a key has: what it means, and until when.
type mappedValue struct {
	digest.Value
	until int64 // milliseconds since 1970
}

// readMapped reads all keys of some dbs of servers, by the names that name gives them.
func readMapped(t *testing.T, formats []rdb.Format, dbs []int, name func(db int, key []byte) (string, bool), servers []server.Endpoint) map[string]mappedValue {
	t.Helper()
	all := map[string]mappedValue{}
	payloads := digest.NewPayloads(digest.Options{NoEntriesRead: true, Formats: formats})
	for _, e := range servers {
		c, err := refresh.Dial(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		for _, db := range dbs {
			for cursor, begun := uint64(0), false; cursor != 0 || !begun; begun = true {
				var keys [][]byte
				if cursor, keys, err = c.Scan(t.Context(), db, cursor, "", 500); err != nil {
					t.Fatal(err)
				}
				var names [][]byte
				for _, key := range keys {
					if !bytes.HasPrefix(key, []byte("godwit:")) {
						names = append(names, bytes.Clone(key))
					}
				}
				values, err := c.Look(t.Context(), db, names)
				if err != nil {
					t.Fatal(err)
				}
				for _, v := range values {
					as, counts := name(db, v.Key)
					if !counts || !v.Exists() {
						continue
					}
					sum, err := payloads.Sum(v.Payload)
					if err != nil {
						t.Fatal(err)
					}
					all[as] = mappedValue{sum, v.ExpireAt}
				}
			}
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	return all
}

// equalThrough compares both sides by value and TTL, through the mapping.
func (c *toCluster) equalThrough(r route.Route, dbs []int) {
	c.t.Helper()
	equalThrough(c.t, r, []*sandbox.Server{c.source, c.target.Nodes()[0]}, []server.Endpoint{c.source.Endpoint()}, c.primaries(), dbs)
}

// equalThrough compares two sides, of each of which one server is given, and the primaries,
// in these dbs of the second.
func equalThrough(t *testing.T, r route.Route, one []*sandbox.Server, source, target []server.Endpoint, dbs []int) {
	t.Helper()
	var formats []rdb.Format
	for _, s := range one {
		n, err := topology.Inspect(t.Context(), sandboxtest.Client(t, s))
		if err != nil {
			t.Fatal(err)
		}
		formats = append(formats, n.RDBFormat())
	}
	there := func(db int, key []byte) (string, bool) {
		to, name, stays, err := r.Key(nil, db, key)
		if err != nil {
			t.Error(err)
		}
		return fmt.Sprintf("%d:%s", to, name), !stays
	}
	asItIs := func(db int, key []byte) (string, bool) { return fmt.Sprintf("%d:%s", db, key), true }
	var from []int
	for _, way := range r.Ways() {
		from = append(from, way.From)
	}
	var differing []string
	for again := 0; again < 20; again++ {
		want := readMapped(t, formats, from, there, source)
		got := readMapped(t, formats, dbs, asItIs, target)
		now := time.Now().UnixMilli()
		differing = nil
		for key, v := range want {
			if w := got[key]; w != v && (v.until < 0 || v.until > now) {
				differing = append(differing, fmt.Sprintf("%.100q: %+v, not %+v", key, w, v))
			}
		}
		for key, w := range got {
			if _, there := want[key]; !there && (w.until < 0 || w.until > now) {
				differing = append(differing, fmt.Sprintf("extra: %.100q: %+v", key, w))
			}
		}
		if len(differing) == 0 {
			t.Logf("equal: %d keys", len(want))
			return
		}
		time.Sleep(100 * time.Millisecond) // what expires does so in its own time
	}
	t.Errorf("%d differences: %s", len(differing), strings.Join(differing[:min(10, len(differing))], "\n"))
}

// mappedLoad writes to one of the source's dbs, and to where its keys are at the cluster
// once the source refuses.
type mappedLoad struct {
	*load.Load
	to     int
	prefix string
}

func (c *toCluster) mappedLoad(r route.Route, db, writers int) mappedLoad {
	c.t.Helper()
	at := func(e server.Endpoint, db int) server.Endpoint { e.DB = db; return e }
	way, err := r.Of(db)
	if err != nil {
		c.t.Fatal(err)
	}
	l := mappedLoad{to: way.To, prefix: string(way.Prefix)}
	config := load.Config{Writers: writers, Prefix: "load:", Rate: 500 * writers, Mix: load.OneSlot, Endpoints: []server.Endpoint{at(c.source.Endpoint(), db)}, Before: []string{""}}
	for _, e := range c.target.Endpoints() {
		if !way.Stays {
			config.Endpoints, config.Before = append(config.Endpoints, at(e, way.To)), append(config.Before, l.prefix)
		}
	}
	l.Load = startLoad(c.t, config)
	return l
}

// found sees that every write that was acknowledged is there.
func (l mappedLoad) found(t *testing.T, prefix string, at ...server.Endpoint) {
	t.Helper()
	report, err := l.AuditAs(t.Context(), prefix, at...)
	if err != nil || report.Acked == 0 || !report.Clean() {
		t.Errorf("audit: %v, %v: %q", report, err, report.Samples)
	}
	t.Logf("audit: %v", report)
}

// There, back, and there again by other names and to other dbs, with godwit killed in
// each of the phases: no write is lost or doubled, and in the end both sides are equal
// through the mapping.
func TestDBMap(t *testing.T) {
	for _, tt := range some(2, dbMapCases()) {
		t.Run(tt.source+" to "+tt.target+" "+tt.flags, func(t *testing.T) {
			t.Parallel()
			c, r := tt.start(t)
			left := c.mappedLoad(r, 2, 2)
			loads := []mappedLoad{c.mappedLoad(r, 0, 3), c.mappedLoad(r, 1, 3)}
			config := c.config()
			config.Route, config.MaxPause = r, 10*time.Second // how fast it is, is not the question

			run := startChild(t, config, "")
			run.must("ready")
			time.Sleep(200 * time.Millisecond)
			run.kill()
			other := config
			other.Route = route.Route{}
			var refused *migrate.DBMapError
			if m, err := migrate.Begin(t.Context(), other, slog.New(slog.DiscardHandler)); !errors.As(err, &refused) || refused.HintText() == "" {
				t.Fatalf("another mapping: %v, %v", m, err)
			}
			run = startChild(t, config, "")
			run.must("ready")
			run.must("cutover")
			time.Sleep(300 * time.Millisecond)
			run.kill()
			run = startChild(t, config, "")
			run.must("ready")
			time.Sleep(200 * time.Millisecond)
			run.must("rollback")
			time.Sleep(200 * time.Millisecond)
			run.kill()
			left.Stop()
			m := start(t, config)
			m.ready()
			m.cutover()
			time.Sleep(200 * time.Millisecond)
			for _, l := range loads {
				l.Stop()
			}
			for _, l := range loads {
				at := c.target.Endpoints()
				for i := range at {
					at[i].DB = l.to
				}
				l.found(t, l.prefix, at...)
			}
			source := c.source.Endpoint()
			source.DB = 2
			left.found(t, "", source)
			m.until("drained", func(s migrate.Status) bool {
				return !slices.ContainsFunc(s.Links, func(l migrate.LinkStatus) bool { return l.LagBytes != 0 })
			})
			dbs := []int{0}
			if tt.args != nil {
				dbs = []int{0, 1, 2, 3}
			}
			c.equalThrough(r, dbs)
			if _, err := m.Complete(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if err := <-m.done; err != nil {
				t.Fatal(err)
			}
			m.done <- nil
		})
	}
}

// A comparison goes through the mapping: what is the same by other names is equal, and
// what is planted is named and repaired.
func TestDBMapVerified(t *testing.T) {
	for _, tt := range some(1, dbMapCases()) {
		t.Run(tt.source+" to "+tt.target+" "+tt.flags, func(t *testing.T) {
			t.Parallel()
			c, r := tt.start(t)
			loads := []mappedLoad{c.mappedLoad(r, 0, 3), c.mappedLoad(r, 1, 3), c.mappedLoad(r, 2, 1)}
			config := c.config()
			config.Route, config.Verify = r, migrate.VerifyBeforeCutover
			m := start(t, config)
			if v := m.ready().Verify; !v.Verified || v.SourceKeys == 0 || v.SourceKeys != v.TargetKeys {
				t.Errorf("%+v", v)
			}
			m.verified(migrate.VerifyOptions{})
			m.verified(migrate.VerifyOptions{Method: verify.Scan})
			for _, db := range []int{0, 1, 2} {
				for _, key := range []string{"changed", "missing"} {
					if _, err := inDB(t, connect(t, c.source), db, "SET", key, "right"); err != nil {
						t.Fatal(err)
					}
				}
			}
			want := map[verify.Kind]int64{verify.Changed: 2, verify.Missing: 2, verify.Extra: 2}
			for _, db := range []int{0, 1} {
				for _, key := range []string{"changed", "missing", "extra"} {
					to, name, _, err := r.Key(nil, db, []byte(key))
					if err != nil {
						t.Fatal(err)
					}
					command := []any{"SET", string(name), "wrong"}
					if key == "missing" {
						command = []any{"DEL", string(name)}
					}
					eventually(t, "the cluster has it", func() bool {
						got, err := inDB(t, c.at(string(name)), to, "EXISTS", string(name))
						return err == nil && (key == "extra" || got == int64(1))
					})
					c.writeIn(to, string(name), command...)
				}
			}
			if tt.args != nil { // in a db that nothing of the source's goes to
				c.writeIn(2, "homeless", "SET", "homeless", "x")
				want[verify.Extra]++
			}
			for _, method := range []verify.Method{verify.Snapshot, verify.Scan} {
				report := m.compared(migrate.VerifyOptions{Samples: 3, Method: method})
				if report.Result != verify.Different || !maps.Equal(report.Counts, want) {
					t.Errorf("%s: %+v", method, report)
				}
			}
			if tt.args != nil {
				c.writeIn(2, "homeless", "DEL", "homeless")
			}
			report := m.compared(migrate.VerifyOptions{Repair: true, DeleteExtra: true})
			if report.Result != verify.Equal || report.Repaired[verify.Repaired] != 4 || report.Repaired[verify.Deleted] != 2 {
				t.Errorf("%+v", report)
			}
			m.cutover()
			m.ready()
			m.verified(migrate.VerifyOptions{})
			plant(t, c.source, []any{"SET", "changed", "wrong"}, []any{"SELECT", 1}, []any{"DEL", "missing"}, []any{"SET", "more", "wrong"}, []any{"SELECT", 0})
			report = m.compared(migrate.VerifyOptions{Repair: true, DeleteExtra: true})
			if report.Result != verify.Equal || report.Repaired[verify.Repaired] != 2 || report.Repaired[verify.Deleted] != 1 {
				t.Errorf("after the cutover: %+v", report)
			}
			m.verified(migrate.VerifyOptions{})
			m.rollback()
			m.ready()
			m.verified(migrate.VerifyOptions{})
			for _, l := range loads {
				l.Stop()
			}
			for db, l := range loads {
				at := c.source.Endpoint()
				at.DB = db
				l.found(t, "", at)
			}
			if _, err := m.Abort(t.Context(), false); err != nil {
				t.Fatal(err)
			}
		})
	}
}
