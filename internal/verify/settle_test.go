package verify_test

import (
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/verify"
)

// What two snapshots that were not taken at one offset have seen settles: keys on
// their way do, and what was planted is found.
func TestSnapshotsApartSettle(t *testing.T) {
	p := newPair(t, options{source: "redis-7.0", target: "valkey-8.1"})
	fill(t, p.source, dataset.Options{Keys: 20_000, DBs: []int{0, 3}, Now: time.Now()})
	cfg := replicates(t, p)
	cfg.Options.Method = verify.Snapshot
	load := startLoad(t, p.source, 5_000, true)
	startHot(t, p.source, 2_000)
	look := func(want ...string) {
		t.Helper()
		cfg.Options.Dir = t.TempDir()
		before := load.writes.Load()
		report := compare(t, cfg)
		mustFind(t, report, cfg.Options.Dir, want...)
		t.Logf("%v, %d settled, %d written", report.Took, report.Settled, load.writes.Load()-before)
	}
	look()
	do(t, p.from, "SET", "other db", "v")
	want := append(sowFollowing(t, p.from, p.to, plants()), "db 0>5 other db")
	do(t, p.to, "MOVE", "other db", 5)
	look(want...)
}
