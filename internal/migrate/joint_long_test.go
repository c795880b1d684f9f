//go:build fault

package migrate_test

import (
	"fmt"
	"strings"
	"testing"

	"godwit/internal/migrate"
)

// jointKills are the points of a switch at which a run is killed, each in the phase in
// which the ones before it leave the migration.
func jointKills() (kills []string) {
	p := points{
		before: []string{"catch-up-before", "catch-up-after", "pause-before", "pause-after", "drain-after", "demote-before", "demote-after", "promote-before"},
		after:  []string{"committed", "promote-after", "unpause-before", "unpause-after", "kill-after", "reverse-before", "reverse-after"},
	}
	for i := range p.after {
		for _, direction := range []string{migrate.DirectionCutover, migrate.DirectionRollback} {
			if i == 0 {
				for _, early := range p.before {
					kills = append(kills, direction+"-"+early)
				}
			}
			kills = append(kills, direction+"-"+p.after[i]+"!")
		}
	}
	return kills
}

// Killed at any point of a switch between two clusters, or from one to a server, the next
// run brings it to one of its two ends.
func TestJointKilledWithinASwitch(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{0, 2} {
		t.Run(fmt.Sprint(shards), func(t *testing.T) {
			t.Parallel()
			target := servers(t, "valkey-8.1", 1)
			if shards > 0 {
				target = aCluster(t, "valkey-8.1", shards)
			}
			p := newJointPair(t, "redis-7.0", aCluster(t, "redis-7.0", 3), target)
			p.load()
			phase := migrate.Following
			for i, point := range jointKills() {
				point, commits := strings.CutSuffix(point, "!")
				run := startChild(t, p.config, point)
				status := run.must("ready").Status
				if status.Phase != phase {
					t.Fatalf("to be killed at %s, it is in phase %s, want %s", point, status.Phase, phase)
				}
				if status.Copy.FullResyncs > 0 && i > 0 {
					t.Errorf("before %s: %d full resyncs", point, status.Copy.FullResyncs)
				}
				to := migrate.DirectionCutover
				if phase == migrate.Switched {
					to = migrate.DirectionRollback
				}
				if a, ok := run.ask(to); ok {
					t.Fatalf("not killed at %s: %+v", point, a)
				}
				run.killedItself()
				t.Logf("killed at %s", point)
				if commits {
					phase = map[string]migrate.Phase{migrate.DirectionCutover: migrate.Switched, migrate.DirectionRollback: migrate.RolledBack}[to]
				}
			}
			m := start(t, p.config)
			if s := m.ready(); s.Phase != phase {
				t.Fatalf("phase %s, want %s", s.Phase, phase)
			}
			m.cutover()
			m.ready()
			m.rollback()
			m.ready()
			p.settled(m, p.a)
			if _, err := m.Abort(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			p.a.clean(false)
			p.b.clean(false)
		})
	}
}
