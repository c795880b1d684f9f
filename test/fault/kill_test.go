//go:build fault

package fault

import (
	"testing"

	"godwit/internal/cutover"
	"godwit/internal/dataset"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// points are where a run is killed around every step of a method, before and
// after the commit.
func points(method cutover.Method) (before, after []string) {
	side := cutover.Side{Client: &server.Client{}}
	list := &before
	for _, step := range cutover.Steps(method, side, &cutover.Replica{Side: side}, cutover.Limits{}) {
		*list = append(*list, string(step.Name)+"-before")
		if step.Name == cutover.Promote {
			list = &after
		}
		*list = append(*list, string(step.Name)+"-after")
	}
	return before, after
}

// Killed at any point of a cutover or a rollback, the same `godwit run` ends or
// takes back the switch by itself, and the next switch works.
func TestKilledAtEachPoint(t *testing.T) {
	for _, c := range []struct {
		from, to string
		method   cutover.Method
	}{{"redis-6.0", "redis-6.0", cutover.Fence}, {"redis-7.0", "valkey-8.1", cutover.Failover}} {
		t.Run(c.from+" to "+c.to, func(t *testing.T) {
			t.Parallel()
			o := sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}}
			source, target := sandboxtest.Start(t, c.from, o), sandboxtest.Start(t, c.to, o)
			if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 2000, NoFieldTTLs: true}); err != nil {
				t.Fatal(err)
			}
			l := startLoad(t, source, target)
			p := newProgram(t, source, target)
			phase, primary := migrate.Following, source
			killed := func(point string) {
				t.Helper()
				verb := "cutover"
				if primary == target {
					verb = "rollback"
				}
				run := p.start(verb + "-" + point)
				if s := p.ready(); s.Phase != phase {
					t.Fatalf("before %s-%s: phase %s, want %s", verb, point, s.Phase, phase)
				}
				noSettings(t, primary)
				if code, out := p.exits(verb); code != 1 {
					t.Fatalf("godwit %s, killed at %s, exits with %d:\n%s", verb, point, code, out)
				}
				if code := run.exit(); code != -1 {
					t.Fatalf("godwit run, to be killed at %s-%s, exits with %d", verb, point, code)
				}
				t.Logf("killed at %s-%s", verb, point)
			}
			before, after := points(c.method)
			for i, point := range after {
				for range 2 { // there and back
					for _, early := range before {
						if i == 0 {
							killed(early)
						}
					}
					killed(point)
					if primary == source {
						phase, primary = migrate.Switched, target
					} else {
						phase, primary = migrate.RolledBack, source
					}
				}
			}
			run := p.start("")
			if s := p.ready(); s.Phase != phase {
				t.Fatalf("phase %s, want %s", s.Phase, phase)
			}
			p.must("cutover")
			p.ready()
			settled(t, l, target, source)
			p.must("complete")
			if code := run.exit(); code != 0 {
				t.Errorf("godwit run exits with %d", code)
			}
			untouched(t, target)
			noSettings(t, source)
		})
	}
}
