//go:build fault

package migrate_test

import (
	"fmt"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/refresh"
	"godwit/internal/verify"
)

// A rollback ends the repair of several servers: all of them go on, and what the repair had on
// its way comes to nothing.
func TestSeveralServersRepairBackIsInterrupted(t *testing.T) {
	t.Parallel()
	d := divide(t, "redis-7.0", "crc32", 2, aCluster(t, "redis-7.0", 2))
	d.load()
	var keys []string
	var late []*refresh.Conn // as a repair's, with something on its way
	m, reports, release := startStopped(t, d.config, "verify-unlocked", migrate.VerifyOptions{Repair: true}, func(m *running) {
		m.cutover()
		m.ready()
		for i := range 20 {
			key := fmt.Sprint("planted:", i)
			keys = append(keys, key)
			if _, err := d.b.at(key).Do(t.Context(), "SET", key, "right"); err != nil {
				t.Fatal(err)
			}
			at := connect(t, d.a.servers[d.of(key)])
			eventually(t, "its old server has it", func() bool {
				got, err := at.Do(t.Context(), "GET", key)
				return err == nil && got == "right"
			})
			d.a.fencedAt(at, "SET", key, "wrong")
		}
		for _, e := range d.a.endpoints() {
			c, err := refresh.Dial(t.Context(), e)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = c.Close() })
			late = append(late, c)
		}
	})
	m.rollback()
	for _, c := range late {
		if _, _, err := c.Read(t.Context(), 0, nil); err == nil {
			t.Errorf("%s would still take what a repair has on its way", c.Address())
		}
	}
	for _, key := range keys { // what a late write of the repair would replace
		d.a.do(d.a.servers[d.of(key)], "SET", key, "new")
	}
	release()
	if report := <-reports; report.Result == verify.Equal || report.Error != "a rollback began" {
		t.Errorf("%+v", report)
	}
	m.ready()
	for _, key := range keys {
		if got := d.a.do(d.a.servers[d.of(key)], "GET", key); got != "new" {
			t.Errorf("%s is %v", key, got)
		}
	}
	m.verified(migrate.VerifyOptions{})
	d.settled(m, d.a)
	d.placed()
}

// A function library is there if any of several servers has it, as each of them is given every
// one that the cluster is; one that is not the same on all is another than the cluster's.
func TestSeveralServersLibrariesVerifiedBack(t *testing.T) {
	t.Parallel()
	d := divide(t, "redis-7.0", "crc32", 3, servers(t, "redis-7.0", 1))
	library := func(name string, returns int) []any {
		return []any{"FUNCTION", "LOAD", "REPLACE", fmt.Sprintf("#!lua name=%s\nredis.register_function('%s', function() return %d end)", name, name, returns)}
	}
	d.a.do(d.a.servers[1], library("one", 1)...)
	m := start(t, d.config)
	m.ready()
	m.cutover()
	m.ready()
	d.b.do(d.b.servers[0], library("all", 1)...)
	for _, s := range d.a.servers {
		eventually(t, s.Address()+" has it", func() bool {
			list, _ := d.a.do(s, "FUNCTION", "LIST", "LIBRARYNAME", "all").([]any)
			return len(list) == 1
		})
	}
	for _, method := range []verify.Method{verify.Snapshot, verify.Scan} {
		m.verified(migrate.VerifyOptions{Method: method})
		d.a.fencedAt(connect(t, d.a.servers[2]), library("all", 2)...)
		m.differing(d.config.StateDir, "value all")
		if r := m.compared(migrate.VerifyOptions{Method: method, Repair: true}); r.Result != verify.Equal || r.Counts[verify.Changed] != 1 || r.Repaired[verify.Repaired] != 1 {
			t.Errorf("%+v", r)
		}
		d.a.fencedAt(connect(t, d.a.servers[0]), library("old", 1)...)
		m.differing(d.config.StateDir, "extra old")
		if r := m.compared(migrate.VerifyOptions{Method: method, Repair: true, DeleteExtra: true}); r.Result != verify.Equal || r.Repaired[verify.Deleted] != 1 {
			t.Errorf("%+v", r)
		}
	}
	m.rollback()
	m.ready()
	d.settled(m, d.a)
	d.placed()
}

// Killed while old servers are held, or written to, it leaves them as the next run puts back.
func TestSeveralServersKilledWhileVerifyingBack(t *testing.T) {
	t.Parallel()
	d := divide(t, "redis-7.0", "crc32", 2, aCluster(t, "redis-7.0", 2))
	for _, s := range d.a.servers {
		setConfig(t, s, "repl-diskless-sync-delay", "1")
	}
	d.load()
	first := startChild(t, d.config, "")
	first.must("ready")
	first.must("cutover")
	first.must("ready")
	first.kill()
	points := []string{
		"verify-unlocked", "verify-stopped", "verify-saved", "verify-trail", "verify-stop", "verify-locked", "verify-release", "verify-ended",
	}
	for i, point := range points {
		run := startChild(t, d.config, point)
		run.must("ready")
		for _, s := range d.a.servers {
			d.a.fencedAt(connect(t, s), "SET", fmt.Sprint("planted:", i), "x") // at one of them it is astray, too
		}
		if a, ok := run.ask("repair"); ok {
			t.Fatalf("not killed at %s: %+v", point, a)
		}
		run.killedItself()
		run = startChild(t, d.config, "")
		run.must("ready")
		for _, s := range d.a.servers {
			restored(t, s, "1")
		}
		if r := run.must("repair").Report; r.Result != verify.Equal {
			t.Errorf("after %s: %+v", point, r)
		}
		run.kill()
	}
	m := start(t, d.config)
	m.ready()
	m.verified(migrate.VerifyOptions{})
	m.rollback()
	m.ready()
	d.settled(m, d.a)
	d.placed()
}
