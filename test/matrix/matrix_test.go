//go:build matrix

package matrix

import (
	"slices"
	"sync"
	"testing"

	"godwit/internal/sandbox/sandboxtest"
)

// Every ordered pair of the servers that scripts/get-servers.sh fetches. What
// worked must go on working; what came of each goes to docs/compatibility.md.
func TestMatrix(t *testing.T) {
	names := versionOrder(sandboxtest.Catalog(t).Names())
	if len(names) != 8 {
		t.Fatalf("%d servers: %v", len(names), names)
	}
	var mu sync.Mutex
	var outcomes []outcome
	t.Run("pairs", func(t *testing.T) {
		for _, source := range names {
			for _, target := range names {
				t.Run(source+" to "+target, func(t *testing.T) {
					t.Parallel()
					o := runPair(t, source, target, size{keys: 3000, commands: 20_000})
					mu.Lock()
					defer mu.Unlock()
					outcomes = append(outcomes, o)
				})
			}
		}
	})
	if len(outcomes) != len(names)*len(names) {
		t.Logf("%d pairs were run: the table stays as it is", len(outcomes))
		return
	}
	works := 0
	for _, o := range outcomes {
		if o.works() {
			works++
		}
	}
	t.Logf("%d of %d pairs work", works, len(outcomes))
	slices.SortFunc(outcomes, func(a, b outcome) int {
		if c := slices.Index(names, a.source) - slices.Index(names, b.source); c != 0 {
			return c
		}
		return slices.Index(names, a.target) - slices.Index(names, b.target)
	})
	for _, pair := range lost(t, outcomes) {
		t.Errorf("%s worked, and does not any more", pair)
	}
	if !t.Failed() {
		writeDocument(t, names, outcomes)
	}
}

// versionOrder is Redis from old to new, then the others.
func versionOrder(names []string) []string {
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return n == "path" })
	slices.SortFunc(names, func(a, b string) int {
		return slices.Index(order, a) - slices.Index(order, b)
	})
	return names
}

var order = []string{"redis-6.0", "redis-7.0", "redis-8.0", "redis-8.6", "valkey-8.0", "valkey-8.1", "valkey-9.1", "redict-7.3"}
