package apply

import (
	"testing"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/traffic"
)

// Whatever a server of some version says is carried to a cluster of any.
func TestVersions(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ source, target string }{
		{"valkey-9.1", "valkey-9.1"}, {"redis-6.0", "redis-7.0"}, {"redis-8.6", "redis-8.6"}, {"redis-7.0", "valkey-8.1"}, {"redis-7.0", "redis-6.0"},
	} {
		t.Run(tt.source+" "+tt.target, func(t *testing.T) {
			source := sandboxtest.Start(t, tt.source, sandbox.Options{})
			target := sandboxtest.Cluster(t, tt.target, sandbox.ClusterOptions{})
			without := []traffic.Feature{traffic.Function}
			if tt.target != tt.source {
				without = append(without, traffic.GeoStore, traffic.GeoSearch)
			}
			if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 5000, NoFunctions: true}); err != nil {
				t.Fatal(err)
			}
			e := New(configure(t, source, target))
			run(t, e)
			for seed := range uint64(6) {
				if _, err := traffic.Run(t.Context(), source.Endpoint(), traffic.Options{Seed: seed, Commands: 2500, DBs: []int{0}, Prefix: "t:", NoFlush: true, Without: without}); err != nil {
					t.Fatal(err)
				}
			}
			caughtUp(t, e, source)
			t.Log(same(t, source, target, nil), "keys")
		})
	}
}
