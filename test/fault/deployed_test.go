package fault

import (
	"fmt"
	"strings"
	"testing"

	"godwit/internal/dataset"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// deployed is one side of a migration: a cluster, or standalone servers.
type deployed struct {
	t       *testing.T
	version string
	servers []*sandbox.Server
	cluster *sandbox.Cluster // instead of these
}

// backlog is enough for what is written while a run is started again.
var backlog = []string{"--repl-backlog-size 64mb"}

func startServers(t *testing.T, version string, n int) *deployed {
	t.Helper()
	d := &deployed{t: t, version: version}
	for range n {
		d.servers = append(d.servers, sandboxtest.Start(t, version, sandbox.Options{Args: backlog}))
	}
	return d
}

// startCluster starts one whose primaries have a replica each.
func startCluster(t *testing.T, version string, shards int) *deployed {
	t.Helper()
	return &deployed{t: t, version: version, cluster: sandboxtest.Cluster(t, version, sandbox.ClusterOptions{Shards: shards, Replicas: 1, Args: backlog})}
}

// nodes are all its servers.
func (d *deployed) nodes() []*sandbox.Server {
	if d.cluster != nil {
		return d.cluster.Nodes()
	}
	return d.servers
}

func (d *deployed) endpoints() []server.Endpoint {
	var list []server.Endpoint
	for _, s := range d.nodes() {
		list = append(list, s.Endpoint())
	}
	return list
}

// given are the URLs that the program is given: one node of a cluster, or each server.
func (d *deployed) given() []server.Endpoint {
	if d.cluster != nil {
		return d.endpoints()[:1]
	}
	return d.endpoints()
}

// primaries are those that have slots.
func (d *deployed) primaries() []server.Endpoint {
	d.t.Helper()
	if d.cluster == nil {
		return d.endpoints()
	}
	var list []server.Endpoint
	for i := range d.cluster.Shards() {
		slots, err := d.cluster.Slots(d.t.Context(), i)
		if err != nil {
			d.t.Fatal(err)
		}
		if len(slots) == 0 {
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

// fill gives it keys of all types, and functions: a cluster by a migration that is aborted.
func (d *deployed) fill(keys int, functions bool) {
	d.t.Helper()
	if d.cluster != nil {
		from := startServers(d.t, d.version, 1)
		from.fill(keys, functions)
		p := newProgramOf(d.t, from.given(), d.given()[0])
		run := p.start("")
		p.until("following", func(s migrate.Status) bool { return s.Phase == migrate.Following })
		p.must("abort")
		if code := run.exit(); code != 0 {
			d.t.Fatalf("the run that fills a cluster exits with %d", code)
		}
		return
	}
	for i, s := range d.servers {
		o := dataset.Options{Keys: keys, Seed: uint64(i), Prefix: fmt.Sprint("d", i, ":"), NoFunctions: !functions}
		if err := dataset.Fill(d.t.Context(), s.Endpoint(), o); err != nil {
			d.t.Fatal(err)
		}
	}
}

// set changes a setting of all nodes that run.
func (d *deployed) set(name, value string) {
	d.t.Helper()
	for _, n := range d.nodes() {
		if !n.Running() {
			continue
		}
		if err := sandboxtest.Client(d.t, n).ConfigSet(d.t.Context(), name, value); err != nil {
			d.t.Fatal(err)
		}
	}
}

// left sees that nothing of godwit's is left there, but that its users may not write, if
// that is to be so.
func (d *deployed) left(fenced bool) {
	d.t.Helper()
	for _, n := range d.nodes() {
		if !n.Running() {
			continue
		}
		c := sandboxtest.Client(d.t, n)
		users, err := c.Do(d.t.Context(), "ACL", "LIST")
		if list := fmt.Sprint(users); err != nil || strings.Contains(list, "godwit") {
			d.t.Errorf("%s: %s %v", n.Address(), list, err)
		}
		if may, err := c.Do(d.t.Context(), "ACL", "DRYRUN", "default", "SET", "k", "v"); err != nil || (may != "OK") != fenced {
			d.t.Errorf("%s: a write: %v %v", n.Address(), may, err)
		}
		keys, err := c.Do(d.t.Context(), "KEYS", "godwit:*")
		if list, _ := keys.([]any); err != nil || len(list) > 0 {
			d.t.Errorf("%s: %v %v", n.Address(), keys, err)
		}
		for name, want := range map[string]string{"notify-keyspace-events": "", "masterauth": "", "min-replicas-to-write": "0"} {
			if got, _, err := c.ConfigGet(d.t.Context(), name); err != nil || got != want {
				d.t.Errorf("%s: %s is left at %q: %v", n.Address(), name, got, err)
			}
		}
	}
}
