package verify_test

import (
	"runtime"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/verify"
)

// otherLimits has a server encode what it can otherwise than it would by default.
func otherLimits() sandbox.Options {
	return sandbox.Options{Args: []string{
		"--list-max-ziplist-size 3", "--hash-max-ziplist-entries 2", "--hash-max-ziplist-value 8", "--set-max-intset-entries 3",
		"--zset-max-ziplist-entries 2", "--zset-max-ziplist-value 8", "--hll-sparse-max-bytes 16", "--stream-node-max-entries 3", "--list-compress-depth 1",
	}}
}

// Two servers that nobody writes to, each kind of difference at the same time among
// keys of all types.
func TestPlantedDifferences(t *testing.T) {
	disk := sandbox.Options{Args: []string{"--repl-diskless-sync no"}}
	tests := []struct {
		source, target     string
		atSource, atTarget sandbox.Options
		fieldTTLs          bool
	}{
		{source: "redis-7.0", target: "valkey-8.1", atTarget: otherLimits()},
		{source: "redis-7.0", target: "redis-7.0", atSource: otherLimits(), atTarget: disk},
		{source: "redis-6.0", target: "redis-6.0", atSource: disk, atTarget: otherLimits()},
		{source: "redis-6.0", target: "redis-8.0"},
		{source: "redis-8.0", target: "redis-8.6", atTarget: otherLimits(), fieldTTLs: true},
		{source: "redis-8.0", target: "valkey-9.1", atTarget: disk, fieldTTLs: true},
		{source: "valkey-9.1", target: "valkey-9.1", atSource: disk, atTarget: otherLimits(), fieldTTLs: true},
		{source: "valkey-8.0", target: "redict-7.3", atTarget: otherLimits()},
	}
	for _, tt := range some(4, tests) {
		t.Run(tt.source+" "+tt.target, func(t *testing.T) {
			a, b := sandboxtest.Start(t, tt.source, tt.atSource), sandboxtest.Start(t, tt.target, tt.atTarget)
			from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
			keys := 4000
			if long {
				keys = 100_000
			}
			o := dataset.Options{Keys: keys, DBs: []int{0, 3}, Now: time.Now(), NoFieldTTLs: !tt.fieldTTLs, NoFunctions: strings.HasPrefix(tt.source, "redis-6")}
			fill(t, a, o)
			fill(t, b, o)
			cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Feeds: feedOf(t, b)}
			cfg.Options.Dir = t.TempDir()
			mustFind(t, compare(t, cfg), cfg.Options.Dir)

			all := plants()
			if tt.fieldTTLs {
				all = append(all, fieldTTLPlants()...)
			}
			do(t, from, "SET", "other db", "v")
			do(t, to, "SET", "other db", "v")
			want := append(sow(t, from, to, all), "db 0>5 other db")
			do(t, to, "MOVE", "other db", 5)
			if !o.NoFunctions {
				do(t, to, "FUNCTION", "LOAD", "#!lua name=extra\nredis.register_function('extra', function() return 1 end)")
				want = append(want, "extra -1 extra")
			}
			mustFind(t, compare(t, cfg), cfg.Options.Dir, want...)
		})
	}
}

// Differences among keys that are written to all the time.
func TestUnderLoad(t *testing.T) {
	for _, o := range some(1, []options{
		{source: "redis-7.0", target: "valkey-8.1", targetArgs: otherLimits().Args},
		{source: "valkey-9.1", target: "valkey-9.1", sourceArgs: []string{"--repl-diskless-sync no"}, targetArgs: []string{"--repl-diskless-sync no"}},
		{source: "redis-6.0", target: "redis-6.0"},
		{source: "redis-8.0", target: "redis-8.6", sourceArgs: []string{"--repl-diskless-sync-delay 2"}},
	}) {
		t.Run(o.source+" "+o.target, func(t *testing.T) {
			p := newPair(t, o)
			old := strings.HasPrefix(o.source, "redis-6")
			fill(t, p.source, dataset.Options{Keys: 20_000, DBs: []int{0, 3}, Now: time.Now(), NoFunctions: old})
			p.follow(t)
			load := startLoad(t, p.source, 20_000, true)
			runs := 2
			if long {
				runs = 10
			}
			for range runs {
				cfg := p.config(t)
				report := compare(t, cfg)
				mustFind(t, report, cfg.Options.Dir)
				t.Logf("%d keys in %v, held for %v, %d written", report.SourceRead.Keys, report.Took, report.Held, load.writes.Load())
			}
			do(t, p.from, "SET", "other db", "v")
			want := append(sowFollowing(t, p.from, p.to, plants()), "db 0>5 other db")
			do(t, p.to, "MOVE", "other db", 5)
			cfg := p.config(t)
			report := compare(t, cfg)
			mustFind(t, report, cfg.Options.Dir, want...)
			t.Logf("%d keys in %v, held for %v, %d written", report.SourceRead.Keys, report.Took, report.Held, load.writes.Load())
		})
	}
}

// What differs are all keys: what is kept of them goes to disk.
func TestEverythingDiffers(t *testing.T) {
	keys := 60_000
	if long {
		keys = 1_000_000
	}
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	b := sandboxtest.Start(t, "valkey-8.1", otherLimits())
	fill(t, a, dataset.Options{Keys: keys, Seed: 1, NoFunctions: true, NoTTLs: true})
	fill(t, b, dataset.Options{Keys: keys, Seed: 2, NoFunctions: true, NoTTLs: true})
	cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Feeds: feedOf(t, b), Options: verify.Options{Dir: t.TempDir()}}
	var peak uint64
	cfg.Progress = func(verify.Progress) {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapInuse+m.StackInuse)
	}
	report := compare(t, cfg)
	found, lines := int64(0), int64(0)
	for _, n := range report.Counts {
		found += n
	}
	if err := verify.EachDifference(cfg.Options.Dir, func(verify.Difference) error { lines++; return nil }); err != nil {
		t.Error(err)
	}
	// Some are too short to have another value.
	if found != lines || found < int64(keys)*8/10 || report.Result != verify.Different {
		t.Errorf("%d of %d keys, %d in the journal: %+v", found, keys, lines, report)
	}
	if peak > 100<<20 {
		t.Errorf("%d MiB of memory", peak>>20)
	}
	t.Logf("%d of %d keys in %v, %d MiB of heap", found, keys, report.Took, peak>>20)
}
