package apply

import (
	"testing"
)

// What clients write to the cluster reaches the old primary, each command once and in
// its order, in whatever words that one has.
func TestFeed(t *testing.T) {
	for _, o := range []feedOptions{
		{old: "redis-7.0", cluster: "redis-7.0", failover: true},
		{old: "valkey-8.1", cluster: "valkey-8.1"},
		{old: "redis-6.0", cluster: "redis-7.0"},
	} {
		t.Run(o.old+" from "+o.cluster, func(t *testing.T) {
			t.Parallel()
			o.keys = 3000
			r := newFeedRig(t, o)
			l := r.load(0)
			r.written(l, 10000)
			r.goBack(l)
		})
	}
}
