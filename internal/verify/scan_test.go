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

// The same differences that snapshots find, found by a scan.
func TestScanFindsPlantedDifferences(t *testing.T) {
	tests := []struct {
		source, target string
		atTarget       sandbox.Options
		fieldTTLs      bool
	}{
		{source: "redis-7.0", target: "valkey-8.1", atTarget: otherLimits()},
		{source: "redis-6.0", target: "redis-6.0", atTarget: otherLimits()},
		{source: "redis-6.0", target: "redis-8.0"},
		{source: "redis-8.0", target: "valkey-9.1", fieldTTLs: true},
	}
	for _, tt := range tests {
		t.Run(tt.source+" "+tt.target, func(t *testing.T) {
			a, b := sandboxtest.Start(t, tt.source, sandbox.Options{}), sandboxtest.Start(t, tt.target, tt.atTarget)
			from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
			o := dataset.Options{Keys: 4000, DBs: []int{0, 3}, Now: time.Now(), NoFieldTTLs: !tt.fieldTTLs, NoFunctions: strings.HasPrefix(tt.source, "redis-6")}
			fill(t, a, o)
			fill(t, b, o)
			cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Options: verify.Options{Method: verify.Scan, Dir: t.TempDir()}}
			mustFind(t, compare(t, cfg), cfg.Options.Dir)

			all := plants()
			if tt.fieldTTLs {
				all = append(all, fieldTTLPlants()...)
			}
			want := sow(t, from, to, all)
			do(t, from, "SET", "other db", "v")
			do(t, to, "SET", "other db", "v")
			do(t, to, "MOVE", "other db", 5)
			want = append(want, "db 0>5 other db")
			if !o.NoFunctions {
				do(t, to, "FUNCTION", "LOAD", "#!lua name=extra\nredis.register_function('extra', function() return 1 end)")
				want = append(want, "extra -1 extra")
			}
			report := compare(t, cfg)
			mustFind(t, report, cfg.Options.Dir, want...)
			t.Logf("%+v", report)
		})
	}
}
