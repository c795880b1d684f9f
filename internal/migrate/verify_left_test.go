package migrate_test

import (
	"log/slog"
	"strings"
	"testing"

	"godwit/internal/migrate"
)

// A migration whose comparison was killed, and that no process runs any more, leaves the
// servers of both sides as they were when it is aborted.
func TestJointAbortedAfterAKilledComparison(t *testing.T) {
	t.Parallel()
	p := newJointPair(t, "redis-7.0", aCluster(t, "redis-7.0", 3), servers(t, "redis-7.0", 1))
	nodes := append(p.a.primaries(), p.b.primaries()...)
	for _, e := range nodes {
		if err := p.a.dial(e).ConfigSet(t.Context(), "repl-diskless-sync-delay", "2"); err != nil {
			t.Fatal(err)
		}
	}
	run := startChild(t, p.config, "verify-saved")
	run.must("ready")
	if a, ok := run.ask("verify"); ok {
		t.Fatalf("not killed: %+v", a)
	}
	run.killedItself()
	m, err := migrate.Begin(t.Context(), p.config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	if end, err := m.Abort(t.Context(), false); err != nil || !end.Done {
		t.Fatalf("%+v: %v", end, err)
	}
	for _, e := range nodes {
		if got, _, err := p.a.dial(e).ConfigGet(t.Context(), "repl-diskless-sync-delay"); err != nil || got != "2" {
			t.Errorf("%s: repl-diskless-sync-delay is %q: %v", e.Address, got, err)
		}
	}
	p.equal()
}

// A node that died while it was compared, and is not back, keeps nobody from comparing again,
// nor from ending the migration: what is to be put back there is told.
func TestClusterCompletedWithoutANodeThatWasCompared(t *testing.T) {
	t.Parallel()
	c := newToCluster(t, "redis-7.0", "redis-7.0")
	c.slowSnapshots()
	l := c.load()
	m, reports, release := startStopped(t, c.config(), "verify-saved", migrate.VerifyOptions{}, func(m *running) {
		m.cutover()
		m.ready()
	})
	dead, err := c.target.Crash(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	release()
	<-reports // whatever it says
	m.ready()
	m.verified(migrate.VerifyOptions{}) // by the nodes that there are
	c.settled(m, l)
	end, err := m.Complete(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if notes := strings.Join(end.Notes, "\n"); !strings.Contains(notes, dead.Address()+": repl-diskless-sync-delay") || !strings.Contains(notes, `CONFIG SET repl-diskless-sync-delay "2"`) {
		t.Errorf("the notes are %s", notes)
	}
}
