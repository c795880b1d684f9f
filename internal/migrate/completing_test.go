package migrate_test

import (
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
)

// A complete that fails after it has let the old primary go is done again, by this run and
// the next, and nobody takes what godwit did itself for somebody else's hand.
func TestCompleteIsCarriedThrough(t *testing.T) {
	t.Parallel()
	t.Run("a server", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, "redis-7.0", "valkey-8.1")
		l := p.load()
		m := completeTwice(t, p.config(), p.source)
		if s := m.Status(); s.Phase != migrate.Completed || s.Completing {
			t.Errorf("phase %s, completing %v", s.Phase, s.Completing)
		}
		noSettings(t, p.source)
		noSettings(t, p.target)
		audited(t, l, p.target)
	})
	t.Run("a cluster", func(t *testing.T) {
		t.Parallel()
		c := newToCluster(t, "redis-7.0", "redis-7.0")
		l := c.load()
		completeTwice(t, c.config(), c.source)
		noSettings(t, c.source)
		if i := info(t, connect(t, c.source), "replication"); i["role"] != "slave" {
			t.Errorf("the old primary is a %s", i["role"])
		}
		l.Stop()
		report, err := l.Audit(t.Context(), c.primaries()...)
		if err != nil || report.Acked == 0 || !report.Clean() {
			t.Fatalf("audit: %v, %v: %q", report, err, report.Samples)
		}
	})
}

// completeTwice has a complete fail once the old primary was let go, runs the migration
// again, and has it end by itself after the cause was mended.
func completeTwice(t *testing.T, config migrate.Config, source *sandbox.Server) *running {
	t.Helper()
	config.MaxPause = 10 * time.Second
	m := start(t, config)
	m.ready()
	m.cutover()
	m.ready()
	admin := connect(t, source)
	do(t, admin, "ACL SETUSER default -config|set")
	if _, err := m.Complete(t.Context(), false); err == nil || !strings.Contains(err.Error(), "NOPERM") {
		t.Fatalf("complete: %v", err)
	}
	complains := func(s migrate.Status) bool {
		last := s.Events[len(s.Events)-1].Text
		return s.Completing && strings.Contains(last, "could not be completed") && strings.Contains(last, "NOPERM")
	}
	m.until("said that it is tried again", complains)
	if _, err := m.Rollback(t.Context(), migrate.SwitchOptions{}); err == nil || !strings.Contains(err.Error(), "being completed") {
		t.Errorf("rollback: %v", err)
	}
	if err := m.stop(); err == nil {
		t.Fatal("the run ended by itself")
	}
	m = start(t, config)
	m.until("said that it is tried again", complains)
	do(t, admin, "ACL SETUSER default +config|set")
	if err := m.ended(); err != nil {
		t.Fatal(err)
	}
	return m
}
