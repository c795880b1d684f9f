package migrate_test

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// deployed is one side of a joint migration.
type deployed struct {
	t       *testing.T
	servers []*sandbox.Server // standalone
	cluster *sandbox.Cluster  // instead of these
}

var backlog = []string{"--repl-backlog-size 64mb"}

func aCluster(t *testing.T, version string, shards int) *deployed {
	t.Helper()
	return &deployed{t: t, cluster: sandboxtest.Cluster(t, version, sandbox.ClusterOptions{Shards: shards, Replicas: 1, Args: backlog})}
}

func servers(t *testing.T, version string, n int) *deployed {
	t.Helper()
	d := &deployed{t: t}
	for range n {
		d.servers = append(d.servers, sandboxtest.Start(t, version, sandbox.Options{Args: backlog}))
	}
	return d
}

// nodes are all its servers.
func (d *deployed) nodes() []*sandbox.Server {
	if d.cluster != nil {
		return d.cluster.Nodes()
	}
	return d.servers
}

func (d *deployed) endpoints() []server.Endpoint {
	if d.cluster != nil {
		return d.cluster.Endpoints()
	}
	var list []server.Endpoint
	for _, s := range d.servers {
		list = append(list, s.Endpoint())
	}
	return list
}

// primaries are those that have slots.
func (d *deployed) primaries() []server.Endpoint {
	d.t.Helper()
	if d.cluster == nil {
		return d.endpoints()
	}
	var list []server.Endpoint
	for i := range d.cluster.Shards() {
		if slots, err := d.cluster.Slots(d.t.Context(), i); err != nil || len(slots) == 0 {
			continue
		}
		n, err := d.cluster.Primary(d.t.Context(), i)
		if err != nil {
			d.t.Fatal(err)
		}
		list = append(list, n.Endpoint())
	}
	return list
}

// fill gives it keys of all types: a cluster by a migration that is left at once.
func (d *deployed) fill(version string, keys int) {
	d.t.Helper()
	if d.cluster == nil {
		for i, s := range d.servers {
			if err := dataset.Fill(d.t.Context(), s.Endpoint(), dataset.Options{Keys: keys, Seed: uint64(i), Prefix: fmt.Sprint("d", i, ":"), NoFieldTTLs: true, NoFunctions: len(d.servers) > 1}); err != nil {
				d.t.Fatal(err)
			}
		}
		return
	}
	from := servers(d.t, version, 1)
	from.fill(version, keys)
	m := start(d.t, config(d.t, from.endpoints()[0], d.endpoints()[0]))
	m.ready()
	if _, err := m.Abort(d.t.Context(), false); err != nil {
		d.t.Fatal(err)
	}
	if err := m.stop(); err != nil {
		d.t.Fatal(err)
	}
}

// clean sees that nothing of godwit's is left, but that its users may not write, if that
// is to be so.
func (d *deployed) clean(fenced bool) {
	d.t.Helper()
	for _, n := range d.nodes() {
		users, err := connect(d.t, n).Do(d.t.Context(), "ACL", "LIST")
		if err != nil {
			d.t.Fatal(err)
		}
		if list := fmt.Sprint(users); strings.Contains(list, "godwit") {
			d.t.Errorf("%s: %s", n.Address(), list)
		}
		if may, err := connect(d.t, n).Do(d.t.Context(), "ACL", "DRYRUN", "default", "SET", "k", "v"); err != nil || (may != "OK") != fenced {
			d.t.Errorf("%s: a write: %v %v", n.Address(), may, err)
		}
		keys, err := connect(d.t, n).Do(d.t.Context(), "KEYS", "godwit:*")
		if list, _ := keys.([]any); err != nil || len(list) > 0 {
			d.t.Errorf("%s: %v %v", n.Address(), keys, err)
		}
		if user, _, err := connect(d.t, n).ConfigGet(d.t.Context(), "masteruser"); err != nil || user != "" {
			d.t.Errorf("%s: masteruser is %q: %v", n.Address(), user, err)
		}
		if password, _, err := connect(d.t, n).ConfigGet(d.t.Context(), "masterauth"); err != nil || password != "" {
			d.t.Errorf("%s: a masterauth was left: %v", n.Address(), err)
		}
		if setting, found, err := connect(d.t, n).ConfigGet(d.t.Context(), "notify-keyspace-events"); err != nil || !found || setting != "" {
			d.t.Errorf("%s: notify-keyspace-events is %q: %v", n.Address(), setting, err)
		}
	}
}

// jointPair is a joint migration.
type jointPair struct {
	t      *testing.T
	a, b   *deployed
	config migrate.Config
	loads  []*load.Load
}

func newJointPair(t *testing.T, version string, a, b *deployed) *jointPair {
	t.Helper()
	a.fill(version, 3000)
	p := &jointPair{t: t, a: a, b: b, config: config(t, a.endpoints()[0], b.endpoints()[0])}
	p.config.MaxPause = 10 * time.Second // how fast it is, is not the question
	if a.cluster == nil {
		p.config.Others = a.endpoints()[1:]
	}
	return p
}

// load writes to the source, and to the target once that refuses.
func (p *jointPair) load() {
	p.t.Helper()
	c := load.Config{Writers: 8, Prefix: "load:", Rate: loadRate, Mix: load.OneSlot}
	if p.a.cluster != nil || len(p.a.servers) == 1 {
		c.Endpoints = append(p.a.endpoints(), p.b.endpoints()...)
		p.loads = []*load.Load{startLoad(p.t, c)}
		return
	}
	c.Rate /= len(p.a.servers)
	for i, s := range p.a.servers {
		c.Prefix, c.Endpoints = fmt.Sprint("load", i, ":"), append([]server.Endpoint{s.Endpoint()}, p.b.endpoints()...)
		p.loads = append(p.loads, startLoad(p.t, c))
	}
}

