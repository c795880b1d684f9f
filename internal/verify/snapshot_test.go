package verify_test

import (
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
	for _, tt := range tests {
		t.Run(tt.source+" "+tt.target, func(t *testing.T) {
			a, b := sandboxtest.Start(t, tt.source, tt.atSource), sandboxtest.Start(t, tt.target, tt.atTarget)
			from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
			o := dataset.Options{Keys: 4000, DBs: []int{0, 3}, Now: time.Now(), NoFieldTTLs: !tt.fieldTTLs, NoFunctions: strings.HasPrefix(tt.source, "redis-6")}
			fill(t, a, o)
			fill(t, b, o)
			cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Feed: feedOf(t, b)}
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
	for _, o := range []options{
		{source: "redis-7.0", target: "valkey-8.1", targetArgs: otherLimits().Args},
		{source: "valkey-9.1", target: "valkey-9.1", sourceArgs: []string{"--repl-diskless-sync no"}, targetArgs: []string{"--repl-diskless-sync no"}},
		{source: "redis-6.0", target: "redis-6.0"},
		{source: "redis-8.0", target: "redis-8.6", sourceArgs: []string{"--repl-diskless-sync-delay 2"}},
	} {
		t.Run(o.source+" "+o.target, func(t *testing.T) {
			p := newPair(t, o)
			old := strings.HasPrefix(o.source, "redis-6")
			fill(t, p.source, dataset.Options{Keys: 20_000, DBs: []int{0, 3}, Now: time.Now(), NoFunctions: old})
			p.follow(t)
			load := startLoad(t, p.source, 20_000, true)
			for range 3 {
				cfg := p.config(t)
				report := compare(t, cfg)
				mustFind(t, report, cfg.Options.Dir)
				t.Logf("%+v, %d written", report, load.writes.Load())
			}
			do(t, p.from, "SET", "other db", "v")
			want := append(sowFollowing(t, p.from, p.to, plants()), "db 0>5 other db")
			do(t, p.to, "MOVE", "other db", 5)
			for range 3 {
				cfg := p.config(t)
				report := compare(t, cfg)
				mustFind(t, report, cfg.Options.Dir, want...)
				t.Logf("%+v, %d written", report, load.writes.Load())
			}
		})
	}
}
