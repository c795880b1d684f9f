//go:build fault

package migrate_test

import (
	"testing"

	"godwit/internal/migrate"
)

// A connection on which nothing comes any more, though it is open, is given up
// after psync.SilenceTimeout, a minute; what was missed comes by a partial resync.
func TestSilentConnectionsAreGivenUp(t *testing.T) {
	t.Parallel()
	for name, stall := range map[string]func(n *network){
		"source": func(n *network) { n.toSource.Stall(toClient) },
		"target": func(n *network) { n.toListener.Stall(toTarget) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := newNetwork(t, "redis-7.0")
			l := n.load()
			m := start(t, n.cfg)
			m.ready()
			stall(n)
			eventuallyIn(t, 90, "given up", func() bool { return m.Status().Links[0].State != "streaming" })
			n.heal()
			m.ready()
			if s := m.Status(); s.Copy.FullResyncs != 1 || s.Phase != migrate.Following {
				t.Errorf("phase %s after %d full resyncs", s.Phase, s.Copy.FullResyncs)
			}
			m.cutover()
			m.ready()
			n.settled(l, n.target)
		})
	}
}
