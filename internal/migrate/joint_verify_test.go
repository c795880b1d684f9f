package migrate_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/topology"
	"godwit/internal/verify"
)

// at is the server that serves a key.
func (d *deployed) at(key string) *server.Client {
	d.t.Helper()
	found, err := topology.Resolve(d.t.Context(), d.endpoints()[0])
	if err != nil {
		d.t.Fatal(err)
	}
	e := found.Primaries[0]
	if found.Slots != nil {
		e = found.Primaries[found.Slots(slot.Of([]byte(key)))]
	}
	return d.dial(e)
}

func (d *deployed) dial(e server.Endpoint) *server.Client {
	d.t.Helper()
	c, err := server.Dial(d.t.Context(), e, "test")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	return c
}

// fenced has the server of a key that takes no user's writes carry out a command: by a new
// user, whom godwit has not refused yet.
func (d *deployed) fenced(key string, command ...any) {
	d.t.Helper()
	d.fencedAt(d.at(key), command...)
}

// fencedAt is fenced of a server that a client of its admin is connected to.
func (d *deployed) fencedAt(admin *server.Client, command ...any) {
	d.t.Helper()
	e := admin.Endpoint()
	e.Username, e.Password = "planter", "planter"
	eventually(d.t, "it is written", func() bool {
		if _, err := admin.Do(d.t.Context(), "ACL", "SETUSER", e.Username, "reset", "on", ">"+e.Password, "~*", "+@all"); err != nil {
			d.t.Fatal(err)
		}
		_, err := d.dial(e).Do(d.t.Context(), command...)
		return err == nil
	})
	if _, err := admin.Do(d.t.Context(), "ACL", "DELUSER", e.Username); err != nil {
		d.t.Fatal(err)
	}
}

// plantJoint makes the side that follows differ, and returns the keys.
func plantJoint(m *running, serves, follows *deployed) (keys []string) {
	m.t.Helper()
	for i := range 12 {
		keys = append(keys, fmt.Sprintf("planted:%d:%d", time.Now().UnixNano(), i))
		if i%3 == 2 {
			continue // extra
		}
		if _, err := serves.at(keys[i]).Do(m.t.Context(), "SET", keys[i], "right"); err != nil {
			m.t.Fatal(err)
		}
		eventually(m.t, "the other side has it", func() bool {
			got, err := follows.at(keys[i]).Do(m.t.Context(), "GET", keys[i])
			return err == nil && got == "right"
		})
	}
	m.ready()
	for i, key := range keys {
		command := []any{"SET", key, "wrong"}
		if i%3 == 1 {
			command = []any{"DEL", key}
		}
		follows.fenced(key, command...)
	}
	return keys
}

// What differs from a cluster is named and repaired under load, in both directions, by
// the values at an offset of the primary that has the key.
func TestJointRepair(t *testing.T) {
	t.Parallel()
	for _, shards := range some(1, []int{0, 2}) {
		t.Run(fmt.Sprint(shards), func(t *testing.T) {
			t.Parallel()
			target := servers(t, "valkey-8.1", 1)
			if shards > 0 {
				target = aCluster(t, "valkey-8.1", shards)
			}
			p := newJointPair(t, "redis-7.0", aCluster(t, "redis-7.0", 3), target)
			for _, n := range append(p.a.nodes(), p.b.nodes()...) {
				if err := connect(t, n).ConfigSet(t.Context(), "repl-diskless-sync-delay", "2"); err != nil {
					t.Fatal(err)
				}
			}
			p.load()
			m := start(t, p.config)
			m.ready()
			serves, follows := p.a, p.b
			for _, turn := range []func() migrate.SwitchResult{m.cutover, m.rollback, nil} {
				for range verifyRuns() {
					m.verified(migrate.VerifyOptions{})
				}
				plantJoint(m, serves, follows)
				planted := map[verify.Kind]int64{verify.Missing: 4, verify.Changed: 4, verify.Extra: 4}
				if report := m.compared(migrate.VerifyOptions{}); report.Result != verify.Different || !maps.Equal(report.Counts, planted) {
					t.Errorf("%+v", report)
				}
				report := m.compared(migrate.VerifyOptions{Repair: true, DeleteExtra: true})
				if report.Result != verify.Equal || report.Repaired[verify.Repaired] != 8 || report.Repaired[verify.Deleted] != 4 {
					t.Errorf("%+v", report)
				}
				m.verified(migrate.VerifyOptions{})
				for _, e := range follows.primaries() {
					eventually(t, e.Address+" is restored", func() bool {
						got, _, err := follows.dial(e).ConfigGet(t.Context(), "repl-diskless-sync-delay")
						return err == nil && got == "2"
					})
				}
				if turn == nil {
					break
				}
				m.ready()
				turn()
				m.ready()
				serves, follows = follows, serves
			}
			p.settled(m, p.a)
		})
	}
}

