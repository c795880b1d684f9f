package migrate_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/topology"
	"godwit/internal/verify"
)

// slowSnapshots has every primary of the cluster begin diskless snapshots late, which a
// comparison sets otherwise for the while.
func (c *toCluster) slowSnapshots() {
	c.t.Helper()
	for _, e := range c.primaries() {
		if err := c.dial(e).ConfigSet(c.t.Context(), "repl-diskless-sync-delay", "2"); err != nil {
			c.t.Fatal(err)
		}
	}
}

// restored sees that they are slow again.
func (c *toCluster) restored() {
	c.t.Helper()
	for _, e := range c.primaries() {
		eventually(c.t, e.Address+" is restored", func() bool {
			got, _, err := c.dial(e).ConfigGet(c.t.Context(), "repl-diskless-sync-delay")
			return err == nil && got == "2"
		})
	}
}

func (c *toCluster) dial(e server.Endpoint) *server.Client {
	c.t.Helper()
	client, err := server.Dial(c.t.Context(), e, "test")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// at is the shard that serves a key.
func (c *toCluster) at(key string) *server.Client {
	c.t.Helper()
	d, err := topology.Resolve(c.t.Context(), c.target.Endpoints()[0])
	if err != nil {
		c.t.Fatal(err)
	}
	return c.dial(d.Primaries[d.Slots(slot.Of([]byte(key)))])
}

// plantAll makes the cluster differ, each key at its shard, and says in what way.
func (c *toCluster) plantAll(m *running) (keys []string) {
	c.t.Helper()
	source := connect(c.t, c.source)
	for i := range 12 {
		keys = append(keys, fmt.Sprint("planted:", i))
		if i%3 == 2 {
			continue // extra
		}
		if _, err := source.Do(c.t.Context(), "SET", keys[i], "right"); err != nil {
			c.t.Fatal(err)
		}
	}
	eventually(c.t, "the cluster has them", func() bool {
		got, err := c.at(keys[10]).Do(c.t.Context(), "GET", keys[10])
		return err == nil && got == "right"
	})
	m.ready()
	for i, key := range keys {
		command := []any{"SET", key, "wrong"}
		if i%3 == 1 {
			command = []any{"DEL", key}
		}
		c.write(key, command...)
	}
	return keys
}

// write has the shard of a key carry out a command, though it takes no user's writes: by
// a new user, whom godwit has not refused yet.
func (c *toCluster) write(key string, command ...any) {
	c.t.Helper()
	c.writeIn(0, key, command...)
}

// inDB does something in a db.
func inDB(t *testing.T, c *server.Client, db int, command ...any) (any, error) {
	t.Helper()
	if db == 0 {
		return c.Do(t.Context(), command...)
	}
	replies, err := c.Transaction(t.Context(), []any{"SELECT", db}, command, []any{"SELECT", 0})
	if err != nil {
		return nil, err
	}
	return replies[1], nil
}

// writeIn is write in a db.
func (c *toCluster) writeIn(db int, key string, command ...any) {
	c.t.Helper()
	admin := c.at(key)
	e := admin.Endpoint()
	e.Username, e.Password = "planter", "planter"
	eventually(c.t, "it is written", func() bool {
		if _, err := admin.Do(c.t.Context(), "ACL", "SETUSER", e.Username, "reset", "on", ">"+e.Password, "~*", "+@all"); err != nil {
			c.t.Fatal(err)
		}
		_, err := inDB(c.t, c.dial(e), db, command...)
		return err == nil
	})
	if _, err := admin.Do(c.t.Context(), "ACL", "DELUSER", e.Username); err != nil {
		c.t.Fatal(err)
	}
}

// keysOf are the keys of a server that match.
func keysOf(t *testing.T, c *server.Client, pattern string) []any {
	t.Helper()
	reply, err := c.Do(t.Context(), "KEYS", pattern)
	keys, ok := reply.([]any)
	if err != nil || !ok || len(keys) == 0 {
		t.Fatalf("KEYS %s: %v: %v", pattern, reply, err)
	}
	return keys
}

// idle waits until no comparison is under way.
func (r *running) idle() {
	r.t.Helper()
	eventually(r.t, "no comparison is under way", func() bool {
		_, err := r.Verify(r.t.Context(), migrate.VerifyOptions{Method: verify.Scan, Sample: 0.001})
		return err == nil
	})
}

// settled stops the load: each acknowledged write is in the cluster, which serves.
func (c *toCluster) settled(m *running, l *load.Load) {
	c.t.Helper()
	c.settledAt(m, l, c.primaries()...)
}

// settledAt is settled of the side that serves.
func (c *toCluster) settledAt(m *running, l *load.Load, serves ...server.Endpoint) {
	c.t.Helper()
	l.Stop()
	report, err := l.Audit(c.t.Context(), serves...)
	if err != nil || report.Acked == 0 || !report.Clean() {
		c.t.Fatalf("audit: %v, %v: %q", report, err, report.Samples)
	}
	m.until("drained", func(s migrate.Status) bool {
		return !slices.ContainsFunc(s.Links, func(l migrate.LinkStatus) bool { return l.LagBytes != 0 })
	})
	c.equal()
}

// A cluster is found equal under load, by itself before the cutover, and what is planted
// at its shards is named and repaired. After the rollback it is compared anew.
func TestClusterVerified(t *testing.T) {
	t.Parallel()
	for _, pair := range some(1, [][2]string{{"redis-7.0", "valkey-8.1"}, {"redis-7.0", "redis-7.0"}, {"valkey-8.1", "valkey-9.1"}}) {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			t.Parallel()
			c := newToCluster(t, pair[0], pair[1])
			c.slowSnapshots()
			l := c.load()
			config := c.config()
			config.Verify = migrate.VerifyBeforeCutover
			m := start(t, config)
			s := m.ready()
			if v := s.Verify; !v.Required || !v.Verified || v.State != migrate.VerifyEqual || v.SourceKeys == 0 || v.Offset == 0 || v.Target != config.To.Address {
				t.Errorf("%+v", v)
			}
			for range verifyRuns() / 3 { // the first one was by itself
				m.verified(migrate.VerifyOptions{})
			}
			keys := c.plantAll(m)
			report := m.compared(migrate.VerifyOptions{Samples: 3})
			if report.Result != verify.Different || report.Counts[verify.Missing] != 4 || report.Counts[verify.Changed] != 4 || report.Counts[verify.Extra] != 4 {
				t.Errorf("%+v", report)
			}
			if s := m.Status(); s.Ready || s.Verify.Verified || s.Verify.Differing != int64(len(keys)) {
				t.Errorf("ready %v, %+v", s.Ready, s.Verify)
			}
			if _, err := m.Cutover(t.Context(), migrate.SwitchOptions{}); err == nil || !strings.Contains(err.Error(), "12 keys differ") {
				t.Errorf("a cutover: %v", err)
			}
			report = m.compared(migrate.VerifyOptions{Repair: true, DeleteExtra: true})
			if report.Result != verify.Equal || report.Repaired[verify.Repaired] != 8 || report.Repaired[verify.Deleted] != 4 {
				t.Errorf("%+v", report)
			}
			m.ready()
			c.restored()
			// It holds over a restart of godwit, but not over a switch.
			before := m.Status().Verify
			if err := m.stop(); err == nil {
				t.Error("it ended")
			}
			m = start(t, config)
			if v := m.ready().Verify; v.ID != before.ID || !v.Verified {
				t.Errorf("verified again: %+v", v)
			}
			// Nor over another copy, which a shard makes necessary that has lost what it had.
			if err := m.stop(); err == nil {
				t.Error("it ended")
			}
			for _, key := range keysOf(t, c.at("x"), "godwit:*") {
				c.write("x", "DEL", key)
			}
			m = start(t, config)
			m.until("verified after another copy", func(s migrate.Status) bool { return s.Ready && s.Verify.Verified && s.Verify.ID != before.ID })
			before = m.Status().Verify
			m.cutover()
			m.ready()
			if v := m.Status().Verify; v.Verified || v.Stale == "" {
				t.Errorf("after the cutover: %+v", v)
			}
			c.verifiedBack(m)
			m.rollback()
			m.until("verified after the rollback", func(s migrate.Status) bool { return s.Ready && s.Verify.Verified && s.Verify.ID != before.ID })
			m.idle()
			c.write("planted:fenced", "SET", "planted:fenced", "wrong")
			report = m.compared(migrate.VerifyOptions{Repair: true, DeleteExtra: true})
			if report.Result != verify.Equal || report.Repaired[verify.Deleted] != 1 {
				t.Errorf("%+v", report)
			}
			m.ready()
			m.cutover()
			m.ready()
			c.settled(m, l)
			c.restored()
		})
	}
}

