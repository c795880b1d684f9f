//go:build fault

package migrate_test

import (
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/verify"
)

// A server that is killed while both are compared ends neither the migration nor
// the feed of its target.
func TestServerKilledWhileVerifying(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"verify-trail", "verify-stopped", "verify-release"} {
		for _, side := range []migrate.Side{migrate.Source, migrate.Target} {
			t.Run(string(side)+" at "+point, func(t *testing.T) {
				t.Parallel()
				p := newUnequalPair(t, "redis-7.0", []string{durable}, "redis-7.0", []string{durable, "--repl-diskless-sync-delay 2"})
				victim := map[migrate.Side]*sandbox.Server{migrate.Source: p.source, migrate.Target: p.target}[side]
				l := p.load()
				m, reports, release := p.stopped(point, migrate.VerifyOptions{})
				kill(t, victim)
				release()
				restart(t, victim)
				report := <-reports // it may have been tried again
				t.Logf("%s: %s", report.Result, report.Error)
				if report.Result == verify.Different || report.Result == verify.Unknown && report.Error == "" {
					t.Errorf("%+v", report)
				}
				m.ready()
				restored(t, p.target, "2")
				m.verified(migrate.VerifyOptions{})
				m.ready()
				m.cutover()
				m.ready()
				p.settled(l, p.target)
			})
		}
	}
}
