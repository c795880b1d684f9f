package verify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// A cluster as the target has a library if all its shards have it: one that has not refuses
// the FCALLs of its keys.
func TestLibrariesOfACluster(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	from := sandboxtest.Client(t, source)
	target, to := clusterOf(t, "valkey-8.1", 3)
	load := func(c *server.Client, name string, returns int) {
		t.Helper()
		do(t, c, "FUNCTION", "LOAD", fmt.Sprintf("#!lua name=%s\nredis.register_function('%s', function() return %d end)", name, name, returns))
	}
	for _, name := range []string{"all", "first", "second", "last", "changed", "none"} {
		load(from, name, 1)
	}
	for i, c := range to {
		load(c, "all", 1)
		for n, name := range []string{"first", "second", "last"} {
			if n != i {
				load(c, name, 1)
			}
		}
		load(c, "changed", 1+i/2)
	}
	load(to[1], "extra", 1)
	want := []string{"value -1 first", "value -1 second", "value -1 last", "value -1 changed", "missing -1 none", "extra -1 extra"}
	for _, method := range []verify.Method{verify.Snapshot, verify.Scan} {
		cfg := verify.Config{Source: sideOf(source), Target: target, Options: verify.Options{Method: method, Dir: t.TempDir(), Samples: 10}}
		report := compare(t, cfg)
		mustFind(t, report, cfg.Options.Dir, want...)
		for _, d := range report.Samples {
			t.Logf("%s: %s: %+v %+v", found(d), d.Detail, d.Source, d.Target)
			if string(d.Key) == "second" && !strings.Contains(d.Target.Excerpt, target.Shards[1].Address) {
				t.Errorf("which shard does not have it is not told: %q", d.Target.Excerpt)
			}
		}
	}
	for _, deletes := range []bool{false, true} {
		cfg := verify.Config{Source: sideOf(source), Target: target, Options: verify.Options{Dir: t.TempDir(), Repair: true, DeleteExtra: deletes}}
		compare(t, cfg)
		outcome := outcomes(t, cfg.Options.Dir)
		if deletes {
			same(t, "deleted", outcome[verify.Deleted], []string{"extra -1 extra"})
		} else {
			same(t, "repaired", outcome[verify.Repaired], slices.DeleteFunc(slices.Clone(want), func(d string) bool { return d == "extra -1 extra" }))
		}
	}
	cfg := verify.Config{Source: sideOf(source), Target: target, Options: verify.Options{Dir: t.TempDir()}}
	mustFind(t, compare(t, cfg), cfg.Options.Dir)
	for _, c := range to {
		if all, _ := do(t, c, "FUNCTION", "LIST").([]any); len(all) != 6 {
			t.Errorf("a shard has %d libraries instead of 6", len(all))
		}
	}
}

// A cluster as the source has what any of its shards has.
func TestLibrariesOfAClusterAsTheSource(t *testing.T) {
	t.Parallel()
	source, from := clusterOf(t, "redis-7.0", 3)
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	to := sandboxtest.Client(t, target)
	library := func(name string, returns int) []any {
		return []any{"FUNCTION", "LOAD", fmt.Sprintf("#!lua name=%s\nredis.register_function('%s', function() return %d end)", name, name, returns)}
	}
	for i, c := range from {
		do(t, c, library("all", 1)...)
		do(t, c, library("twice", i/2)...)
	}
	do(t, from[2], library("one", 1)...)
	do(t, from[1], library("missing", 1)...)
	for _, name := range []string{"all", "one", "twice"} {
		do(t, to, library(name, 1)...)
	}
	want := []string{"twice -1 twice", "missing -1 missing"}
	for _, method := range []verify.Method{verify.Snapshot, verify.Scan} {
		cfg := verify.Config{Source: source, Target: sideOf(target), Options: verify.Options{Method: method, Dir: t.TempDir()}}
		mustFind(t, compare(t, cfg), cfg.Options.Dir, want...)
	}
	cfg := verify.Config{Source: source, Target: sideOf(target), Options: verify.Options{Dir: t.TempDir(), Repair: true}}
	compare(t, cfg)
	same(t, "repaired", outcomes(t, cfg.Options.Dir)[verify.Repaired], []string{"missing -1 missing"})
}
