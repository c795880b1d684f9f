package migrate_test

import (
	"slices"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// toCluster is a source, and a cluster to which it is moved.
type toCluster struct {
	t      *testing.T
	source *sandbox.Server
	target *sandbox.Cluster
}

func newToCluster(t *testing.T, from, to string) *toCluster {
	t.Helper()
	c := &toCluster{t, sandboxtest.Start(t, from, sandbox.Options{}), sandboxtest.Cluster(t, to, sandbox.ClusterOptions{Replicas: 1})}
	if err := dataset.Fill(t.Context(), c.source.Endpoint(), dataset.Options{Keys: 5000, Seed: 1, NoFieldTTLs: true}); err != nil {
		t.Fatal(err)
	}
	return c
}

func (c *toCluster) config() migrate.Config {
	c.t.Helper()
	return config(c.t, c.source.Endpoint(), c.target.Endpoints()[0])
}

// load writes to the source, and to the cluster once the source refuses.
func (c *toCluster) load() *load.Load {
	c.t.Helper()
	return startLoad(c.t, load.Config{
		Writers: 8, Prefix: "load:", Rate: 4000, Mix: load.OneSlot,
		Endpoints: append([]server.Endpoint{c.source.Endpoint()}, c.target.Endpoints()...),
	})
}

// equal compares both sides.
func (c *toCluster) equal() {
	c.t.Helper()
	r, err := audit.CompareSets(c.t.Context(), []server.Endpoint{c.source.Endpoint()}, c.primaries(), audit.Options{Ignore: "godwit:"})
	if err != nil {
		c.t.Fatal(err)
	}
	if !r.Equal() {
		c.t.Fatalf("%+v", r)
	}
	c.t.Logf("equal: %+v", r)
}

func (c *toCluster) primaries() []server.Endpoint {
	c.t.Helper()
	var list []server.Endpoint
	for i := range c.target.Shards() {
		n, err := c.target.Primary(c.t.Context(), i)
		if err != nil {
			c.t.Fatal(err)
		}
		list = append(list, n.Endpoint())
	}
	return list
}

// There, back, and there again: no write is lost or doubled, and in the end both sides
// are equal.
func TestToACluster(t *testing.T) {
	for _, pair := range [][2]string{{"redis-7.0", "redis-7.0"}, {"redis-6.0", "redis-7.0"}, {"redis-7.0", "valkey-8.1"}, {"valkey-8.1", "valkey-9.1"}} {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			t.Parallel()
			c := newToCluster(t, pair[0], pair[1])
			l := c.load()
			m := start(t, c.config())
			m.ready()
			for i := range 2 {
				l.ResetStall()
				r := m.cutover()
				time.Sleep(300 * time.Millisecond)
				t.Logf("cutover %d: %.1f ms, a writer saw %v", i, r.WriteStallMS, l.Stall())
				m.ready()
				if i == 1 {
					break
				}
				l.ResetStall()
				r = m.rollback()
				time.Sleep(300 * time.Millisecond)
				t.Logf("rollback %d: %.1f ms, a writer saw %v", i, r.WriteStallMS, l.Stall())
				m.ready()
			}
			l.Stop()
			report, err := l.Audit(t.Context(), c.primaries()...)
			if err != nil || report.Acked == 0 || !report.Clean() {
				t.Fatalf("audit: %v, %v: %q", report, err, report.Samples)
			}
			t.Logf("audit: %v", report)
			m.until("drained", func(s migrate.Status) bool {
				return !slices.ContainsFunc(s.Links, func(l migrate.LinkStatus) bool { return l.LagBytes != 0 })
			})
			c.equal()
			end, err := m.Complete(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("complete: %+v", end)
			if err := <-m.done; err != nil {
				t.Fatal(err)
			}
			m.done <- nil
		})
	}
}
