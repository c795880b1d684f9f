//go:build fault

package migrate_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/server"
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

// A node that died while it was repaired, and is not back, makes one result out of date, and
// not each that comes after it.
func TestVerifiedWithoutANodeThatWasRepaired(t *testing.T) {
	t.Parallel()
	c := newToCluster(t, "redis-7.0", "redis-7.0")
	l := c.load()
	m, reports, release := startStopped(t, c.config(), "verify-saved", migrate.VerifyOptions{Repair: true}, nil)
	if _, err := c.target.Crash(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	release()
	<-reports // whatever it says
	m.ready()
	m.verified(migrate.VerifyOptions{})
	for began := time.Now(); time.Since(began) < time.Second; time.Sleep(10 * time.Millisecond) { // the keeper looks meanwhile
		if v := m.Status().Verify; !v.Verified {
			t.Fatalf("it was verified, and is not any more: %+v", v)
		}
	}
	m.cutover()
	m.ready()
	c.settled(m, l)
}

// A user who may ask for settings, and change none, leaves none to be put back, so nothing
// keeps a migration that was compared from its end.
func TestEndsWithoutTheRightToChangeSettings(t *testing.T) {
	t.Parallel()
	restricted := func(t *testing.T, nodes ...*sandbox.Server) (user func(*server.Endpoint)) {
		t.Helper()
		for _, n := range nodes {
			c := connect(t, n)
			if _, err := c.Do(t.Context(), "ACL", "SETUSER", "provider", "on", ">pw", "~*", "&*", "+@all", "-config|set"); err != nil {
				t.Fatal(err)
			}
			if err := c.ConfigSet(t.Context(), "repl-diskless-sync-delay", "2"); err != nil {
				t.Fatal(err)
			}
		}
		return func(e *server.Endpoint) { e.Username, e.Password = "provider", "pw" }
	}
	ended := func(t *testing.T, end func(context.Context, bool) (migrate.EndResult, error)) {
		t.Helper()
		if end, err := end(t.Context(), false); err != nil || !end.Done {
			t.Errorf("%+v: %v", end, err)
		}
	}
	t.Run("of a server", func(t *testing.T) {
		t.Parallel()
		p := newPair(t, "redis-7.0", "redis-7.0")
		c := p.config()
		restricted(t, p.target)(&c.To)
		m := start(t, c)
		m.ready()
		m.compared(migrate.VerifyOptions{})
		p.equal(p.source)
		ended(t, m.Abort)
	})
	t.Run("of a cluster", func(t *testing.T) {
		t.Parallel()
		c := newToCluster(t, "redis-7.0", "redis-7.0")
		config := c.config()
		restricted(t, c.target.Nodes()...)(&config.To)
		l := c.load()
		m := start(t, config)
		m.ready()
		m.compared(migrate.VerifyOptions{})
		m.cutover()
		m.ready()
		c.settled(m, l)
		ended(t, m.Complete)
	})
	t.Run("of several", func(t *testing.T) {
		t.Parallel()
		p := newJointPair(t, "redis-7.0", servers(t, "redis-7.0", 2), servers(t, "redis-7.0", 1))
		restricted(t, p.b.nodes()...)(&p.config.To)
		p.load()
		m := start(t, p.config)
		m.ready()
		m.compared(migrate.VerifyOptions{})
		m.cutover()
		p.settled(nil, p.b)
		ended(t, m.Complete)
	})
}
