package migrate_test

import (
	"slices"
	"testing"

	"godwit/internal/migrate"
)

// The steps of a switch by method, and the first points from which it is
// committed: a run that is killed there finishes it, before that it takes it back.
var (
	failoverPoints = points{
		before: []string{"arm-after", "pause-after", "demote-after"},
		after:  []string{"promote-after", "reverse-after"},
	}
	fencePoints = points{
		before: []string{"pause-after", "drain-after", "demote-after"},
		after:  []string{"promote-after", "kill-after", "reverse-after"},
	}
)

// points are where a run is killed, before and after the commit.
type points struct{ before, after []string }

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
	for _, c := range []struct {
		version string
		points  points
	}{{"redis-7.0", failoverPoints}, {"valkey-8.1", failoverPoints}, {"redis-6.0", fencePoints}} {
		t.Run(c.version, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, c.version, c.version)
			l := p.load()
			config := p.config()
			phase, primary, replica := migrate.Following, p.source, p.target
			for _, point := range c.points.kills() {
				run := startChild(t, config, point)
				status := run.must("ready").Status
				if status.Phase != phase {
					t.Fatalf("to be killed at %s, it is in phase %s, want %s", point, status.Phase, phase)
				}
				if status.Copy.FullResyncs > 0 && point != c.points.kills()[0] {
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
				if slices.Contains(c.points.after, point[len(to)+1:]) {
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
