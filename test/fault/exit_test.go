//go:build fault

package fault

import (
	"syscall"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// What the verbs exit with when something goes wrong.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	l := startLoad(t, source, target)
	p := newProgram(t, source, target)

	run := p.start("")
	p.ready()
	if code := p.start("").exit(); code != 2 {
		t.Errorf("a second run exits with %d, want 2", code)
	}
	elsewhere := newProgram(t, source, source)
	if code := elsewhere.start("").exit(); code != 2 {
		t.Errorf("a source that is its own target exits with %d, want 2", code)
	}
	if err := target.Pause(); err != nil {
		t.Fatal(err)
	}
	if code, out := p.exits("cutover", "--max-pause", "100ms"); code != 5 {
		t.Errorf("a cutover to a target that does not answer exits with %d, want 5:\n%s", code, out)
	}
	if err := target.Resume(); err != nil {
		t.Fatal(err)
	}
	untouched(t, source)
	p.ready()
	run.signal(syscall.SIGTERM)
	if code := run.exit(); code != 130 {
		t.Errorf("a run that is interrupted exits with %d, want 130", code)
	}
	if s := p.status(); s.Running || s.Phase != migrate.Following {
		t.Errorf("status of the interrupted run: %+v", s)
	}
	if code, _ := p.exits("cutover"); code != 1 {
		t.Errorf("cutover of a migration that does not run exits with %d, want 1", code)
	}
	run = p.start("")
	p.ready()
	p.must("cutover")
	p.ready()
	settled(t, l, target, source)
	run.signal(syscall.SIGTERM)
	run.exit()
	p.must("complete") // without a process that runs it
	untouched(t, target)
	noSettings(t, source)
	if code := newProgram(t, target, source).start("").exit(); code != 3 {
		t.Errorf("a target with keys that is a replica exits with %d, want 3", code)
	}
}
