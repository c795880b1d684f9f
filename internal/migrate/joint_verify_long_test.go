//go:build fault

package migrate_test

import (
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/verify"
)

// A cutover ends the repair of what several servers become: all their streams go on, and
// what the repair had on its way comes to nothing.
func TestSeveralServersRepairIsInterrupted(t *testing.T) {
	t.Parallel()
	p := newJointPair(t, "redis-7.0", servers(t, "redis-7.0", 2), servers(t, "valkey-8.1", 1))
	p.load()
	var keys []string
	m, reports, release := startStopped(t, p.config, "verify-unlocked", migrate.VerifyOptions{Repair: true, DeleteExtra: true}, func(m *running) {
		keys = plantJoint(m, p.a, p.b)
	})
	m.cutover()
	for _, key := range keys { // what a late write of the repair would replace
		if _, err := p.b.at(key).Do(t.Context(), "SET", key, "new"); err != nil {
			t.Fatal(err)
		}
	}
	release()
	if report := <-reports; report.Result == verify.Equal || report.Error != "a cutover began" {
		t.Errorf("%+v", report)
	}
	for _, key := range keys {
		if got, err := p.b.at(key).Do(t.Context(), "GET", key); err != nil || got != "new" {
			t.Errorf("%s is %v: %v", key, got, err)
		}
	}
	p.settled(nil, p.b)
}
