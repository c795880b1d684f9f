package migrate_test

import (
	"fmt"
	"maps"
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
	admin := d.at(key)
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
	for _, shards := range []int{2, 0} {
		t.Run(fmt.Sprint(shards), func(t *testing.T) {
			t.Parallel()
			target := servers(t, "valkey-8.1", 1)
			if shards > 0 {
				if !long {
					return
				}
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
