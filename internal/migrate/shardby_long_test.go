//go:build fault

package migrate_test

import (
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
)

// Killed at any point of a switch there or back, the next run brings it to one of its two
// ends, and every server has what is its.
func TestBackToSeveralServersKilled(t *testing.T) {
	t.Parallel()
	d := divide(t, "redis-7.0", "crc32", 2, aCluster(t, "redis-7.0", 2))
	d.load()
	phase := migrate.Following
	for _, point := range jointKills() {
		point, commits := strings.CutSuffix(point, "!")
		run := startChild(t, d.config, point)
		status := run.must("ready").Status
		if status.Phase != phase {
			t.Fatalf("to be killed at %s, it is in phase %s, want %s", point, status.Phase, phase)
		}
		to := migrate.DirectionCutover
		if phase == migrate.Switched {
			to = migrate.DirectionRollback
			d.wide(100 * time.Millisecond)
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
	m := start(t, d.config)
	if s := m.ready(); s.Phase != phase {
		t.Fatalf("phase %s, want %s", s.Phase, phase)
	}
	m.cutover()
	m.ready()
	m.rollback()
	m.ready()
	d.settled(m, d.a)
	d.placed()
	if _, err := m.Abort(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	d.a.clean(false)
	d.b.clean(false)
}
