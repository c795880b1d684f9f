//go:build fault

package migrate_test

import (
	"testing"
	"time"

	"godwit/internal/migrate"
)

// Whatever befalls the network while it follows, it goes on by partial resyncs.
func TestNetworkFaultsWhileFollowing(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, "redis-7.0")
	l := n.load()
	m := start(t, n.cfg)
	m.ready()
	for _, f := range faults() {
		f.strike(n)
		time.Sleep(f.lasts)
		if f.after != nil {
			f.after(n)
		}
		n.heal()
		time.Sleep(20 * time.Millisecond) // for the state to show what has ended
		m.until("ready after "+f.name, func(s migrate.Status) bool { return s.Ready })
	}
	if s := m.Status(); s.Copy.FullResyncs != 1 {
		t.Errorf("%d full resyncs", s.Copy.FullResyncs)
	}
	m.cutover()
	m.ready()
	n.settled(l, n.target)
}
