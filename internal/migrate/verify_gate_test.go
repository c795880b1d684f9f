package migrate_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/verify"
)

// plant has a replica hold what its primary does not: these commands are carried
// out there as if it were writable.
func plant(t *testing.T, replica *sandbox.Server, commands ...[]any) {
	t.Helper()
	c := connect(t, replica)
	all := append([][]any{{"CONFIG", "SET", "replica-read-only", "no"}}, commands...)
	for _, args := range append(all, []any{"CONFIG", "SET", "replica-read-only", "yes"}) {
		if _, err := c.Do(t.Context(), args...); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// With --verify before-cutover a migration is ready once both sides were found
// equal, by itself.
func TestVerifyBeforeCutover(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	l := p.load()
	config := p.config()
	config.Verify = migrate.VerifyBeforeCutover
	m := start(t, config)
	if _, err := m.Cutover(t.Context(), migrate.SwitchOptions{}); err == nil {
		t.Error("a cutover before anything else")
	}
	s := m.ready()
	if !s.Verify.Required || !s.Verify.Verified || s.Verify.State != migrate.VerifyEqual || s.Verify.SourceKeys == 0 || s.Verify.Offset == 0 || s.Verify.At.IsZero() {
		t.Errorf("%+v", s.Verify)
	}
	// It holds over a restart of godwit.
	if err := m.stop(); err == nil {
		t.Error("it ended")
	}
	m = start(t, config)
	if again := m.ready(); again.Verify.ID != s.Verify.ID || !again.Verify.Verified {
		t.Errorf("verified again: %+v", again.Verify)
	}
	// A full resync makes another comparison necessary.
	kill(t, p.target)
	restart(t, p.target)
	m.until("verified again", func(now migrate.Status) bool { return now.Ready && now.Verify.Verified && now.Verify.ID != s.Verify.ID })
	m.cutover()
	m.ready() // a rollback waits for nothing
	m.rollback()
	// Nothing is verified any more once the servers have changed roles.
	if _, err := m.Cutover(t.Context(), migrate.SwitchOptions{}); err == nil || !strings.Contains(err.Error(), "verified") {
		t.Errorf("a cutover after a rollback: %v", err)
	}
	m.ready()
	m.cutover()
	m.ready()
	p.settled(l, p.target)
}

// Differences keep it from being ready until somebody has seen to them.
func TestVerifyBeforeCutoverFindsADifference(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	l := p.load()
	config := p.config()
	config.Verify = migrate.VerifyBeforeCutover
	config.Cutover = migrate.Auto
	var once sync.Once
	config.Trace = func(point string) {
		if point == "verify-trail" {
			once.Do(func() {
				plant(t, p.target, []any{"SET", "planted", "1"}, []any{"SELECT", "3"}, []any{"SET", "planted", "1"})
			})
		}
	}
	m := start(t, config)
	s := m.until("different", func(s migrate.Status) bool { return s.Verify.State == migrate.VerifyDifferent })
	if s.Ready || s.Verify.Verified || s.Verify.Differing != 2 || s.Verify.Differences[string(verify.Extra)] != 2 {
		t.Errorf("%+v", s.Verify)
	}
	m.until("not ready by that", func(s migrate.Status) bool {
		return !s.Ready && strings.Contains(s.NotReady, "2 keys differ: see `godwit verify show`")
	})
	if _, err := m.Cutover(t.Context(), migrate.SwitchOptions{}); err == nil || !strings.Contains(err.Error(), "2 keys differ") {
		t.Errorf("cutover: %v", err)
	}
	report, err := verify.ReadReport(migrate.VerifyDir(config.StateDir, config.Name))
	if err != nil || report.Result != verify.Different || report.ID != s.Verify.ID {
		t.Errorf("%+v: %v", report, err)
	}
	time.Sleep(time.Second) // it is not compared again and again
	if now := m.Status(); now.Verify.ID != s.Verify.ID || now.Phase != migrate.Following {
		t.Errorf("phase %s, %+v", now.Phase, now.Verify)
	}
	plant(t, p.target, []any{"DEL", "planted"}, []any{"SELECT", "3"}, []any{"DEL", "planted"})
	m.verified(migrate.VerifyOptions{})
	m.until("switched", func(s migrate.Status) bool { return s.Phase == migrate.Switched })
	p.settled(l, p.target)
}

// stopped is a migration with a comparison that waits at a point until release is called.
func (p *pair) stopped(point string, o migrate.VerifyOptions) (m *running, result <-chan *verify.Report, release func()) {
	p.t.Helper()
	return p.stoppedAfter(point, o, func() {})
}

// stoppedAfter is stopped with something to be done before.
func (p *pair) stoppedAfter(point string, o migrate.VerifyOptions, before func()) (m *running, result <-chan *verify.Report, release func()) {
	p.t.Helper()
	return startStopped(p.t, p.config(), point, o, func(*running) { before() })
}

// startStopped runs a migration, with a comparison that waits at a point until release
// is called.
func startStopped(t *testing.T, config migrate.Config, point string, o migrate.VerifyOptions, before func(*running)) (m *running, result <-chan *verify.Report, release func()) {
	t.Helper()
	var once sync.Once
	reached, released := make(chan struct{}), make(chan struct{})
	config.Trace = func(at string) {
		if at == point {
			once.Do(func() { close(reached); <-released })
		}
	}
	m = start(t, config)
	m.ready()
	if before != nil {
		before(m)
	}
	reports := make(chan *verify.Report, 1)
	go func() {
		report, err := m.Verify(t.Context(), o)
		if err != nil {
			t.Error(err)
		}
		reports <- report
	}()
	select {
	case <-reached:
	case <-time.After(time.Minute):
		t.Fatalf("not at %s within a minute", point)
	}
	release = sync.OnceFunc(func() { close(released) })
	t.Cleanup(release)
	return m, reports, release
}

// Whatever ends what is being compared ends the comparison, and does not wait for it.
func TestVerifyIsInterrupted(t *testing.T) {
	t.Parallel()
	const point = "verify-stopped" // the target's feed is held
	tests := []struct {
		name, says string
		do         func(p *pair, m *running)
	}{
		{"cutover", "a cutover began", func(_ *pair, m *running) { m.cutover(); m.ready() }},
		{"abort", "an abort began", func(p *pair, m *running) {
			if _, err := m.Abort(p.t.Context(), false); err != nil {
				p.t.Error(err)
			}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := newUnequalPair(t, "redis-7.0", nil, "redis-7.0", []string{"--repl-diskless-sync-delay 2"})
			l := p.load()
			m, reports, release := p.stopped(point, migrate.VerifyOptions{})
			if _, err := m.Verify(t.Context(), migrate.VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "under way already") {
				t.Errorf("a second one: %v", err)
			}
			if s := m.Status().Verify; s.State != migrate.VerifyRunning || s.Source != p.source.Address() {
				t.Errorf("%+v", s)
			}
			tt.do(p, m)
			release()
			report := <-reports
			if report.Result != verify.Unknown || report.Error != tt.says {
				t.Errorf("%+v", report)
			}
			if tt.name == "cutover" {
				if s := m.Status().Verify; s.State != migrate.VerifyUnknown || s.Error != tt.says {
					t.Errorf("%+v", s)
				}
				p.settled(l, p.target)
			} else {
				audited(t, l, p.source)
			}
			restored(t, p.target, "2")
		})
	}
}

// restored sees that nothing that a comparison sets is left at a replica.
func restored(t *testing.T, s *sandbox.Server, delay string) {
	t.Helper()
	c := connect(t, s)
	for name, want := range map[string]string{"replica-read-only": "yes", "repl-diskless-sync-delay": delay} {
		eventually(t, name+" is restored", func() bool {
			got, _, err := c.ConfigGet(t.Context(), name)
			return err == nil && got == want
		})
	}
}

// The source forks for a comparison only once the target has caught up.
func TestVerifyWaitsForTheTarget(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "redis-7.0")
	l := n.load()
	n.cfg.Verify = migrate.VerifyBeforeCutover
	n.toListener.Slow(toClient, 300_000)
	m := start(t, n.cfg)
	m.until("following", func(s migrate.Status) bool { return s.Phase == migrate.Following })
	n.toListener.Slow(toClient, 20_000) // so that the writes are more
	m.until("far behind", func(s migrate.Status) bool { return strings.Contains(s.NotReady, "behind") })
	time.Sleep(2 * time.Second)
	if forks := info(t, connect(t, n.source), "stats").Int("sync_full"); forks != 1 {
		t.Errorf("%d full resyncs were asked of the source", forks)
	}
	n.heal()
	m.ready()
	m.cutover()
	m.ready()
	n.settled(l, n.target)
}
