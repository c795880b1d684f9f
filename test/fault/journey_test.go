package fault

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/server"
	"godwit/internal/traffic"
)

// shape is from what to what a migration goes.
type shape struct {
	name  string
	from  func(t *testing.T, version string) *deployed
	to    func(t *testing.T, version string) *deployed
	noWay bool // there is no way back
	rule  bool // it is said how writers have divided their keys
}

func servers(n int) func(*testing.T, string) *deployed {
	return func(t *testing.T, version string) *deployed { return startServers(t, version, n) }
}

func cluster(shards int) func(*testing.T, string) *deployed {
	return func(t *testing.T, version string) *deployed { return startCluster(t, version, shards) }
}

func shapes() []shape {
	return []shape{
		{name: "standalone to cluster", from: servers(1), to: cluster(3)},
		{name: "2 servers to cluster", from: servers(2), to: cluster(3), noWay: true},
		{name: "2 servers to cluster, and back", from: servers(2), to: cluster(3), rule: true},
		{name: "cluster of 3 to cluster of 5", from: cluster(3), to: cluster(5)},
		{name: "cluster to standalone", from: cluster(3), to: servers(1)},
	}
}

// journey is a migration through the program, under loads that are audited.
type journey struct {
	t       *testing.T
	shape   shape
	keys    int // of the copy
	from    *deployed
	to      *deployed
	p       *program
	run     *process
	loads   []*load.Load
	traffic []func() // ends it
}

func newJourney(t *testing.T, s shape, version string, keys int, functions bool) *journey {
	t.Helper()
	j := &journey{t: t, shape: s, keys: keys, from: s.from(t, version), to: s.to(t, version)}
	j.from.fill(keys, functions && len(j.from.servers) < 2)
	j.p = newProgramOf(t, j.from.given(), j.to.given()[0])
	return j
}

// write starts loads of 8 writers together, which go to the target once the source
// refuses them.
func (j *journey) write() {
	j.t.Helper()
	c := load.Config{Writers: 8, Rate: 4000, Mix: load.OneSlot}
	if len(j.from.servers) < 2 {
		c.Endpoints = append(j.from.endpoints(), j.to.endpoints()...)
		j.load(c)
		return
	}
	c.Writers, c.Rate = c.Writers/len(j.from.servers), c.Rate/len(j.from.servers)
	for i, s := range j.from.servers {
		c.Prefix = fmt.Sprint("load", i, ":")
		c.Endpoints = append([]server.Endpoint{s.Endpoint()}, j.to.endpoints()...)
		j.load(c)
	}
}

func (j *journey) load(c load.Config) {
	j.t.Helper()
	l, err := load.Start(j.t.Context(), c)
	if err != nil {
		j.t.Fatal(err)
	}
	j.t.Cleanup(l.Stop)
	j.loads = append(j.loads, l)
}

// bustle sends standalone sources every write command that they have until rest.
func (j *journey) bustle() {
	for i, s := range j.from.servers {
		ctx, cancel := context.WithCancel(j.t.Context())
		var wg sync.WaitGroup
		wg.Go(func() {
			for seed := uint64(1); ctx.Err() == nil; seed++ {
				_, err := traffic.Run(ctx, s.Endpoint(), traffic.Options{
					Seed: seed, Commands: 500, DBs: []int{0}, Prefix: fmt.Sprint("t", i, ":"), NoFlush: true,
					Without: []traffic.Feature{traffic.Function}, // the servers' are one cluster's then
				})
				if err != nil && ctx.Err() == nil {
					j.t.Errorf("traffic: %v", err)
					return
				}
				time.Sleep(50 * time.Millisecond)
			}
		})
		stop := sync.OnceFunc(func() { cancel(); wg.Wait() })
		j.t.Cleanup(stop)
		j.traffic = append(j.traffic, stop)
	}
}

func (j *journey) rest() {
	for _, stop := range j.traffic {
		stop()
	}
}

