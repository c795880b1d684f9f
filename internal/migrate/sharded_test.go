package migrate_test

import (
	"errors"
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
)

// toCluster is a source, and a cluster to which it is moved.
type toCluster struct {
	t      *testing.T
	source *sandbox.Server
	target *sandbox.Cluster

	ttlTolerance time.Duration
}

func newToCluster(t *testing.T, from, to string) *toCluster {
	t.Helper()
	c := &toCluster{t: t, source: sandboxtest.Start(t, from, sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}}), target: sandboxtest.Cluster(t, to, sandbox.ClusterOptions{Replicas: 1, Args: []string{"--repl-backlog-size 64mb"}})}
	if from == "redis-6.0" {
		c.ttlTolerance = time.Second // its stream says most TTLs relative to now
	}
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
		Writers: 8, Prefix: "load:", Rate: loadRate, Mix: load.OneSlot,
		Endpoints: append([]server.Endpoint{c.source.Endpoint()}, c.target.Endpoints()...),
	})
}

// equal compares both sides.
func (c *toCluster) equal() {
	c.t.Helper()
	r, err := audit.CompareSets(c.t.Context(), []server.Endpoint{c.source.Endpoint()}, c.primaries(), audit.Options{Ignore: "godwit:", TTLTolerance: c.ttlTolerance})
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
			config := c.config()
			config.MaxPause = 10 * time.Second // how fast it is, is not the question
			m := start(t, config)
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
			c.clean()
			if role := info(t, connect(t, c.source), "replication")["role"]; role != "slave" {
				t.Errorf("the source's role is %s", role)
			}
		})
	}
}

// A migration that no process runs any more is aborted as one that runs is: the cluster
// takes writes again, and nothing of godwit's is left there.
func TestClusterAbortedWithoutARun(t *testing.T) {
	t.Parallel()
	c := newToCluster(t, "redis-7.0", "redis-7.0")
	config := c.config()
	m := start(t, config)
	m.ready()
	if _, err := connect(t, c.target.Nodes()[0]).Do(t.Context(), "SET", "early", "1"); !server.IsCode(err, "NOPERM") && !server.IsCode(err, "MOVED") {
		t.Errorf("written before the cutover: %v", err)
	}
	m.interrupted()
	if _, err := migrate.Open(t.Context(), config, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("it was taken for one between two servers")
	}
	later, err := migrate.Begin(t.Context(), config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	end, err := later.Abort(t.Context(), false)
	if err := errors.Join(err, later.Close()); err != nil || !end.Done {
		t.Fatalf("%+v: %v", end, err)
	}
	c.clean()
}

// clean sees that nothing of godwit's is left at the cluster.
func (c *toCluster) clean() {
	c.t.Helper()
	for _, n := range append(c.target.Nodes(), c.source) {
		users, err := connect(c.t, n).Do(c.t.Context(), "ACL", "LIST")
		if err != nil {
			c.t.Fatal(err)
		}
		if list := fmt.Sprint(users); strings.Contains(list, "godwit") || strings.Contains(list, "-@write") {
			c.t.Errorf("%s: %s", n.Address(), list)
		}
		if user, _, err := connect(c.t, n).ConfigGet(c.t.Context(), "masteruser"); err != nil || user != "" {
			c.t.Errorf("%s: masteruser is %q: %v", n.Address(), user, err)
		}
		if password, _, err := connect(c.t, n).ConfigGet(c.t.Context(), "masterauth"); err != nil || password != "" {
			c.t.Errorf("%s: a masterauth was left: %v", n.Address(), err)
		}
		keys, err := connect(c.t, n).Do(c.t.Context(), "KEYS", "godwit:*")
		if list, _ := keys.([]any); err != nil || len(list) > 0 {
			c.t.Errorf("%s: %v %v", n.Address(), keys, err)
		}
	}
}

// clusterKills are the points of a switch to a cluster, and of one back, at which a run
// is killed, each in the phase in which the ones before it leave the migration: the
// commit is the old primary's demotion, or its promotion.
func clusterKills() []string {
	forth := points{before: []string{"pause-after"}, after: []string{"demote-after"}}
	back := points{before: []string{"demote-after"}, after: []string{"promote-after"}}
	if long {
		forth = points{
			before: []string{"arm-before", "arm-after", "catch-up-after", "pause-before", "pause-after", "drain-before", "drain-after", "demote-before"},
			after:  []string{"demote-after", "promote-before", "promote-after", "kill-after", "reverse-before", "reverse-after"},
		}
		back = points{
			before: []string{"catch-up-before", "catch-up-after", "pause-after", "drain-before", "drain-after", "demote-before", "demote-after", "promote-before"},
			after:  []string{"promote-after", "unpause-before", "unpause-after", "kill-after", "reverse-before", "reverse-after"},
		}
	}
	var list []string
	for i := range forth.after {
		for _, d := range []struct {
			direction string
			points    points
		}{{migrate.DirectionCutover, forth}, {migrate.DirectionRollback, back}} {
			if i == 0 {
				for _, early := range d.points.before {
					list = append(list, d.direction+"-"+early)
				}
			}
			list = append(list, d.direction+"-"+d.points.after[i]+"!")
		}
	}
	return list
}

// Killed at any point of a switch to a cluster or back, the next run brings it to one of
// its two ends.
func TestClusterKilledWithinASwitch(t *testing.T) {
	t.Parallel()
	for _, pair := range some(1, [][2]string{{"redis-7.0", "redis-7.0"}, {"valkey-8.1", "valkey-9.1"}}) {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			t.Parallel()
			c := newToCluster(t, pair[0], pair[1])
			l := c.load()
			config := c.config()
			config.MaxPause = 10 * time.Second // how fast it is, is not the question
			phase := migrate.Following
			for i, point := range clusterKills() {
				point, commits := strings.CutSuffix(point, "!")
				run := startChild(t, config, point)
				status := run.must("ready").Status
				if status.Phase != phase {
					t.Fatalf("to be killed at %s, it is in phase %s, want %s", point, status.Phase, phase)
				}
				if status.Copy.FullResyncs > 0 && i > 0 {
					t.Errorf("before %s: %d full resyncs", point, status.Copy.FullResyncs)
				}
				to := migrate.DirectionCutover
				if phase == migrate.Switched {
					to = migrate.DirectionRollback
				}
				if a, ok := run.ask(to); ok {
					t.Fatalf("not killed at %s: %+v", point, a)
				}
				run.killedItself()
				t.Logf("killed at %s", point)
				if commits {
					phase = map[string]migrate.Phase{migrate.DirectionCutover: migrate.Switched, migrate.DirectionRollback: migrate.RolledBack}[to]
				}
			}
			m := start(t, config)
			if s := m.ready(); s.Phase != phase {
				t.Fatalf("phase %s, want %s", s.Phase, phase)
			}
			m.cutover()
			m.ready()
			m.rollback()
			m.ready()
			l.Stop()
			report, err := l.Audit(t.Context(), c.source.Endpoint())
			if err != nil || report.Acked == 0 || !report.Clean() {
				t.Fatalf("audit: %v, %v: %q", report, err, report.Samples)
			}
			t.Logf("audit: %v", report)
			m.until("drained", func(s migrate.Status) bool { return s.Links[0].LagBytes == 0 })
			c.equal()
			if _, err := m.Abort(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			untouched(t, c.source)
			c.clean()
		})
	}
}
