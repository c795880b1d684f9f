//go:build fault

package migrate_test

import (
	"slices"
	"testing"
	"time"

	"godwit/internal/migrate"
)

// Interrupted in the midst of a switch, a run brings it to one of its two ends first.
func TestInterruptedWithinASwitch(t *testing.T) {
	t.Parallel()
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			points := pointsOf(methodOf(version))
			p := newPair(t, version, version)
			l := p.load()
			config := p.config()
			config.MaxPause = 10 * time.Second // how fast it is, is not the question
			for _, point := range slices.Concat(points.before, points.after) {
				var m *running
				config.Trace = func(at string) {
					if at == migrate.DirectionCutover+"-"+point {
						m.cancel()
						time.Sleep(20 * time.Millisecond) // for the run to notice
					}
				}
				m = start(t, config)
				m.ready()
				result, err := m.Cutover(t.Context(), migrate.SwitchOptions{})
				if err != nil || !result.Done || result.Reason != "" {
					t.Errorf("interrupted at %s: %+v: %v", point, result, err)
				}
				m.interrupted()
				config.Trace = nil
				m = start(t, config)
				if s := m.ready(); s.Phase != migrate.Switched {
					t.Fatalf("after the interruption at %s: phase %s", point, s.Phase)
				}
				m.rollback()
				m.ready()
				m.interrupted()
			}
			m := start(t, config)
			m.ready()
			p.settled(l, p.source)
		})
	}
}
