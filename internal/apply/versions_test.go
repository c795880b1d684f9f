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
	targets := map[string][]string{}
	for _, pair := range some(3, [][2]string{
		{"redis-6.0", "redis-7.0"}, {"redis-7.0", "redis-6.0"}, {"valkey-9.1", "redis-8.6"}, {"redis-8.0", "valkey-9.1"},
		{"redis-7.0", "valkey-8.1"}, {"valkey-8.1", "redis-8.0"}, {"valkey-9.1", "valkey-9.1"}, {"redis-8.6", "redis-8.6"},
	}) {
		targets[pair[0]] = append(targets[pair[0]], pair[1])
	}
	for from, to := range targets {
		t.Run(from, func(t *testing.T) {
			t.Parallel()
			carriedToAll(t, from, to)
		})
	}
}

// carriedToAll carries one server to several clusters at the same time.
func carriedToAll(t *testing.T, from string, to []string) {
	source := sandboxtest.Start(t, from, sandbox.Options{})
	if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 3000, NoFunctions: true}); err != nil {
		t.Fatal(err)
	}
	known := func(string, value, value) bool { return false }
	if from == "redis-6.0" {
		known = begunOnArrival
	}
	without := []traffic.Feature{traffic.Function}
	var clusters []*sandbox.Cluster
	var engines []*Engine
	for _, name := range to {
		target := sandboxtest.Cluster(t, name, sandbox.ClusterOptions{})
		lacks := lacking(t, source, target.Nodes()[0])
		if name != from {
			lacks = append(lacks, traffic.GeoStore, traffic.GeoSearch)
		}
		without = append(without, lacks...)
		clusters = append(clusters, target)
	}
	for _, target := range clusters {
		e := New(configure(t, source, target))
		run(t, e)
		engines = append(engines, e)
	}
	for seed := range uint64(4) {
		if _, err := traffic.Run(t.Context(), source.Endpoint(), traffic.Options{Seed: seed, Commands: 2500, DBs: []int{0}, Prefix: "t:", NoFlush: true, Without: without}); err != nil {
			t.Fatal(err)
		}
	}
	for i, e := range engines {
		caughtUp(t, e, source)
		t.Logf("to %s: %d keys", to[i], same(t, source, clusters[i], known))
	}
}

// lacking lists what a server can hold and another cannot.
func lacking(t *testing.T, from, to *sandbox.Server) (lacks []traffic.Feature) {
	t.Helper()
	has := map[traffic.Feature]bool{}
	held, err := traffic.Held(t.Context(), sandboxtest.Client(t, to))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range held {
		has[f] = true
	}
	if held, err = traffic.Held(t.Context(), sandboxtest.Client(t, from)); err != nil {
		t.Fatal(err)
	}
	for _, f := range held {
		if !has[f] {
			lacks = append(lacks, f)
		}
	}
	return lacks
}

// begunOnArrival knows that a TTL which the source says relative to the moment begins
// when it arrives, at a replica of Redis 6.0 as here.
func begunOnArrival(_ string, want, got value) bool {
	return want.Value == got.Value && got.until > want.until && got.until-want.until < 1000
}