// still stops all writes.
func (j *journey) still() {
	j.rest()
	for _, l := range j.loads {
		l.Stop()
	}
}

// begin starts the run.
func (j *journey) begin() {
	j.t.Helper()
	flags := []string{"--max-pause", maxPause}
	if j.shape.rule {
		flags = append(flags, shardBy()...)
	}
	j.run = j.p.start("", flags...)
}

// maxPause is for switches of which not the speed is the question.
const maxPause = "15s"

// audited wants each acknowledged write found at the side that serves, once; of the first
// loads, what the source itself had when they had ended.
func (j *journey) audited(serves *deployed, had ...load.Report) {
	j.t.Helper()
	for i, l := range j.loads {
		report, err := l.Audit(j.t.Context(), serves.primaries()...)
		good := report.Clean()
		if i < len(had) {
			good = report.Found == had[i].Found && report.Lost == had[i].Lost && report.Doubled == had[i].Doubled && report.Reordered == had[i].Reordered
		}
		if err != nil || report.Acked == 0 || !good {
			j.t.Fatalf("audit: %v, %v: %q; the load: %+v", report, err, report.Samples, l.Snapshot())
		}
		j.t.Logf("audit: %v", report)
	}
}

// equal waits until everything has been carried, and compares both sides by value and
// TTL. Nobody may be writing.
func (j *journey) equal() {
	j.t.Helper()
	j.p.until("drained", func(s migrate.Status) bool {
		return s.Running && len(s.Links) > 0 && (s.Ready || s.Phase == migrate.Following) &&
			!slices.ContainsFunc(s.Links, func(l migrate.LinkStatus) bool { return l.State != "streaming" || l.LagBytes != 0 })
	})
	time.Sleep(200 * time.Millisecond) // the status tells what was so a moment ago
	j.p.until("drained", func(s migrate.Status) bool {
		return !slices.ContainsFunc(s.Links, func(l migrate.LinkStatus) bool { return l.LagBytes != 0 })
	})
	r, err := audit.CompareSets(j.t.Context(), j.from.primaries(), j.to.primaries(), audit.Options{Ignore: "godwit:", NoEntriesRead: j.from.version == "redis-7.0"})
	if err != nil {
		j.t.Fatal(err)
	}
	if !r.Equal() || r.Keys == 0 {
		j.t.Fatalf("%+v", r)
	}
	j.t.Logf("%d keys are equal", r.Keys)
}

// verifies has the program compare, where it can.
func (j *journey) verifies() {
	j.t.Helper()
	if len(j.from.servers) > 1 {
		return // which of several servers has a key only their clients know; equal compares them
	}
	if r, code := j.p.verified("default"); code != 0 {
		j.t.Fatalf("verify exits with %d: %+v", code, r)
	}
}

// ends has the migration cut over, back and forth where there is a way back, and
// completed: no write is lost or doubled, both sides are equal, and nothing of godwit's is
// left. What the source had of the first loads may be given, see audited.
func (j *journey) ends(had ...load.Report) {
	j.t.Helper()
	if j.p.status().Phase != migrate.Switched {
		j.p.ready()
		j.must("cutover")
	}
	if !j.shape.noWay {
		j.p.ready()
		j.must("rollback")
		j.p.ready()
		j.must("cutover")
		j.p.ready()
	}
	time.Sleep(200 * time.Millisecond) // the writers are at the target
	j.still()
	j.audited(j.to, had...)
	if !j.shape.noWay {
		j.equal()
	}
	j.p.must("complete")
	if code := j.run.exit(); code != 0 {
		j.t.Errorf("godwit run exits with %d", code)
	}
	j.to.left(false)
	j.from.left(j.from.cluster != nil || len(j.from.servers) > 1) // one server is a replica
}

// must carries out a switch, and logs how long writes stood still.
func (j *journey) must(verb string) {
	j.t.Helper()
	j.p.must(verb, "--max-pause", maxPause)
	j.t.Logf("%s: %.1f ms", verb, j.p.status().Cutover.WriteStallMS)
}