// settled stops the load: each acknowledged write is at the side that serves, and both
// sides are equal if one follows the other.
func (p *jointPair) settled(m *running, serves *deployed) {
	p.t.Helper()
	for _, l := range p.loads {
		l.Stop()
		report, err := l.Audit(p.t.Context(), serves.primaries()...)
		if err != nil || report.Acked == 0 || !report.Clean() {
			p.t.Fatalf("audit: %v, %v: %q", report, err, report.Samples)
		}
		p.t.Logf("audit: %v", report)
	}
	if m == nil {
		return
	}
	m.until("drained", func(s migrate.Status) bool {
		return s.Ready && !slices.ContainsFunc(s.Links, func(l migrate.LinkStatus) bool { return l.LagBytes != 0 })
	})
	p.equal()
}

func (p *jointPair) equal() {
	p.t.Helper()
	r, err := audit.CompareSets(p.t.Context(), p.a.primaries(), p.b.primaries(), audit.Options{Ignore: "godwit:"})
	if err != nil {
		p.t.Fatal(err)
	}
	if !r.Equal() {
		p.t.Fatalf("%+v", r)
	}
	p.t.Logf("equal: %+v", r)
}

// There, back, and there again, from a cluster: no write is lost or doubled, and in the
// end both sides are equal.
func TestFromACluster(t *testing.T) {
	t.Parallel()
	for _, tt := range some(2, []struct {
		from, to string
		shards   int // 0 for a standalone server
	}{{"redis-7.0", "valkey-8.1", 5}, {"valkey-8.1", "valkey-8.1", 0}, {"redis-7.0", "redis-7.0", 5}, {"valkey-8.1", "valkey-9.1", 2}, {"valkey-9.1", "valkey-9.1", 0}}) {
		t.Run(fmt.Sprintf("%s to %s, %d", tt.from, tt.to, tt.shards), func(t *testing.T) {
			t.Parallel()
			target := func() *deployed {
				if tt.shards == 0 {
					return servers(t, tt.to, 1)
				}
				return aCluster(t, tt.to, tt.shards)
			}()
			p := newJointPair(t, tt.from, aCluster(t, tt.from, 3), target)
			p.load()
			m := start(t, p.config)
			m.ready()
			for i := range 2 {
				if report := m.compared(migrate.VerifyOptions{}); report.Result != verify.Equal || report.Held == 0 {
					t.Errorf("compared: %+v", report)
				}
				p.loads[0].ResetStall()
				r := m.cutover()
				time.Sleep(300 * time.Millisecond)
				t.Logf("cutover %d: %.1f ms, a writer saw %v", i, r.WriteStallMS, p.loads[0].Stall())
				m.ready()
				if i == 1 {
					break
				}
				if report := m.compared(migrate.VerifyOptions{}); report.Result != verify.Equal || report.Held == 0 {
					t.Errorf("compared: %+v", report)
				}
				p.loads[0].ResetStall()
				r = m.rollback()
				time.Sleep(300 * time.Millisecond)
				t.Logf("rollback %d: %.1f ms, a writer saw %v", i, r.WriteStallMS, p.loads[0].Stall())
				m.ready()
			}
			p.settled(m, p.b)
			end, err := m.Complete(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("complete: %+v", end)
			if err := <-m.done; err != nil {
				t.Fatal(err)
			}
			m.done <- nil
			p.a.clean(true)
			p.b.clean(false)
		})
	}
}

// Servers among which clients have divided their keys become one cluster, or one server.
// There is no way back, as nobody knows to which of them a new key would belong.
func TestFromSeveralServers(t *testing.T) {
	t.Parallel()
	for _, shards := range []int{3, 0} {
		t.Run(fmt.Sprint(shards), func(t *testing.T) {
			t.Parallel()
			target := servers(t, "valkey-8.1", 1)
			if shards > 0 {
				target = aCluster(t, "redis-7.0", shards)
			}
			p := newJointPair(t, "redis-7.0", servers(t, "redis-7.0", 2), target)
			p.load()
			m := start(t, p.config)
			m.ready()
			r := m.cutover()
			t.Logf("cutover: %.1f ms, a writer saw %v", r.WriteStallMS, p.loads[0].Stall())
			if _, err := m.Rollback(t.Context(), migrate.SwitchOptions{}); err == nil || !strings.Contains(err.Error(), "no way back") {
				t.Errorf("rollback: %v", err)
			}
			time.Sleep(300 * time.Millisecond)
			p.settled(nil, p.b)
			if _, err := m.Complete(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if err := <-m.done; err != nil {
				t.Fatal(err)
			}
			m.done <- nil
			p.a.clean(true)
			p.b.clean(false)
		})
	}
}

// A migration from a cluster that no process runs any more is aborted as one that runs is.
func TestJointAbortedWithoutARun(t *testing.T) {
	t.Parallel()
	p := newJointPair(t, "redis-7.0", aCluster(t, "redis-7.0", 3), servers(t, "redis-7.0", 1))
	m := start(t, p.config)
	m.ready()
	if _, err := connect(t, p.b.servers[0]).Do(t.Context(), "SET", "early", "1"); !server.IsCode(err, "NOPERM") {
		t.Errorf("written before the cutover: %v", err)
	}
	m.interrupted()
	later, err := migrate.Begin(t.Context(), p.config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	end, err := later.Abort(t.Context(), false)
	if err != nil || !end.Done {
		t.Fatalf("%+v: %v", end, err)
	}
	if err := later.Close(); err != nil {
		t.Fatal(err)
	}
	p.equal()
	p.a.clean(false)
	p.b.clean(false)
}