// plantBack makes the old primary differ, which the cluster feeds.
func (c *toCluster) plantBack(m *running) (keys []string) {
	c.t.Helper()
	for i := range 12 {
		keys = append(keys, fmt.Sprint("planted-back:", i))
		if i%3 == 2 {
			continue // extra
		}
		if _, err := c.at(keys[i]).Do(c.t.Context(), "SET", keys[i], "right"); err != nil {
			c.t.Fatal(err)
		}
	}
	for _, i := range []int{0, 1, 3, 4, 6, 7, 9, 10} {
		eventually(c.t, "the old primary has them", func() bool {
			got, err := connect(c.t, c.source).Do(c.t.Context(), "GET", keys[i])
			return err == nil && got == "right"
		})
	}
	m.ready()
	var commands [][]any
	for i, key := range keys {
		command := []any{"SET", key, "wrong"}
		if i%3 == 1 {
			command = []any{"DEL", key}
		}
		commands = append(commands, command)
	}
	plant(c.t, c.source, commands...)
	return keys
}

// verifiedBack sees that the old primary is found equal to the cluster under load, time and
// again, and that what is planted there is named and repaired.
func (c *toCluster) verifiedBack(m *running) {
	c.t.Helper()
	for range verifyRuns() {
		if report := m.verified(migrate.VerifyOptions{}); report.Method != verify.Snapshot || report.Held == 0 || report.Settled != 0 {
			c.t.Errorf("%+v", report)
		}
	}
	keys := c.plantBack(m)
	planted := map[verify.Kind]int64{verify.Missing: 4, verify.Changed: 4, verify.Extra: 4}
	if report := m.compared(migrate.VerifyOptions{Samples: 3}); report.Result != verify.Different || !maps.Equal(report.Counts, planted) {
		c.t.Errorf("%+v", report)
	}
	report := m.compared(migrate.VerifyOptions{Repair: true})
	if report.Result != verify.Different || report.Repaired[verify.Repaired] != 8 || report.Repaired[verify.Kept] != 4 {
		c.t.Errorf("%+v", report)
	}
	report = m.compared(migrate.VerifyOptions{Repair: true, DeleteExtra: true})
	if report.Result != verify.Equal || report.Repaired[verify.Deleted] != 4 {
		c.t.Errorf("%+v", report)
	}
	m.verified(migrate.VerifyOptions{})
	eventually(c.t, "the old primary takes no writes", func() bool {
		_, err := connect(c.t, c.source).Do(c.t.Context(), "SET", keys[0], "late")
		return server.IsCode(err, "READONLY")
	})
	m.ready()
}

// Killed within a comparison or a repair, godwit leaves shards that the next run restores,
// and a result that does not count.
func TestClusterKilledWhileVerifying(t *testing.T) {
	t.Parallel()
	c := newToCluster(t, "redis-7.0", "redis-7.0")
	c.slowSnapshots()
	l := c.load()
	config := c.config()
	for _, x := range []struct{ point, word string }{{"verify-saved", "verify"}, {"verify-stopped", "repair"}} {
		run := startChild(t, config, x.point)
		run.must("ready")
		if a, ok := run.ask(x.word); ok {
			t.Fatalf("not killed at %s: %+v", x.point, a)
		}
		run.killedItself()
	}
	m := start(t, config)
	if v := m.ready().Verify; v.State != migrate.VerifyUnknown || v.Stale == "" {
		t.Errorf("%+v", v)
	}
	c.restored()
	m.verified(migrate.VerifyOptions{})
	c.restored()
	m.cutover()
	m.ready()
	c.settled(m, l)
}
