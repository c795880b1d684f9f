package plan

import (
	"godwit/internal/route"
	"godwit/internal/topology"
)

// clusterRuleTests are ruleTests of clusters, of several servers, and of dbs on their way to
// a cluster.
var clusterRuleTests = []ruleTest{
	{name: "a cluster as the source", change: func(f *Facts, _ *Wants) { fromCluster(f, redis70) },
		warnings: []string{"joint-clients"}, says: "CLIENT PAUSE at every primary"},
	{name: "a cluster to a cluster", change: func(f *Facts, w *Wants) {
		fromCluster(f, redis70)
		clustered(f, valkey81)
		w.Verify = true
	}, warnings: []string{"joint-clients", "way-back-commands"}, says: "what they know of the slots leads to the old shards"},
	{name: "a cluster that is compared by scans", change: func(f *Facts, w *Wants) {
		fromCluster(f, redis70)
		f.Shards[0].Permissions[topology.Psync] = topology.Denied
		w.Verify = true
	}, warnings: []string{"joint-clients", "target-permission", "verify-by-scan"}, says: "SCAN, DUMP", noBack: true},
	{name: "a cluster with a hole as the source", change: func(f *Facts, _ *Wants) {
		fromCluster(f, redis70)
		f.SourceCluster.Nodes[1].Slots = []topology.SlotRange{{First: 5461, Last: 9999}}
		f.SourceCluster = topology.NewClusterMap(f.SourceCluster.Nodes, []topology.Move{{Slots: []topology.SlotRange{{First: 7, Last: 7}}, From: "10.0.9.1:6379", To: "10.0.9.2:6379"}})
	}, blockers: []string{"source-unserved"}, warnings: []string{"joint-clients"}, notes: []string{"source-moving"}, says: "redis-cli --cluster fix 10.0.9.1:6379"},
	{name: "a cluster to itself", change: func(f *Facts, _ *Wants) {
		fromCluster(f, redis70)
		f.Shards = f.Sources[1:2]
	}, blockers: []string{"source-shared", "target-has-keys"}, warnings: []string{"joint-clients"}},
	{name: "a cluster that cannot pause, as the source", change: func(f *Facts, _ *Wants) { fromCluster(f, redis60) },
		blockers: []string{"source-pause"}, warnings: []string{"joint-clients", "later", "way-back-commands"}, says: "--cutover never"},
	{name: "a cluster to a replica", change: func(f *Facts, _ *Wants) {
		fromCluster(f, redis70)
		replicaOf(&f.Shards[0], "10.0.0.3", 6380)
	}, blockers: []string{"target-is-replica"}, warnings: []string{"joint-clients"}, says: "REPLICAOF NO ONE"},
	{name: "several servers", change: func(f *Facts, _ *Wants) { f.several(redis70(from), redis70("10.0.0.3:6379")) },
		warnings: []string{"joint-clients", "sources-names"}, says: "2 servers", noBack: true},
	{name: "several servers of which it is known how clients have divided their keys", change: func(f *Facts, w *Wants) {
		f.several(redis70(from), redis70("10.0.0.3:6379"))
		w.ShardBy = "crc32"
	}, warnings: []string{"joint-clients", "sources-names"}, says: "yes, to 2 servers by crc32 (proven by the data during the copy), until godwit complete"},
	{name: "several servers to which no way back is wanted", change: func(f *Facts, w *Wants) {
		f.several(redis70(from), redis70("10.0.0.3:6379"))
		w.ShardBy, w.RollbackWindow = "crc32", 0
	}, warnings: []string{"joint-clients", "sources-names"}, says: "it ends at the cutover", noBack: true},
	{name: "several servers, to which the target cannot be read back", change: func(f *Facts, w *Wants) {
		f.several(redis70(from), redis70("10.0.0.3:6379"))
		f.Shards[0].Permissions[topology.Psync] = topology.Denied
		w.ShardBy = "crc32"
	}, warnings: []string{"joint-clients", "sources-names", "target-permission"}, says: "PSYNC is not permitted", noBack: true},
	{name: "a mapping of several servers", change: func(f *Facts, w *Wants) {
		one := redis70(from)
		one.DBs = append(one.DBs, topology.DB{Number: 20, Keys: 7})
		f.several(one, redis70("10.0.0.3:6379"))
		w.Route = mapped("1:drop 20:3")
	}, warnings: []string{"joint-clients", "sources-names", "db-map-drop"}, notes: []string{"db-map"}, says: "db 20 (7 keys) to db 3", noBack: true},
	{name: "a mapping of several servers to dbs that the target has not", change: func(f *Facts, w *Wants) {
		f.several(redis70(from), redis70("10.0.0.3:6379"))
		w.Route = mapped("1:20")
	}, blockers: []string{"db-map-target"}, warnings: []string{"joint-clients", "sources-names"}, notes: []string{"db-map"}, says: "the target has no db 20, only 16", noBack: true},
	{name: "a mapping of a cluster", change: func(f *Facts, w *Wants) {
		fromCluster(f, valkey91)
		clustered(f, valkey81)
		f.Sources[0].DBs = append(f.Sources[0].DBs, topology.DB{Number: 1, Keys: 7})
		w.Route = mapped("1:drop")
	}, warnings: []string{"joint-clients", "db-map-drop", "later"}, notes: []string{"db-map", "snapshot-rewritten", "stream-commands"}, says: "in db 1 (7 keys) stays behind"},
	{name: "a mapping of a cluster that gives keys other slots", change: func(f *Facts, w *Wants) {
		fromCluster(f, valkey91)
		clustered(f, valkey81)
		for _, n := range f.Sources {
			n.Settings["cluster-databases"] = "2"
		}
		w.Route = mapped("1:prefix=one:")
	}, blockers: []string{"db-map-joint"}, warnings: []string{"joint-clients", "later"}, notes: []string{"db-map", "snapshot-rewritten", "stream-commands"}, says: "say N:M for each db, or N:drop, without a prefix"},
	{name: "a mapping of a db that a cluster has not", change: func(f *Facts, w *Wants) {
		fromCluster(f, valkey91)
		clustered(f, valkey91)
		for _, n := range append(f.Sources, f.Shards...) {
			n.Settings["cluster-databases"] = "4"
		}
		w.Route = mapped("4:1")
	}, blockers: []string{"db-map-source"}, warnings: []string{"joint-clients"}, notes: []string{"db-map"}, says: "the source has no db 4, only 4"},
	{name: "a mapping of a cluster that does not take keys of ours", change: func(f *Facts, w *Wants) {
		fromCluster(f, valkey91)
		clustered(f, valkey81)
		for _, n := range f.Sources {
			n.Settings["cluster-databases"] = "4"
			n.Permissions[topology.Set] = topology.Denied
		}
		w.Route = mapped("1:drop")
	}, blockers: []string{"source-permission"}, warnings: []string{"joint-clients", "db-map-drop", "later"}, notes: []string{"db-map", "snapshot-rewritten", "stream-commands"}, says: "+set ~godwit:*"},
	{name: "dbs of a cluster of which nobody has said where they go", change: func(f *Facts, _ *Wants) {
		fromCluster(f, valkey91)
		clustered(f, valkey91)
		for i := range f.Shards {
			f.Shards[i].Settings["cluster-databases"] = "4"
		}
		f.Sources[0].DBs = append(f.Sources[0].DBs, topology.DB{Number: 1, Keys: 7})
	}, blockers: []string{"cluster-dbs"}, warnings: []string{"joint-clients"}, says: "say where they go: --db-map 1:drop to leave them behind, or, as the target has 4 dbs, --db-map 1:1"},
	{name: "a mapping of several servers to a cluster", change: func(f *Facts, w *Wants) {
		one := redis70(from)
		one.DBs = append(one.DBs, topology.DB{Number: 3, Keys: 7})
		f.several(one, redis70("10.0.0.3:6379"))
		clustered(f, redis70)
		w.Route, _ = route.Parse([]string{"3:prefix=three:"})
	}, warnings: []string{"joint-clients", "sources-names"}, notes: []string{"db-map"}, says: "db 3 (7 keys) to db 0 by names that begin with", noBack: true},
	{name: "several servers that are to be compared", change: func(f *Facts, w *Wants) {
		f.several(redis70(from), redis70("10.0.0.3:6379"))
		w.Verify = true
	}, warnings: []string{"joint-clients", "sources-names"}, says: "at the very offsets of these", noBack: true},
	{name: "several servers, one of them a replica", change: func(f *Facts, _ *Wants) {
		other := redis70("10.0.0.3:6379")
		replicaOf(&other, "10.0.0.4", 6379)
		f.several(redis70(from), other)
	}, blockers: []string{"sources-standalone"}, warnings: []string{"joint-clients", "sources-names"}, says: "give its primary: 10.0.0.4:6379", noBack: true},
	{name: "several servers, one of them of a cluster", change: func(f *Facts, w *Wants) {
		other := redis70("10.0.0.3:6379")
		other.Mode = topology.Cluster
		f.several(redis70(from), other)
		w.NoKill = true
	}, blockers: []string{"sources-standalone"}, warnings: []string{"joint-clients", "sources-names"}, says: "a cluster is one source", noBack: true},
	{name: "one server by two names", change: func(f *Facts, _ *Wants) {
		one, other := redis70(from), redis70("10.0.0.3:6379")
		one.RunID, other.RunID = "same", "same"
		f.several(one, other)
	}, blockers: []string{"source-twice"}, warnings: []string{"joint-clients", "sources-names"}, says: "are one server", noBack: true},
	{name: "several servers with dbs", change: func(f *Facts, _ *Wants) {
		one := redis70(from)
		one.DBs = append(one.DBs, topology.DB{Number: 3, Keys: 7})
		f.several(one, redis70("10.0.0.3:6379"))
	}, blockers: []string{"cluster-dbs"}, warnings: []string{"joint-clients", "sources-names"}, says: "goes to db 0 by default, and they have keys in db 3 (7 keys)", noBack: true},
	{name: "a cluster as the target", change: func(f *Facts, _ *Wants) { clustered(f, redis70) },
		warnings: []string{"cluster-clients"}, says: "10.0.1.2:6379, 5,462 slots, 0 replicas"},
	{name: "a cluster that is only to be filled", change: func(f *Facts, w *Wants) { clustered(f, valkey91); w.CopyOnly = true },
		noBack: true, says: "batches of the source's commands for each shard"},
	{name: "a cluster that cannot pause", change: func(f *Facts, _ *Wants) {
		f.Source = redis60(from)
		f.Source.DBs = []topology.DB{{Number: 0, Keys: 5}}
		clustered(f, redis60)
	}, warnings: []string{"cluster-clients"}, noBack: true, says: "cannot pause writes alone"},
	{name: "a cluster with a hole", change: func(f *Facts, _ *Wants) {
		clustered(f, redis70)
		f.Cluster.Nodes[1].Slots = []topology.SlotRange{{First: 5461, Last: 9999}}
		f.Cluster = topology.NewClusterMap(f.Cluster.Nodes, []topology.Move{{Slots: []topology.SlotRange{{First: 7, Last: 7}}, From: "10.0.1.1:6379", To: "10.0.1.2:6379"}})
	}, blockers: []string{"cluster-unserved"}, warnings: []string{"cluster-clients", "cluster-moving"}, says: "redis-cli --cluster fix 10.0.1.1:6379"},
	{name: "dbs that a cluster does not have", change: func(f *Facts, _ *Wants) {
		clustered(f, redis70)
		f.Source.DBs = append(f.Source.DBs, topology.DB{Number: 3, Keys: 7})
	}, blockers: []string{"cluster-dbs"}, warnings: []string{"cluster-clients"}, says: "db 3 (7 keys)"},
	{name: "dbs that a cluster has, but nobody has said so", change: func(f *Facts, _ *Wants) {
		clustered(f, valkey91)
		for i := range f.Shards {
			f.Shards[i].Settings["cluster-databases"] = "4"
		}
		f.Source.DBs = append(f.Source.DBs, topology.DB{Number: 3, Keys: 7}, topology.DB{Number: 5, Keys: 1})
	}, blockers: []string{"cluster-dbs"}, warnings: []string{"cluster-clients", "way-back-commands"},
		says: "--db-map 3:prefix=db3: --db-map 5:prefix=db5: to have them in db 0 by names that begin so, or --db-map 3:drop --db-map 5:drop to leave them behind, or, as the target has 4 dbs, --db-map 3:3"},
	{name: "dbs that are mapped", change: func(f *Facts, w *Wants) {
		clustered(f, redis70)
		f.Source.DBs = append(f.Source.DBs, topology.DB{Number: 1, Keys: 7}, topology.DB{Number: 2, Keys: 8})
		w.Route = mapped("1:prefix=db1: 2:drop")
	}, warnings: []string{"cluster-clients", "db-map-drop"}, notes: []string{"db-map"}, says: `db 1 (7 keys) to db 0 by names that begin with "db1:"; a key`},
	{name: "a mapping to dbs that the cluster has not", change: func(f *Facts, w *Wants) {
		clustered(f, redis70)
		w.Route = mapped("1:1")
	}, blockers: []string{"db-map-target"}, warnings: []string{"cluster-clients"}, notes: []string{"db-map"}, says: "the target has no db 1, only 1"},
	{name: "a mapping that has no way back", change: func(f *Facts, w *Wants) {
		clustered(f, redis70)
		w.Route = mapped("0:prefix=db0: 1:prefix=db1:")
	}, blockers: []string{"db-map-way-back"}, warnings: []string{"cluster-clients"}, notes: []string{"db-map"}, says: "say --rollback-window 0"},
	{name: "a mapping that needs no way back", change: func(f *Facts, w *Wants) {
		clustered(f, redis70)
		w.Route, w.RollbackWindow = mapped("0:prefix=db0: 1:prefix=db1:"), 0
	}, warnings: []string{"cluster-clients"}, notes: []string{"db-map"}, noBack: true},
	{name: "a mapping for a server", change: func(_ *Facts, w *Wants) { w.Route = mapped("1:drop") },
		blockers: []string{"db-map-relay"}, says: "passes the source's stream on as it is"},
	{name: "a shard that lacks a module", change: func(f *Facts, _ *Wants) {
		clustered(f, redis70)
		search := topology.Module{Name: "search", Version: 20000}
		f.Source.Modules = []topology.Module{search}
		for i := range f.Shards[1:] {
			f.Shards[i].Modules = []topology.Module{search}
		}
	}, blockers: []string{"cluster-modules"}, warnings: []string{"cluster-clients"}, says: "10.0.1.3:6379 lacks the module search"},
	{name: "a small shard of another version", change: func(f *Facts, _ *Wants) {
		clustered(f, redis80)
		f.Shards[2].Version.Minor, f.Shards[2].Memory.Max = 1, 40<<20
	}, warnings: []string{"cluster-clients", "shard-memory", "way-back-commands"}, notes: []string{"shard-versions"}, says: "10.0.1.3:6379 has a maxmemory of 40.0 MiB"},
	{name: "a cluster that does not let godwit have a user", change: func(f *Facts, _ *Wants) {
		clustered(f, redis70)
		f.Shards[0].Permissions[topology.ACLSetUser] = topology.Denied
	}, blockers: []string{"target-permission"}, warnings: []string{"cluster-clients"}, says: "+acl|setuser", noBack: true},
	{name: "a cluster with keys", change: func(f *Facts, _ *Wants) {
		clustered(f, redis70)
		f.Shards[0].DBs, f.Shards[2].DBs = []topology.DB{{Keys: 4}}, []topology.DB{{Keys: 6}}
	}, blockers: []string{"target-has-keys"}, warnings: []string{"cluster-clients"}, says: "10 keys in db 0"},
}
