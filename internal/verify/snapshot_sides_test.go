package verify_test

import (
	"fmt"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/verify"
)

// keySlot is cluster.c keyHashSlot, for names without braces.
func keySlot(key string) uint16 {
	var crc uint16
	for i := range len(key) {
		crc ^= uint16(key[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return crc % 16384
}

// A standalone server and a target of three shards, which have keys, too, that other
// shards serve.
func TestSnapshotsOfSeveralShards(t *testing.T) {
	single := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	from := sandboxtest.Client(t, single)
	var servers []*sandbox.Server
	for range 3 {
		servers = append(servers, sandboxtest.Start(t, "valkey-8.1", sandbox.Options{}))
	}
	target := sideOf(servers...)
	target.Slots = func(slot uint16) int { return int(slot) * 3 / 16384 }
	at := func(key string) int { return target.Slots(keySlot(key)) }
	fromPipe := from.Redis().Pipeline()
	for i := range 3000 {
		fromPipe.Set(t.Context(), fmt.Sprint("key:", i), i, 0)
	}
	if _, err := fromPipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	var want []string
	for n, s := range servers {
		pipe := sandboxtest.Client(t, s).Redis().Pipeline()
		for i := range 3000 {
			key := fmt.Sprint("key:", i)
			switch mine := at(key) == n; {
			case mine && i == 77:
				want = append(want, "missing 0 "+key)
			case mine && i == 78:
				pipe.Set(t.Context(), key, "other", 0)
				want = append(want, "value 0 "+key)
			case mine:
				pipe.Set(t.Context(), key, i, 0)
			case i%100 == 0:
				pipe.Set(t.Context(), key, "left behind", 0)
			}
		}
		if at("extra") == n {
			pipe.Set(t.Context(), "extra", 1, 0)
			want = append(want, "extra 0 extra")
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cfg := verify.Config{Source: sideOf(single), Target: target, Options: verify.Options{Dir: t.TempDir()}}
	report := compare(t, cfg)
	mustFind(t, report, cfg.Options.Dir, want...)
	if report.Method != verify.Snapshot || report.SourceRead.Keys != 3000 || report.TargetRead.Keys != 3000 {
		t.Errorf("got %+v", report)
	}
}

// Two servers that have nothing to do with each other: what differs is looked at
// until it is certain.
func TestSnapshotsApart(t *testing.T) {
	a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", otherLimits())
	o := dataset.Options{Keys: 4000, DBs: []int{0, 3}, Now: time.Now()}
	fill(t, a, o)
	fill(t, b, o)
	cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Options: verify.Options{Dir: t.TempDir()}}
	report := compare(t, cfg)
	mustFind(t, report, cfg.Options.Dir)
	if report.Offset != 0 || report.ReplID != "" {
		t.Errorf("they have no offset in common: %+v", report)
	}
	want := sow(t, sandboxtest.Client(t, a), sandboxtest.Client(t, b), plants())
	mustFind(t, compare(t, cfg), cfg.Options.Dir, want...)
}

// A replica that follows by itself, among keys that are written to all the time.
func TestSnapshotsApartUnderLoad(t *testing.T) {
	p := newPair(t, options{source: "redis-7.0", target: "redis-7.0"})
	fill(t, p.source, dataset.Options{Keys: 10_000, DBs: []int{0, 3}, Now: time.Now()})
	cfg := replicates(t, p)
	startLoad(t, p.source, 5000, true)
	for range 2 {
		cfg.Options.Dir = t.TempDir()
		report := compare(t, cfg)
		mustFind(t, report, cfg.Options.Dir)
		t.Logf("%+v", report)
	}
	want := sowFollowing(t, p.from, p.to, plants())
	cfg.Options.Dir = t.TempDir()
	mustFind(t, compare(t, cfg), cfg.Options.Dir, want...)
}

// What is left out is left out on both sides, and differences among it are none.
func TestSnapshotsOfSomeKeys(t *testing.T) {
	a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	for _, s := range []*sandbox.Server{a, b} {
		fill(t, s, dataset.Options{Keys: 20_000, DBs: []int{0, 3}, Now: time.Now().Truncate(time.Hour)})
	}
	sow(t, from, to, plants())
	do(t, to, "FUNCTION", "LOAD", "#!lua name=extra\nredis.register_function('extra', function() return 1 end)")
	cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Feeds: feedOf(t, b)}
	for _, tt := range []struct {
		name    string
		options verify.Options
		want    []string
	}{
		{"names", verify.Options{Keys: "plant:*ing"}, []string{"missing 0 plant:missing", "value 0 plant:string"}},
		{"a db", verify.Options{DBs: []int{3}}, nil},
		{"names in another db", verify.Options{Keys: "plant:*", DBs: []int{3, 4}}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg.Options = tt.options
			cfg.Options.Dir = t.TempDir()
			mustFind(t, compare(t, cfg), cfg.Options.Dir, tt.want...)
		})
	}
	t.Run("sample", func(t *testing.T) {
		cfg.Options = verify.Options{Dir: t.TempDir(), Sample: 0.1, DBs: []int{3}}
		report := compare(t, cfg)
		if n := report.SourceRead.Keys; report.Result != verify.Equal || n != report.TargetRead.Keys || n < 800 || n > 1200 {
			t.Errorf("a tenth of 10000 keys: got %+v", report)
		}
	})
}

// The rate is kept to, on each side by itself.
func TestMaxRate(t *testing.T) {
	t.Parallel()
	p := smallPair(t, options{source: "redis-7.0", target: "valkey-8.1"})
	do(t, p.from, "SET", "large", string(make([]byte, 1<<20)))
	for i := range 40 {
		do(t, p.from, "SETRANGE", fmt.Sprint("large:", i), 1<<17, "\xff")
	}
	do(t, p.from, "CONFIG", "SET", "rdbcompression", "no")
	do(t, p.to, "CONFIG", "SET", "rdbcompression", "no")
	cfg := p.config(t)
	cfg.Options.MaxRate = 3 << 20
	startLoad(t, p.source, 1000, false)
	report := compare(t, cfg)
	mustFind(t, report, cfg.Options.Dir)
	least := time.Duration(float64(report.SourceRead.Bytes-100<<10) / float64(cfg.Options.MaxRate) * float64(time.Second))
	if report.Took < least || report.Took > 2*least+time.Second || report.SourceRead.Bytes < 6<<20 || report.Held > time.Second {
		t.Errorf("%d bytes took %v, want %v; held for %v", report.SourceRead.Bytes, report.Took, least, report.Held)
	}
}
