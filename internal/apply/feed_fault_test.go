//go:build fault

package apply

import (
	"math/rand/v2"
	"testing"
	"time"

	"godwit/internal/faultproxy"
	"godwit/internal/sandbox"
)

// The feed is ended at random moments under load, and begun again from nothing but what
// the old primary's checkpoint says.
func TestFeedBegunAgain(t *testing.T) {
	for _, old := range []string{"redis-7.0", "redis-6.0", "valkey-8.1"} {
		t.Run(old, func(t *testing.T) {
			cluster := old
			if old == "redis-6.0" {
				cluster = "redis-7.0"
			}
			r := newFeedRig(t, feedOptions{old: old, cluster: cluster, keys: 2000})
			r.config.Resume = true
			l := r.load(0)
			r.written(l, 2000)
			rng := rand.New(rand.NewPCG(1, 2))
			for range 20 {
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				r.end()
				r.start()
				r.streaming()
			}
			r.goBack(l)
		})
	}
}

// The old primary's connection is cut at random moments, within whatever is sent.
func TestFeedCut(t *testing.T) {
	for _, old := range []string{"redis-7.0", "redis-8.0", "redis-6.0", "valkey-8.1", "valkey-9.1"} {
		t.Run(old, func(t *testing.T) {
			cluster := old
			if old == "redis-6.0" {
				cluster = "redis-7.0"
			}
			r := newFeedRig(t, feedOptions{old: old, cluster: cluster, keys: 2000})
			l := r.load(0)
			r.written(l, 1000)
			rng := rand.New(rand.NewPCG(3, 4))
			for range 20 {
				before := r.proxy.Accepted()
				r.proxy.CutAfter(faultproxy.ToClient, rng.Int64N(200_000))
				until(t, func() (bool, string) { return r.proxy.Open() == 0 || r.proxy.Accepted() > before, "no cut" })
				r.proxy.Heal()
				r.streaming()
			}
			r.goBack(l)
		})
	}
}

// A shard is handed over to its replica, under load.
func TestFeedOfAShardThatFailsOver(t *testing.T) {
	for _, version := range []string{"redis-7.0", "valkey-9.1"} {
		t.Run(version, func(t *testing.T) {
			r := newFeedRig(t, feedOptions{old: version, cluster: version, keys: 2000, shards: sandbox.ClusterOptions{Replicas: 1}})
			l := r.load(0)
			r.written(l, 2000)
			for shard := range 3 {
				if _, err := r.cluster.Failover(t.Context(), shard); err != nil {
					t.Fatal(err)
				}
				r.written(l, 2000)
			}
			r.goBack(l)
		})
	}
}
