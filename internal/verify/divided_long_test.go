//go:build fault

package verify_test

import (
	"fmt"
	"strings"
	"testing"

	"godwit/internal/verify"
)

// doubled gives keys to the first and the last of the servers.
func (d *divided) doubled(t *testing.T) {
	t.Helper()
	first, last := d.from[0], d.from[len(d.from)-1]
	do(t, first, "SET", "doubled", "first")
	do(t, last, "SET", "doubled", "last")
	do(t, first, "SET", "doubled alike", "v")
	do(t, last, "SET", "doubled alike", "v")
	d.caughtUp(t)
}

// repaired has all that differs made equal but the keys that two servers have, of which a
// repair says so.
func (d *divided) repaired(t *testing.T, differences []string) {
	t.Helper()
	cfg := d.config(t)
	cfg.Options.Repair, cfg.Options.DeleteExtra = true, true
	report := compare(t, cfg)
	repairedBut(t, cfg.Options.Dir, differences)
	t.Logf("%d repaired, held for %v", report.Repaired[verify.Repaired]+report.Repaired[verify.Deleted], report.Held)
}

// named sees that a difference of a key which two servers have says which.
func (d *divided) named(t *testing.T, dir string) {
	t.Helper()
	err := verify.EachDifference(dir, func(x verify.Difference) error {
		names := strings.Contains(x.Detail, d.sources[0].Address()) && strings.Contains(x.Detail, d.sources[len(d.sources)-1].Address())
		if x.Kind == verify.Twice && !names {
			t.Errorf("%s: %q", found(x), x.Detail)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// Servers among which clients have divided their keys are found equal to what they are
// made, under load, each time; what is planted is named, and so is a key that two have.
func TestDividedUnderLoad(t *testing.T) {
	for _, tt := range []struct {
		source  string
		sources int
		target  string
		shards  int
	}{
		{source: "redis-7.0", sources: 2, target: "valkey-8.1", shards: 3},
		{source: "valkey-8.1", sources: 3, target: "valkey-8.1"},
		{source: "redis-7.0", sources: 3, target: "redis-7.0", shards: 3},
		{source: "redis-7.0", sources: 2, target: "redis-7.0"},
		{source: "valkey-9.1", sources: 2, target: "valkey-9.1", shards: 3},
	} {
		t.Run(fmt.Sprintf("%d of %s to %d of %s", tt.sources, tt.source, tt.shards, tt.target), func(t *testing.T) {
			d := newDivided(t, tt.source, tt.sources, tt.target, tt.shards)
			stop := d.writes(t)
			const runs = 10
			equal := func(o verify.Options) {
				t.Helper()
				cfg := d.config(t)
				o.Dir, o.Samples = cfg.Options.Dir, cfg.Options.Samples
				cfg.Options = o
				report := compare(t, cfg)
				mustFind(t, report, cfg.Options.Dir)
				for _, s := range report.Samples {
					t.Logf("%s: %s\n%+v\n%+v", found(s), s.Detail, s.Source, s.Target)
				}
				t.Logf("%s: %d keys in %v, held for %v, settled %d", report.Method, report.SourceRead.Keys, report.Took, report.Held, report.Settled)
				if t.Failed() {
					t.FailNow()
				}
			}
			for i := range runs {
				equal(verify.Options{})
				if i%5 == 0 {
					equal(verify.Options{Method: verify.Scan, Sample: 0.1})
				}
			}
			want := d.sow(t, plants())
			d.doubled(t)
			want = append(want, "twice 0 doubled", "twice 0 doubled alike")
			for _, method := range []verify.Method{verify.Snapshot, verify.Scan} {
				cfg := d.config(t)
				cfg.Options.Method = method
				mustFind(t, compare(t, cfg), cfg.Options.Dir, want...)
				d.named(t, cfg.Options.Dir)
			}
			d.repaired(t, want)
			stop()
			cfg := d.config(t)
			mustFind(t, compare(t, cfg), cfg.Options.Dir, "twice 0 doubled", "twice 0 doubled alike")
		})
	}
}
