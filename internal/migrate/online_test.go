package migrate_test

import (
	"fmt"
	"strings"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// A primary lists a replica as online, and takes a FAILOVER to it, only when it
// has noticed that the child that sent the snapshot is gone: that may be after
// the replica has loaded the snapshot and follows.
func TestCutoverBeforeTheSourceCallsItOnline(t *testing.T) {
	t.Parallel()
	o := sandbox.Options{Args: []string{"--hz 1", "--dynamic-hz no"}}
	p := &pair{t: t, source: sandboxtest.Start(t, "redis-7.0", o), target: sandboxtest.Start(t, "redis-8.0", o)}
	p.fill(10)
	// With much memory to return, the child is not gone the moment it is told to;
	// scripts take memory, and no time to copy. One that large keeps a busy server for long.
	source := connect(t, p.source)
	for i := range 16 {
		if _, err := source.Do(t.Context(), "SCRIPT", "LOAD", fmt.Sprint("--", i, strings.Repeat("x", 25<<20))); err != nil {
			t.Fatal(err)
		}
	}
	m := start(t, p.config())
	m.ready()
	m.cutover()
	m.ready()
	p.equal(p.target)
}
