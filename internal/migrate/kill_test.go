package migrate_test

import (
	"slices"
	"testing"

	"godwit/internal/cutover"
	"godwit/internal/migrate"
	"godwit/internal/server"
)

// points are where a run is killed or interrupted, before and after the commit:
// before it the next run takes the switch back, after it the next run ends it.
type points struct{ before, after []string }

// pointsOf are those of a switch: around every step, or, in the short form, the
// ones that differ most.
func pointsOf(method cutover.Method) points {
	if !long {
		return points{before: []string{"pause-after", "demote-after"}, after: []string{"promote-after"}}
	}
	var p points
	list := &p.before
	for _, step := range cutover.Steps(method, cutover.Side{Client: &server.Client{}}, &cutover.Replica{Side: cutover.Side{Client: &server.Client{}}}, cutover.Limits{}) {
		*list = append(*list, string(step.Name)+"-before")
		if step.Name == cutover.Promote {
			list = &p.after
		}
		*list = append(*list, string(step.Name)+"-after")
	}
	return p
}

// methodOf is how writes are stopped at a version.
func methodOf(version string) cutover.Method {
	if version == "redis-6.0" {
		return cutover.Fence
	}
	return cutover.Failover
}

// versions are those that are tested: one for each method, or more.
func versions() []string {
	if long {
		return []string{"redis-7.0", "redis-6.0", "redis-8.0", "valkey-8.1", "valkey-9.1"}
	}
	return []string{"redis-7.0", "redis-6.0"}
}

// pairs are versions with themselves, and two that count their streams otherwise
// because commands become longer on the way.
func pairs() (pairs [][2]string) {
	for _, v := range versions() {
		pairs = append(pairs, [2]string{v, v})
	}
	return append(pairs, [2]string{"redis-7.0", "redis-6.0"})
}

// kills are all of them in both directions, in an order in which each finds the
// servers as it needs them.
func (p points) kills() []string {
	var list []string
	for i, point := range p.after {
		for _, direction := range []string{migrate.DirectionCutover, migrate.DirectionRollback} {
			if i == 0 {
				for _, early := range p.before {
					list = append(list, direction+"-"+early)
				}
			}
			list = append(list, direction+"-"+point)
		}
	}
	return list
}

// Killed at any point of a switch, the next run brings it to one of its two
// ends, and goes on from there: it is the one to be killed next.
func TestKilledWithinASwitch(t *testing.T) {
	t.Parallel()
	for _, versions := range pairs() {
		t.Run(versions[0]+" to "+versions[1], func(t *testing.T) {
			t.Parallel()
			points := pointsOf(methodOf(versions[0]))
			p := newPair(t, versions[0], versions[1])
			l := p.load()
			config := p.config()
			phase, primary, replica := migrate.Following, p.source, p.target
			for _, point := range points.kills() {
				run := startChild(t, config, point)
				status := run.must("ready").Status
				if status.Phase != phase {
					t.Fatalf("to be killed at %s, it is in phase %s, want %s", point, status.Phase, phase)
				}
				if status.Copy.FullResyncs > 0 && point != points.kills()[0] {
					t.Errorf("before %s: %d full resyncs", point, status.Copy.FullResyncs)
				}
				noSettings(t, primary)
				to := migrate.DirectionCutover
				if phase == migrate.Switched {
					to = migrate.DirectionRollback
				}
				if a, ok := run.ask(to); ok {
					t.Fatalf("not killed at %s: %+v", point, a)
				}
				run.killedItself()
				t.Logf("killed at %s", point)
				if slices.Contains(points.after, point[len(to)+1:]) {
					primary, replica = replica, primary
					phase = map[string]migrate.Phase{migrate.DirectionCutover: migrate.Switched, migrate.DirectionRollback: migrate.RolledBack}[to]
				}
			}
			m := start(t, config)
			if s := m.ready(); s.Phase != phase {
				t.Fatalf("phase %s, want %s", s.Phase, phase)
			}
			m.cutover()
			m.ready()
			m.rollback()
			m.ready()
			p.settled(l, p.source)
			if _, err := m.Abort(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			untouched(t, p.source)
			untouched(t, p.target)
		})
	}
}

// Killed in the copy and while it follows, the next run goes on: from where the
// target stands if that has loaded the snapshot, else with a new copy.
func TestKilledWhileCopyingAndFollowing(t *testing.T) {
	t.Parallel()
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, version, version)
			l := p.load()
			config := p.config()
			slowly := connect(t, p.source)
			if err := slowly.ConfigSet(t.Context(), "rdb-key-save-delay", "200"); err != nil { // µs
				t.Fatal(err)
			}
			copying := func(s migrate.Status) bool { return s.Phase == migrate.Copying }
			for _, moment := range []struct {
				name string
				come func(migrate.Status) bool
			}{
				{"as it begins", func(migrate.Status) bool { return true }},
				{"before the snapshot", copying},
				{"once the target has asked", func(s migrate.Status) bool { return copying(s) && len(s.Links) > 0 && s.Links[0].State == "copying" }},
				{"within the snapshot", func(s migrate.Status) bool { return copying(s) && s.Copy.Bytes > 8<<10 }},
				{"when it follows", func(s migrate.Status) bool { return s.Phase == migrate.Following }},
				{"when it is ready", func(s migrate.Status) bool { return s.Ready }},
			} {
				run := startChild(t, config, "")
				eventually(t, moment.name, func() bool { return moment.come(run.must("status").Status) })
				run.kill()
				t.Logf("killed %s", moment.name)
			}
			m := start(t, config)
			s := m.ready()
			if s.Phase != migrate.Following || s.Copy.FullResyncs != 0 {
				t.Errorf("phase %s with %d full resyncs", s.Phase, s.Copy.FullResyncs)
			}
			m.cutover()
			m.ready()
			p.settled(l, p.target)
		})
	}
}
