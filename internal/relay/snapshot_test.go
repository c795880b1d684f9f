package relay_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"godwit/internal/dataset"
	"godwit/internal/rdb"
	"godwit/internal/relay"
)

// formats are those that the servers load.
var formats = map[string]rdb.Format{
	"redis-6.0": {Family: rdb.Redis, Version: 9}, "redis-7.0": {Family: rdb.Redis, Version: 10},
	"redis-8.0": {Family: rdb.Redis, Version: 12}, "redis-8.6": {Family: rdb.Redis, Version: 13},
	"valkey-8.0": {Family: rdb.Valkey, Version: 11}, "valkey-8.1": {Family: rdb.Valkey, Version: 11},
	"valkey-9.1": {Family: rdb.Valkey, Version: 80}, "redict-7.3": {Family: rdb.Redict, Version: 12},
}

// converting has the link rewrite snapshots for that server.
func converting(target string, drop ...rdb.Feature) func(*relay.Config) {
	return func(c *relay.Config) {
		c.SnapshotVersion = "9.1.0" // only Valkey looks at it
		c.Snapshot = &rdb.ConverterOptions{To: formats[target], Transcoder: rdb.TranscoderOptions{Drop: drop}}
	}
}

// TestSnapshotsAreRewritten copies between servers that natively cannot. In short
// it takes the two ways in which a source can send a snapshot in turns.
func TestSnapshotsAreRewritten(t *testing.T) {
	t.Parallel()
	servers := slices.Sorted(maps.Keys(formats))
	ways := []string{"yes", "no"}
	for _, source := range servers {
		for _, target := range servers {
			if formats[target].Loads(formats[source]) {
				continue
			}
			for _, diskless := range some(1, ways) {
				t.Run(fmt.Sprintf("%s to %s, diskless %s", source, target, diskless), func(t *testing.T) {
					t.Parallel()
					rewritten(t, source, target, diskless)
				})
			}
			slices.Reverse(ways)
		}
	}
}

// rewritten copies what a source has and a target can have.
func rewritten(t *testing.T, source, target, diskless string) {
	r := newRig(t, options{
		source: source, target: target, config: converting(target),
		sourceArgs: []string{"--repl-diskless-sync " + diskless},
	})
	lacks := formats[target].Lacks(formats[source])
	data := dataset.Options{
		Keys: 1000, DBs: []int{0, 3, 15}, Seed: 1,
		NoFieldTTLs: slices.Contains(lacks, rdb.FeatureHashFieldTTL),
		NoFunctions: slices.Contains(lacks, rdb.FeatureFunction),
	}
	if err := dataset.Fill(t.Context(), r.source.Endpoint(), data); err != nil {
		t.Fatal(err)
	}
	r.attach()
	r.until("streaming", func() bool { return r.link.State() == relay.Streaming })
	r.do(r.from, "SET", "after", "the snapshot")
	r.caughtUp()
	r.equal()
	r.syncs(1, 0)
	s := r.link.Snapshot()
	if s.CopyBytes == 0 || s.CopyTotal != 0 && s.CopyTotal != s.CopyBytes {
		t.Errorf("%+v", s)
	}
}

func TestSnapshotWithoutEqualStopsTheLink(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{source: "redis-8.0", target: "valkey-8.1", config: converting("valkey-8.1")})
	r.do(r.from, "HSET", "visits", "a", "1")
	r.do(r.from, "HEXPIRE", "visits", "1000", "FIELDS", "1", "a")
	r.attach()
	err := <-r.ended
	if err == nil || !strings.Contains(err.Error(), "visits") || !strings.Contains(err.Error(), "hash-field-ttl") {
		t.Errorf("ended with %v", err)
	}
}

func TestFeaturesAreDropped(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{source: "redis-8.0", target: "valkey-8.1", sourceArgs: []string{"--databases 4"},
		config: converting("valkey-8.1", rdb.FeatureHashFieldTTL)})
	r.do(r.from, "HSET", "visits", "a", "1", "b", "2")
	r.do(r.from, "HEXPIRE", "visits", "1000", "FIELDS", "1", "a")
	r.attach()
	r.until("streaming", func() bool { return r.link.State() == relay.Streaming })
	r.caughtUp()
	if got := fmt.Sprint(r.do(r.to, "HMGET", "visits", "a", "b")); got != "[1 2]" {
		t.Errorf("the target has %s", got)
	}
	if s := r.link.Snapshot(); s.Dropped.Copy[rdb.FeatureHashFieldTTL] != 1 || s.Rewritten != 1 {
		t.Errorf("%+v", s)
	}
}