// differing compares, and wants to hear of exactly these, each "kind key".
func (r *running) differing(stateDir string, want ...string) {
	r.t.Helper()
	r.compared(migrate.VerifyOptions{Samples: 3})
	var got []string
	err := verify.EachDifference(migrate.VerifyDir(stateDir, r.Status().Name), func(d verify.Difference) error {
		got = append(got, fmt.Sprint(d.Kind, " ", string(d.Key)))
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Servers among which clients have divided their keys are compared with what they become,
// by themselves before the cutover, and again and again under load; what differs is named
// and repaired, and a key that two of them have is named.
func TestSeveralServersVerified(t *testing.T) {
	t.Parallel()
	for _, tt := range some(1, []struct {
		from    string
		sources int
		to      string
		shards  int // 0 for a standalone server
	}{{"redis-7.0", 2, "valkey-8.1", 0}, {"redis-7.0", 3, "redis-7.0", 3}, {"valkey-8.1", 2, "valkey-8.1", 3}, {"valkey-8.1", 3, "redis-7.0", 0}}) {
		t.Run(fmt.Sprintf("%d of %s to %s, %d", tt.sources, tt.from, tt.to, tt.shards), func(t *testing.T) {
			t.Parallel()
			target := servers(t, tt.to, 1)
			if tt.shards > 0 {
				target = aCluster(t, tt.to, tt.shards)
			}
			p := newJointPair(t, tt.from, servers(t, tt.from, tt.sources), target)
			p.config.Verify = migrate.VerifyBeforeCutover
			p.load()
			m := start(t, p.config)
			if v := m.ready().Verify; !v.Required || !v.Verified || v.State != migrate.VerifyEqual || v.SourceKeys == 0 || v.Source != strings.Join(addresses(p.a), ", ") {
				t.Errorf("%+v", v)
			}
			for range verifyRuns() { // the first one was by itself
				m.verified(migrate.VerifyOptions{})
			}
			m.verified(migrate.VerifyOptions{Method: verify.Scan, Sample: 0.1})
			var want []string
			for i := range 2 * tt.sources {
				missing, other, extra := fmt.Sprint("planted:missing:", i), fmt.Sprint("planted:other:", i), fmt.Sprint("planted:extra:", i)
				p.a.do(p.a.servers[i%tt.sources], "MSET", missing, "right", other, "right")
				eventually(t, "the target has it", func() bool {
					reply, err := p.b.at(missing).Do(t.Context(), "GET", missing)
					return err == nil && reply == "right"
				})
				eventually(t, "the target has it", func() bool {
					reply, err := p.b.at(other).Do(t.Context(), "GET", other)
					return err == nil && reply == "right"
				})
				p.b.fenced(missing, "DEL", missing)
				p.b.fenced(other, "SET", other, "wrong")
				p.b.fenced(extra, "SET", extra, "wrong")
				want = append(want, "missing "+missing, "value "+other, "extra "+extra)
			}
			p.a.do(p.a.servers[0], "SET", "planted:twice", 1)
			p.a.do(p.a.servers[tt.sources-1], "SET", "planted:twice", 1)
			want = append(want, "twice planted:twice")
			m.differing(p.config.StateDir, want...)
			if s := m.Status(); s.Ready || s.Verify.Verified || s.Verify.Differing != int64(len(want)) {
				t.Errorf("ready %v, %+v", s.Ready, s.Verify)
			}
			if _, err := m.Cutover(t.Context(), migrate.SwitchOptions{}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(len(want), " keys differ")) || !strings.Contains(err.Error(), "1 at several servers") {
				t.Errorf("a cutover: %v", err)
			}
			report := m.compared(migrate.VerifyOptions{Repair: true, DeleteExtra: true})
			if report.Result != verify.Different || report.Repaired[verify.Repaired] != int64(4*tt.sources) || report.Repaired[verify.Deleted] != int64(2*tt.sources) || report.Repaired[verify.Failed] != 1 {
				t.Errorf("%+v", report)
			}
			m.differing(p.config.StateDir, "twice planted:twice")
			p.a.do(p.a.servers[0], "DEL", "planted:twice")
			eventually(t, "the target has done so, too", func() bool {
				reply, err := p.b.at("planted:twice").Do(t.Context(), "EXISTS", "planted:twice")
				return err == nil && reply == int64(0)
			})
			m.differing(p.config.StateDir, "missing planted:twice")
			if report := m.compared(migrate.VerifyOptions{Repair: true}); report.Result != verify.Equal || report.Repaired[verify.Repaired] != 1 {
				t.Errorf("%+v", report)
			}
			m.verified(migrate.VerifyOptions{})
			m.ready()
			m.cutover()
			time.Sleep(300 * time.Millisecond)
			if _, err := m.Verify(t.Context(), migrate.VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "only their clients know") {
				t.Errorf("compared after the cutover: %v", err)
			}
			p.settled(nil, p.b)
			m.completed()
			p.a.clean(true)
			p.b.clean(false)
		})
	}
}

// addresses are those of its nodes.
func addresses(d *deployed) (all []string) {
	for _, e := range d.endpoints() {
		all = append(all, e.Address)
	}
	return all
}
