package migrate_test

import (
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/verify"
)

// planted are ways to make a replica differ: what the primary has, what is done at
// the replica, and what that is called. KEY stands for a key.
var planted = []struct {
	kind  verify.Kind
	setup []any
	plant []any
}{
	{verify.Missing, []any{"SET", "KEY", "v"}, []any{"DEL", "KEY"}},
	{verify.Missing, []any{"RPUSH", "KEY", "a", "b"}, []any{"DEL", "KEY"}},
	{verify.Extra, nil, []any{"SET", "KEY", "v"}},
	{verify.Extra, nil, []any{"XADD", "KEY", "1-1", "f", "v"}},
	{verify.Type, []any{"SADD", "KEY", "v"}, []any{"SET", "KEY", "v"}},
	{verify.Changed, []any{"SET", "KEY", strings.Repeat("x", 100_000)}, []any{"SETRANGE", "KEY", "50000", "y"}},
	{verify.Changed, []any{"RPUSH", "KEY", "a", "b", "c"}, []any{"LMOVE", "KEY", "KEY", "LEFT", "RIGHT"}},
	{verify.Changed, []any{"ZADD", "KEY", "1", "a"}, []any{"ZADD", "KEY", "1.0000000000000002", "a"}},
	{verify.Changed, []any{"HSET", "KEY", "f", "v"}, []any{"HSET", "KEY", "g", "v"}},
	{verify.TTL, []any{"SET", "KEY", "v"}, []any{"PEXPIREAT", "KEY", "4102444800000"}},
	{verify.TTL, []any{"SET", "KEY", "v", "PXAT", "4102444800000"}, []any{"PEXPIREAT", "KEY", "4102444800001"}},
	{verify.OtherDB, []any{"SET", "KEY", "v"}, []any{"MOVE", "KEY", "5"}},
}

// plantAll makes replica differ in all of these ways, and says how many keys differ by kind.
func (p *pair) plantAll(primary, replica *sandbox.Server, prefix string) map[verify.Kind]int64 {
	p.t.Helper()
	want := make(map[verify.Kind]int64)
	named := func(args []any, i int) []any {
		out := make([]any, len(args))
		for j, a := range args {
			if out[j] = a; a == "KEY" {
				out[j] = fmt.Sprint(prefix, i)
			}
		}
		return out
	}
	c := connect(p.t, primary)
	var plants [][]any
	for i, x := range planted {
		if x.setup != nil {
			if _, err := c.Do(p.t.Context(), named(x.setup, i)...); err != nil {
				p.t.Fatal(err)
			}
		}
		plants = append(plants, named(x.plant, i))
		want[x.kind]++
	}
	p.applied(primary)
	plant(p.t, replica, plants...)
	return want
}

// What is planted at the replica is found, named and mended, in both directions and
// under live writes, and nothing else is.
func TestVerifyFindsAndRepairs(t *testing.T) {
	for _, versions := range verifyPairs() {
		if strings.Contains(versions[0]+versions[1], "6.0") {
			continue // it knows neither LMOVE nor PXAT
		}
		t.Run(versions[0]+" to "+versions[1], func(t *testing.T) {
			p := newPair(t, versions[0], versions[1])
			l := p.loadFast()
			m := start(t, p.config())
			m.ready()
			primary, replica := p.source, p.target
			for _, direction := range []string{"forth", "back"} {
				stop := p.busy(primary)
				want := p.plantAll(primary, replica, direction+":planted:")
				report := m.compared(migrate.VerifyOptions{Samples: 3})
				if report.Result != verify.Different || !maps.Equal(report.Counts, want) {
					t.Errorf("%+v, want %v", report, want)
				}
				if s := m.Status().Verify; s.State != migrate.VerifyDifferent || s.Differing != int64(len(planted)) || s.Verified {
					t.Errorf("%+v", s)
				}
				// Extra keys stay unless they are to be deleted, those in another db included.
				extra := want[verify.Extra] + want[verify.OtherDB]
				report = m.compared(migrate.VerifyOptions{Repair: true})
				if report.Result != verify.Different || report.Repaired[verify.Kept] != extra || report.Repaired[verify.Repaired] != int64(len(planted))-extra {
					t.Errorf("%+v", report)
				}
				if s := m.Status().Verify; s.Differing != extra || s.Mended() != int64(len(planted))-extra {
					t.Errorf("%+v", s)
				}
				restored(t, replica, "0")
				report = m.compared(migrate.VerifyOptions{Repair: true, DeleteExtra: true})
				if report.Result != verify.Equal || report.Repaired[verify.Deleted] != extra {
					t.Errorf("%+v", report)
				}
				restored(t, replica, "0")
				m.verified(migrate.VerifyOptions{})
				if s := m.Status().Verify; !s.Verified {
					t.Errorf("%+v", s)
				}
				stop()
				m.ready()
				if direction == "forth" {
					m.cutover()
					m.ready()
					primary, replica = replica, primary
				}
			}
			p.settled(l, p.target)
		})
	}
}

// A repair that a cutover interrupts while the replica takes its writes has written
// nothing more by the time that the replica is the primary.
func TestRepairIsInterrupted(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"verify-unlocked", "verify-locked"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "redis-7.0", "redis-7.0")
			l := p.load()
			var want map[verify.Kind]int64
			m, reports, release := p.stoppedAfter(point, migrate.VerifyOptions{Repair: true, DeleteExtra: true}, func() { want = p.plantAll(p.source, p.target, "planted:") })
			began := time.Now()
			m.cutover()
			t.Logf("%v planted; a cutover took %v", want, time.Since(began))
			if c := connect(t, p.target); info(t, c, "replication")["role"] != "master" {
				t.Error("the target is no primary")
			}
			set := connect(t, p.target)
			for i := range planted { // what a late write of the repair would replace
				if _, err := set.Do(t.Context(), "SET", fmt.Sprint("planted:", i), "new"); err != nil {
					t.Fatal(err)
				}
			}
			release()
			if report := <-reports; report.Result == verify.Equal || report.Error != "a cutover began" {
				t.Errorf("%+v", report)
			}
			for i := range planted {
				if got, err := set.Do(t.Context(), "GET", fmt.Sprint("planted:", i)); err != nil || got != "new" {
					t.Errorf("planted:%d is %v: %v", i, got, err)
				}
			}
			restored(t, p.target, "0")
			m.ready()
			audited(t, l, p.target)
		})
	}
}

// Killed within a repair, godwit leaves a replica that its next run makes read-only
// again, and that can be repaired then.
func TestKilledWithinARepair(t *testing.T) {
	t.Parallel()
	p := newUnequalPair(t, "redis-7.0", nil, "redis-7.0", []string{"--repl-diskless-sync-delay 2"})
	l := p.load()
	config := p.config()
	first := startChild(t, config, "")
	first.must("ready")
	p.plantAll(p.source, p.target, "planted:")
	first.kill()
	for _, point := range []string{"verify-unlocked", "verify-locked", "verify-ended"} {
		run := startChild(t, config, point)
		run.must("ready")
		if a, ok := run.ask("repair"); ok {
			t.Fatalf("not killed at %s: %+v", point, a)
		}
		run.killedItself()
	}
	run := startChild(t, config, "")
	run.must("ready")
	restored(t, p.target, "2")
	if report := run.must("repair").Report; report.Result != verify.Equal {
		t.Errorf("%+v", report)
	}
	restored(t, p.target, "2")
	run.kill()
	m := start(t, config)
	m.ready()
	m.verified(migrate.VerifyOptions{})
	m.cutover()
	m.ready()
	p.settled(l, p.target)
}
