//go:build fault

package verify_test

import (
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/verify"
)

// No key is so hot that it raises a false alarm, or seems unstable, where the places
// of both sides can be compared.
func TestScanOfHotKeys(t *testing.T) {
	t.Parallel()
	const keys, runs = 30_000, 8 // a scan rests as long as it works
	for _, tt := range []struct {
		name    string
		prepare func(*testing.T, *pair) verify.Config
		memory  string // maxmemory once it is filled; what is evicted before that the filling would miss
	}{
		{name: "replica", prepare: replicates},
		{name: "fed", prepare: isFed},
		{name: "replica under another name", prepare: replicatesUnseen},
		{name: "replica of one that evicts", prepare: replicates, memory: "20mb"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, options{source: "redis-7.0", target: "redis-7.0"})
			fill(t, p.source, dataset.Options{Keys: keys, Now: time.Now()})
			if tt.memory != "" {
				do(t, p.from, "CONFIG", "SET", "maxmemory-policy", "allkeys-random")
				do(t, p.from, "CONFIG", "SET", "maxmemory", tt.memory)
			}
			cfg := tt.prepare(t, p)
			cfg.Options.Method = verify.Scan
			load, hot := startLoad(t, p.source, 4_000, true), startHot(t, p.source, 3_000)
			for range runs {
				cfg.Options.Dir = t.TempDir()
				before := load.writes.Load() + hot.Load()
				report := compare(t, cfg)
				mustFind(t, report, cfg.Options.Dir)
				t.Logf("%v, %d keys, %d settled, %d written", report.Took, report.SourceRead.Keys, report.Settled, load.writes.Load()+hot.Load()-before)
			}
		})
	}
}
