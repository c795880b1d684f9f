package plan_test

import (
	"strings"
	"testing"
	"time"

	"godwit/internal/persist"
	"godwit/internal/plan"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// aFile is an append only file of a snapshot and commands.
func aFile() plan.FileContents {
	return plan.FileContents{
		Description: persist.Description{Path: "/backup/appendonlydir/appendonly.aof.manifest", Kind: persist.MultiPartAOF, Bytes: 2000, Parts: []persist.Part{
			{File: "appendonly.aof.1.base.rdb", Content: persist.Snapshot, Bytes: 1500, Version: server.Version{Major: 7}, Created: time.Unix(1.7e9, 0), Aux: map[string]string{"used-mem": "5000000"}},
			{File: "appendonly.aof.1.incr.aof", Content: persist.Commands, Bytes: 500, Modified: time.Unix(1.7e9, 0)},
		}},
		Version: "Redis 7.0.0", Keys: 1200, Expires: 3, Commands: 40, DBs: []topology.DB{{Number: 0, Keys: 1200}, {Number: 3}}, Libraries: []string{"mylib"},
	}
}

// aTarget is an empty server.
func aTarget() topology.Node {
	return topology.Node{
		URL: "redis://b:6379", Endpoint: server.Endpoint{Address: "b:6379"}, Version: server.Version{Major: 7, Minor: 2}, Mode: topology.Standalone,
		Replication: topology.Replication{Role: topology.Primary},
	}
}

// toCluster makes the target a cluster of one shard.
func toCluster(f *plan.FileFacts) {
	node := topology.ClusterNode{ID: "b", Endpoint: f.Target.Endpoint, Role: topology.Primary, Slots: []topology.SlotRange{{First: 0, Last: 16383}}, Answered: true}
	f.Target.Mode = topology.Cluster
	f.Cluster, f.Shards = topology.NewClusterMap([]topology.ClusterNode{node}, nil), []topology.Node{f.Target}
}

func mapped(flags string) route.Route {
	r, err := route.Parse(strings.Fields(flags))
	if err != nil {
		panic(err)
	}
	return r
}

// codes are those of findings, separated by spaces.
func codes(findings []plan.Finding) string {
	var all []string
	for _, f := range findings {
		all = append(all, f.Code)
	}
	return strings.Join(all, " ")
}

func TestPlanOfAFile(t *testing.T) {
	for _, row := range []struct {
		name                      string
		change                    func(f *plan.FileFacts, w *plan.Wants)
		blockers, warnings, notes string
	}{
		{"nothing in its way", func(*plan.FileFacts, *plan.Wants) {}, "", "", "file-times"},
		{"a target with keys", func(f *plan.FileFacts, _ *plan.Wants) { f.Target.DBs = []topology.DB{{Keys: 1}} }, "target-has-keys", "", "file-times"},
		{"that may go", func(f *plan.FileFacts, w *plan.Wants) { f.Target.DBs, w.Replace = []topology.DB{{Keys: 1}}, true }, "", "target-wiped", "file-times"},
		{"too few dbs", func(f *plan.FileFacts, _ *plan.Wants) { f.Target.Settings = topology.Settings{"databases": "2"} }, "databases", "", "file-times"},
		{"a cluster", func(f *plan.FileFacts, _ *plan.Wants) {
			f.Cluster, f.Shards = &topology.ClusterMap{}, []topology.Node{f.Target}
		}, "cluster-unserved cluster-dbs", "", "file-times"},
		{"a cluster, and a mapping", func(f *plan.FileFacts, w *plan.Wants) {
			f.File.Left = 7
			toCluster(f)
			w.Route = mapped("1:prefix=db1: 3:drop")
		}, "", "db-map-drop", "db-map file-times"},
		{"a cluster, and a mapping to dbs that it has not", func(f *plan.FileFacts, w *plan.Wants) {
			toCluster(f)
			w.Route = mapped("3:3")
		}, "db-map-target", "", "db-map file-times"},
		{"a mapping for a server", func(_ *plan.FileFacts, w *plan.Wants) { w.Route = mapped("3:drop") }, "db-map-joint", "", "file-times"},
		{"a replica", func(f *plan.FileFacts, _ *plan.Wants) { f.Target.Replication.Role = topology.Replica }, "target-is-replica", "", "file-times"},
		{"little memory", func(f *plan.FileFacts, _ *plan.Wants) { f.Target.Memory.Max = 4_000_000 }, "", "file-memory", "file-times"},
		{"damage", func(f *plan.FileFacts, _ *plan.Wants) {
			f.File.Damage = &plan.FileRefusal{Text: "byte 7", Hint: "redis-check-aof"}
		}, "file-damaged", "", "file-times"},
		{"a tail", func(f *plan.FileFacts, _ *plan.Wants) { f.File.LeftOut.TailBytes = 7 }, "", "file-tail", "file-times"},
		{"strays", func(f *plan.FileFacts, _ *plan.Wants) { f.File.LeftOut.Strays = 2 }, "", "", "file-strays file-times"},
		{"expired keys of an RDB file", func(f *plan.FileFacts, _ *plan.Wants) { f.File.Kind, f.File.Expired = persist.RDB, 5 }, "", "", "file-expired"},
		{"what cannot be carried", func(f *plan.FileFacts, _ *plan.Wants) {
			f.File.Refused, f.File.RefusedMore = []plan.FileRefusal{{Text: "a"}, {Text: "b"}}, 3
		}, "file-refused file-refused file-more", "", "file-times"},
		{"what is left out", func(f *plan.FileFacts, _ *plan.Wants) {
			f.File.Dropped = map[rdb.Feature]int64{rdb.FeatureVectorSet: 3}
		}, "", "file-dropped", "file-times"},
	} {
		facts, wants := plan.FileFacts{File: aFile(), Target: aTarget()}, plan.Wants{Name: "test"}
		row.change(&facts, &wants)
		p := plan.ForFile(facts, wants)
		if b, w, n := codes(p.Blockers), codes(p.Warnings), codes(p.Notes); b != row.blockers || w != row.warnings || n != row.notes {
			t.Errorf("%s: blockers %q, warnings %q, notes %q", row.name, b, w, n)
		}
		if p.Engine != plan.File || p.Refused() != (len(p.Steps) == 0) || p.WayBack {
			t.Errorf("%s: %+v", row.name, p)
		}
	}
}

// The plan of a file for a cluster asks for a mapping, and says what comes of it.
func TestPlanOfAFileWithDBs(t *testing.T) {
	facts := plan.FileFacts{File: aFile(), Target: aTarget()}
	facts.File.Left = 7
	toCluster(&facts)
	p := plan.ForFile(facts, plan.Wants{Name: "test"})
	const asks = "a cluster has one db by default, and the file has keys, or commands, in db 3 (0 keys) as well"
	if len(p.Blockers) != 1 || p.Blockers[0].Text != asks || p.Blockers[0].Hint != "say where they go: --db-map 3:prefix=db3: to have them in db 0 by names that begin so, or --db-map 3:drop to leave them behind" {
		t.Errorf("%+v", p.Blockers)
	}
	p = plan.ForFile(facts, plan.Wants{Name: "test", Route: mapped("3:drop")})
	if p.Refused() || len(p.Warnings) != 1 || p.Warnings[0].Text != "what the file has in db 3 (0 keys), and 7 commands there, stay behind (--db-map)" {
		t.Errorf("%+v", p)
	}
}

func TestTextOfAFile(t *testing.T) {
	var b strings.Builder
	if err := plan.ForFile(plan.FileFacts{File: aFile(), Target: aTarget()}, plan.Wants{Name: "test"}).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		"  file      an append only file of several parts, written by Redis 7.0.0\n",
		"  parts     appendonly.aof.1.base.rdb (snapshot, 1.5 KiB, of 2023-11-14 22:13:20 UTC), appendonly.aof.1.incr.aof (commands, 500 B, last written 2023-11-14 22:13:20 UTC)\n",
		"  holds     1,200 keys (3 with a TTL), then 40 commands\n",
		"  dbs       0, 3\n",
		"  functions mylib\n",
		"  ends      complete\n",
		"1,200 keys of the snapshot\n",
		"Possible. Nothing was changed.\n",
	} {
		if !strings.Contains(b.String(), line) {
			t.Errorf("no %q in\n%s", line, b.String())
		}
	}
}
