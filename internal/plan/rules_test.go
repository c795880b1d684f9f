package plan

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/topology"
)

// ruleTest changes one thing about a healthy pair, and names what is found then.
type ruleTest struct {
	name     string
	change   func(f *Facts, w *Wants)
	blockers []string
	warnings []string
	notes    []string
	says     string // is part of a text or hint
	noBack   bool   // no way back then
}

// ruleTests are of two servers; clusterRuleTests of clusters and several servers.
var ruleTests = []ruleTest{
	{name: "the same server", change: func(f *Facts, _ *Wants) { f.Target.RunID = f.Source.RunID; f.Target.DBs = f.Source.DBs },
		blockers: []string{"same-server"}, noBack: true},
	{name: "a Sentinel as the source", change: func(f *Facts, _ *Wants) {
		f.Source.Mode = topology.Sentinel
		f.Source.Monitors = []topology.Monitor{{Name: "orders", Address: "10.0.0.7:6379"}}
	}, blockers: []string{"source-is-sentinel"}, says: "redis://10.0.0.7:6379", noBack: true},
	{name: "a Sentinel as the target", change: func(f *Facts, _ *Wants) { f.Target.Mode = topology.Sentinel },
		blockers: []string{"target-is-sentinel"}, says: "SENTINEL GET-MASTER-ADDR-BY-NAME", noBack: true},
	{name: "too old", change: func(f *Facts, _ *Wants) { f.Source.Version.Major, f.Target.Version.Major = 4, 3 },
		blockers: []string{"source-too-old", "target-too-old"}, noBack: true},

	{name: "the source is a replica", change: func(f *Facts, _ *Wants) {
		f.Source.Replication.Role = topology.Replica
		f.Source.Replication.Upstream = topology.Upstream{Host: "10.0.0.3", Port: 6380}
	}, blockers: []string{"source-is-replica"}, says: "--from redis://10.0.0.3:6380"},
	{name: "the target is a replica of someone", change: func(f *Facts, _ *Wants) { replicaOf(&f.Target, "10.0.0.3", 6380) },
		blockers: []string{"target-is-replica"}, says: "redis-cli -h 10.0.0.2 -p 6379 REPLICAOF NO ONE"},
	{name: "the target is a replica of another migration", change: func(f *Facts, _ *Wants) {
		replicaOf(&f.Target, "10.0.0.3", 6380)
		f.Target.Clients.Godwit = []topology.Peer{{Migration: "users"}, {Migration: "users"}}
	}, blockers: []string{"target-is-replica"}, says: "the migration users"},
	{name: "the target is a replica of another migration of the same name", change: func(f *Facts, _ *Wants) {
		replicaOf(&f.Target, "10.0.0.3", 6380)
		f.Target.Clients.Godwit = []topology.Peer{{Migration: "orders"}}
	}, blockers: []string{"target-is-replica"}, says: "the migration orders"},
	{name: "the target is a replica of the source", change: func(f *Facts, _ *Wants) {
		replicaOf(&f.Target, "10.0.0.1", 6379)
		f.Source.Replication.Replicas = []topology.Downstream{{Address: to}}
	}, blockers: []string{"target-is-replica"}, warnings: []string{"source-replicas"}, says: "of the source already"},
	{name: "the target is attached to our own listener", change: func(f *Facts, _ *Wants) {
		replicaOf(&f.Target, "10.0.0.9", 7777)
		f.Target.DBs = f.Source.DBs
		f.Listener.TargetAddress = "10.0.0.9:7777"
	}},
	{name: "other migrations are connected", change: func(f *Facts, _ *Wants) {
		f.Source.Clients.Godwit = []topology.Peer{{Migration: "users"}, {Migration: "orders"}}
		f.Target.Clients.Godwit = []topology.Peer{{Migration: "users"}, {Migration: "orders"}}
	}, blockers: []string{"target-in-use"}, warnings: []string{"source-in-use"}, says: "godwit abort users"},
	{name: "Sentinels watch both", change: func(f *Facts, _ *Wants) { f.Source.Clients.Sentinels, f.Target.Clients.Sentinels = 3, 1 },
		blockers: []string{"target-sentinels"}, warnings: []string{"source-sentinels"}, says: "3 Sentinels"},
	{name: "both have replicas", change: func(f *Facts, _ *Wants) {
		f.Source.Replication.Replicas = []topology.Downstream{{Address: "10.0.0.5:6379"}}
		f.Target.Replication.Replicas = []topology.Downstream{{Address: "10.0.0.6:6379"}}
	}, warnings: []string{"source-replicas", "target-replicas"}, says: "1 other replica"},
	{name: "failovers under way", change: func(f *Facts, _ *Wants) {
		f.Source.Replication.FailoverState, f.Target.Replication.FailoverState = "waiting-for-sync", "failover-in-progress"
	}, blockers: []string{"source-failing-over", "target-failing-over"}, says: "FAILOVER ABORT"},
	{name: "loading", change: func(f *Facts, _ *Wants) {
		f.Source.Persistence = topology.Persistence{Loading: true, LoadedPerc: 41.7}
		f.Target.Persistence = topology.Persistence{Loading: true}
	}, blockers: []string{"source-loading", "target-loading"}, says: "42 % done"},

	{name: "keys at the target", change: func(f *Facts, _ *Wants) {
		f.Target.DBs = []topology.DB{{Number: 0, Keys: 1}, {Number: 3, Keys: 1999}}
	}, blockers: []string{"target-has-keys"}, says: "2,000 keys in 2 dbs"},
	{name: "functions at the target", change: func(f *Facts, _ *Wants) { f.Target.Libraries = 1 },
		blockers: []string{"target-has-keys"}, says: "1 library of functions"},
	{name: "keys at the target, with --replace", change: func(f *Facts, w *Wants) { f.Target.DBs, w.Replace = []topology.DB{{Keys: 2000}}, true },
		warnings: []string{"target-wiped"}, says: "2,000 keys in db 0"},
	{name: "a db that the target has not", change: func(f *Facts, _ *Wants) {
		f.Source.DBs = append(f.Source.DBs, topology.DB{Number: 20, Keys: 1})
		f.Source.Settings["databases"] = "32"
	}, blockers: []string{"databases"}, says: "databases 32"},
	{name: "a db beyond the default of a target that does not say", change: func(f *Facts, _ *Wants) {
		f.Source.DBs = append(f.Source.DBs, topology.DB{Number: 20, Keys: 1})
		f.Target.Settings = nil
	}, blockers: []string{"databases"}, warnings: []string{"target-settings-unknown"}, says: "databases 21"},
	{name: "fewer dbs", change: func(f *Facts, _ *Wants) { f.Target.Settings["databases"] = "4" },
		warnings: []string{"databases-fewer"}, says: "only 0 to 3"},
	{name: "modules", change: func(f *Facts, _ *Wants) {
		f.Source.Modules = []topology.Module{{Name: "ReJSON"}, {Name: "bf", Version: 1}, {Name: "lua"}, {Name: "search"}}
		f.Target.Modules = []topology.Module{{Name: "bf", Version: 1}}
	},
		blockers: []string{"modules"}, says: "ReJSON and search"},
	{name: "vector sets", change: func(f *Facts, _ *Wants) { f.Source.Modules = []topology.Module{{Name: "vectorset"}} },
		warnings: []string{"later"}, says: "TYPE vectorset"},
	{name: "vector sets, none found where all was looked at", change: func(f *Facts, _ *Wants) {
		f.Source.Modules = []topology.Module{{Name: "vectorset"}}
		f.Source.Survey = &topology.Survey{Samples: map[rdb.Feature]topology.Sample{rdb.FeatureVectorSet: {Whole: true}}}
	}, notes: []string{"unused"}, says: "the target has no vector sets; the source has none either"},
	{name: "vector sets, none found in a part", change: func(f *Facts, _ *Wants) {
		f.Source.Modules = []topology.Module{{Name: "vectorset"}}
		f.Source.Survey = &topology.Survey{Samples: map[rdb.Feature]topology.Sample{rdb.FeatureVectorSet: {}}}
	}, warnings: []string{"later"}, says: "--drop vector-set"},
	{name: "vector sets, found", change: func(f *Facts, _ *Wants) {
		f.Source.Modules = []topology.Module{{Name: "vectorset"}}
		f.Source.Survey = &topology.Survey{Calls: map[string]int64{"VADD": 5}, Samples: map[rdb.Feature]topology.Sample{rdb.FeatureVectorSet: {Found: 3, DB: 2, Key: "similar"}}}
	}, blockers: []string{"vector-set"}, says: `at least 3 vector sets, such as key "similar" of db 2`},
	{name: "vector sets, found and left out", change: func(f *Facts, w *Wants) {
		f.Source.Modules = []topology.Module{{Name: "vectorset"}}
		f.Source.Survey = &topology.Survey{Calls: map[string]int64{"VADD": 5}, Samples: map[rdb.Feature]topology.Sample{rdb.FeatureVectorSet: {Found: 3, Whole: true}}}
		w.Drop = []rdb.Feature{rdb.FeatureVectorSet}
	}, warnings: []string{"dropped"}, says: "counted: vector-set (--drop)"},
	{name: "producers of streams", change: func(f *Facts, _ *Wants) {
		f.Source, f.Target = redis86(from), redis80(to)
		f.Source.Modules, f.Target.Modules = []topology.Module{{Name: "vectorset"}}, []topology.Module{{Name: "vectorset"}}
		f.Source.Survey = &topology.Survey{Samples: map[rdb.Feature]topology.Sample{
			rdb.FeatureStreamIDMP: {Found: 1, Key: "events", Whole: true}, rdb.FeatureVectorSet: {Whole: true},
		}}
	}, blockers: []string{"stream-producers"}, notes: []string{"snapshot-rewritten", "stream-commands", "unused"}, says: `1 stream that remembers producers of XADD IDMP, such as key "events" of db 0`},
	{name: "commands that were used", change: func(f *Facts, _ *Wants) {
		f.Source = redis80(from)
		f.Source.Survey = &topology.Survey{Calls: map[string]int64{"HEXPIRE": 12, "HGETEX": 1, "GET": 1000}}
	}, warnings: []string{"used-commands"}, notes: []string{"snapshot-rewritten", "stream-commands"}, says: "HEXPIRE (12 calls) and HGETEX (1 call)"},
	{name: "libraries that were loaded", change: func(f *Facts, w *Wants) {
		f.Target, w.RollbackWindow = redis60(to), 0
		f.Source.Survey = &topology.Survey{Calls: map[string]int64{"FUNCTION|LOAD": 2}}
	}, warnings: []string{"used-commands"}, notes: []string{"snapshot-rewritten", "stream-commands", "unused"}, says: "FUNCTION LOAD (2 calls)", noBack: true},
	{name: "functions that call server.*", change: func(f *Facts, _ *Wants) {
		f.Source, f.Target = valkey81(from), redis70(to)
		f.Source.Libraries = 2
		f.Source.Survey = &topology.Survey{Libraries: []topology.Library{{Name: "mine", Engine: "LUA", Server: true}, {Name: "yours", Engine: "LUA"}}}
	}, blockers: []string{"functions-server"}, notes: []string{"snapshot-rewritten", "stream-commands"}, says: "the target (Redis 7.0.0) does not have: mine"},
	{name: "modules at another version", change: func(f *Facts, w *Wants) {
		f.Source.Modules = []topology.Module{{Name: "ReJSON", Version: 20609}, {Name: "bf", Version: 1}, {Name: "lua", Version: 1}, {Name: "search", Version: 1}}
		f.Target.Modules = []topology.Module{{Name: "ReJSON", Version: 20804}, {Name: "bf", Version: 1}, {Name: "lua", Version: 2}, {Name: "search", Version: 2}}
		w.AcceptModules = []string{"search"}
	},
		blockers: []string{"modules-version"}, warnings: []string{"modules-accepted"}, says: "ReJSON (version 20609 at the source, 20804 at the target)"},
	{name: "modules left out", change: func(f *Facts, w *Wants) {
		f.Source.Modules, w.Drop = []topology.Module{{Name: "ReJSON"}, {Name: "bf", Version: 1}, {Name: "vectorset"}}, []rdb.Feature{rdb.FeatureModule}
		f.Target.Modules = []topology.Module{{Name: "bf", Version: 2}, {Name: "vectorset"}}
	},
		warnings: []string{"dropped", "dropped-back", "modules-dropped"}, says: "to ordinary keys too: ReJSON and bf (--drop module)"},
	{name: "modules left out on the way back", change: func(f *Facts, w *Wants) {
		f.Target.Modules, w.Drop = []topology.Module{{Name: "bf", Version: 1}}, []rdb.Feature{rdb.FeatureModule}
	},
		warnings: []string{"dropped-back"}, says: "on the way back module is left out"},
	{name: "modules that are at both", change: func(f *Facts, w *Wants) {
		f.Source.Modules, w.Drop = []topology.Module{{Name: "bf", Version: 1}}, []rdb.Feature{rdb.FeatureModule}
		f.Target.Modules = f.Source.Modules
	},
		notes: []string{"drop-needless"}, says: "--drop module leaves nothing out"},
	{name: "modules at another version, accepted", change: func(f *Facts, w *Wants) {
		f.Source.Modules, f.Target.Modules = []topology.Module{{Name: "bf", Version: 1}}, []topology.Module{{Name: "bf", Version: 2}}
		w.AcceptModules = []string{"bf"}
	},
		warnings: []string{"modules-accepted"}, says: "bf (version 1 at the source, 2 at the target) (--accept-module)"},
	{name: "functions", change: func(f *Facts, w *Wants) {
		f.Source.Libraries, f.Target = 2, redis60(to)
		w.RollbackWindow = 0
		f.Source.Survey = &topology.Survey{Libraries: []topology.Library{{Name: "mine"}, {Name: "yours"}}}
	}, blockers: []string{"functions"}, notes: []string{"snapshot-rewritten", "stream-commands", "unused"}, says: "2 libraries of functions (mine and yours)", noBack: true},
	{name: "functions, left out", change: func(f *Facts, w *Wants) {
		f.Source.Libraries, f.Target = 2, redis60(to)
		w.RollbackWindow, w.Drop = 0, []rdb.Feature{rdb.FeatureFunction, rdb.FeatureVectorSet}
	}, warnings: []string{"dropped", "later"}, notes: []string{"snapshot-rewritten", "stream-commands", "drop-needless"}, says: "counted: function (--drop)", noBack: true},
	{name: "left out on the way back", change: func(f *Facts, w *Wants) {
		f.Target, w.Drop = redis80(to), []rdb.Feature{rdb.FeatureHashFieldTTL}
		f.Target.Modules = []topology.Module{{Name: "vectorset"}}
	}, warnings: []string{"way-back-commands", "dropped-back"}, says: "(TTLs on fields of hashes, vector sets and options of some commands)"},
	{name: "the source alone persists", change: func(f *Facts, _ *Wants) { f.Source.Settings["save"] = "3600 1" },
		warnings: []string{"target-not-persistent"}, says: `save "3600 1"`},
	{name: "the target alone persists", change: func(f *Facts, _ *Wants) { f.Target.Persistence.AOF = true },
		notes: []string{"target-persists"}},
	{name: "the source is saving", change: func(f *Facts, _ *Wants) { f.Source.Persistence.Saving = true },
		notes: []string{"source-saving"}},

	{name: "no room", change: func(f *Facts, _ *Wants) { f.Target.Memory.Max = 99 << 20 },
		blockers: []string{"target-memory"}, says: "CONFIG SET maxmemory 131072000"},
	{name: "little room", change: func(f *Facts, _ *Wants) { f.Target.Memory.Max = 105 << 20 },
		warnings: []string{"target-memory-tight"}},
	{name: "a small machine", change: func(f *Facts, _ *Wants) { f.Target.Memory.System = 50 << 20 },
		warnings: []string{"target-machine-memory"}},
	{name: "the target evicts", change: func(f *Facts, _ *Wants) { f.Target.Memory.Max, f.Target.Memory.Policy = 1<<30, "volatile-lru" },
		warnings: []string{"target-evicts"}, says: "maxmemory-policy noeviction"},
	{name: "a policy without a limit", change: func(f *Facts, _ *Wants) { f.Target.Memory.Policy = "allkeys-lru" }},
	{name: "the target evicts as a replica", change: func(f *Facts, _ *Wants) {
		f.Target.Memory.Max, f.Target.Memory.Policy = 1<<30, "allkeys-lru"
		f.Target.Settings["replica-ignore-maxmemory"] = "no"
	}, blockers: []string{"target-evicts-stream"}, warnings: []string{"target-evicts"}, says: "replica-ignore-maxmemory yes"},
	{name: "the target refuses as a replica", change: func(f *Facts, _ *Wants) {
		f.Target.Memory.Max, f.Target.Memory.Policy = 1<<30, "noeviction"
		f.Target.Settings["replica-ignore-maxmemory"] = "no"
	}, warnings: []string{"target-refuses-stream"}, says: "replica-ignore-maxmemory yes"},
	{name: "maxmemory counts for the target as a replica, but there is none", change: func(f *Facts, _ *Wants) {
		f.Target.Settings["replica-ignore-maxmemory"], f.Source.Settings["replica-ignore-maxmemory"] = "no", "no"
	}},
	{name: "the source evicts as a replica", change: func(f *Facts, _ *Wants) {
		f.Source.Memory.Max, f.Source.Memory.Policy = 1<<30, "allkeys-lru"
		f.Source.Settings["replica-ignore-maxmemory"] = "no"
	}, warnings: []string{"way-back-memory"}, says: "evict keys by itself"},
	{name: "the source refuses as a replica, but there is no way back", change: func(f *Facts, w *Wants) {
		f.Source.Memory.Max, f.Source.Memory.Policy = 1<<30, "noeviction"
		f.Source.Settings["replica-ignore-maxmemory"] = "no"
		w.RollbackWindow = 0
	}, noBack: true},
	{name: "the source evicts", change: func(f *Facts, _ *Wants) { f.Source.Memory.Max, f.Source.Memory.Policy = 101<<20, "allkeys-lru" },
		warnings: []string{"source-evicts"}, says: "at 99 %"},
	{name: "a fork may not fit", change: func(f *Facts, _ *Wants) { f.Source.Memory.System = 150 << 20 },
		warnings: []string{"source-fork-memory"}},

	{name: "newer to older", change: func(f *Facts, _ *Wants) { f.Source = redis80(from) },
		notes: []string{"snapshot-rewritten", "stream-commands"}, warnings: []string{"later"}, says: "RDB version 12"},
	{name: "newer than godwit to older", change: func(f *Facts, _ *Wants) { f.Source.RDBVersion = 14 },
		blockers: []string{"snapshot-unknown"}, notes: []string{"stream-commands"}, says: "RDB version 14"},
	{name: "both newer than godwit", change: func(f *Facts, _ *Wants) { f.Source.RDBVersion, f.Target.RDBVersion = 14, 14 }},
	{name: "Redis 8.6 to Valkey 9.1", change: func(f *Facts, _ *Wants) { f.Source, f.Target = redis86(from), valkey91(to) },
		notes: []string{"snapshot-rewritten", "stream-commands"}, warnings: []string{"later", "way-back-commands"}},
	{name: "Redis 7.0 to Valkey 8.1", change: func(f *Facts, _ *Wants) { f.Target = valkey81(to) },
		warnings: []string{"way-back-commands"}},
	{name: "Redis 6.0 to 7.0", change: func(f *Facts, _ *Wants) { f.Source = redis60(from) },
		warnings: []string{"later", "way-back-commands"}, says: "no equal"},
	{name: "Redis 6.0 to 7.0, with searches that may store", change: func(f *Facts, _ *Wants) {
		f.Source = redis60(from)
		f.Source.Survey = &topology.Survey{Calls: map[string]int64{"GEORADIUS": 3}}
	}, warnings: []string{"later", "way-back-commands"}, says: "stored searches by distance"},
	{name: "Redis 6.0 to 7.0, without", change: func(f *Facts, _ *Wants) {
		f.Source = redis60(from)
		f.Source.Survey = &topology.Survey{Calls: map[string]int64{"GEOADD": 3}}
	}, warnings: []string{"way-back-commands"}, notes: []string{"unused"}, says: "stored searches by distance"},
	{name: "Valkey 8.1 to 9.1: the old one loads what the new one writes for it", change: func(f *Facts, _ *Wants) { f.Source, f.Target = valkey81(from), valkey91(to) },
		warnings: []string{"way-back-commands"}},
	{name: "Valkey 9.1 to 8.1", change: func(f *Facts, _ *Wants) { f.Source, f.Target = valkey91(from), valkey81(to) },
		warnings: []string{"later"}, notes: []string{"snapshot-rewritten", "stream-commands"}},
	{name: "Valkey 9.1 to 8.1 with field TTLs", change: func(f *Facts, _ *Wants) {
		f.Source, f.Target = valkey91(from), valkey81(to)
		f.Source.DBs = []topology.DB{{Keys: 5, FieldExpires: 3}}
	}, blockers: []string{"field-ttl"}, notes: []string{"snapshot-rewritten", "stream-commands"}, says: "3 hashes"},
	{name: "Redis 8.0 to Redict 7.3 with field TTLs", change: func(f *Facts, _ *Wants) {
		f.Source, f.Target = redis80(from), redict73(to)
		f.Source.DBs = []topology.DB{{Keys: 5, FieldExpires: 1}}
	}, blockers: []string{"field-ttl"}, warnings: []string{"way-back-commands"}, notes: []string{"snapshot-rewritten", "stream-commands"}, says: "1 hash"},
	{name: "Valkey 9.1 to a Redis that has field TTLs of another kind", change: func(f *Facts, _ *Wants) {
		f.Source, f.Target = valkey91(from), redis80(to)
		f.Source.DBs = []topology.DB{{Keys: 5, FieldExpires: 1}}
	}, warnings: []string{"way-back-commands"}, notes: []string{"snapshot-rewritten", "stream-commands"}},

	{name: "the target would refuse writes", change: func(f *Facts, _ *Wants) { f.Target.Settings["min-replicas-to-write"] = "1" },
		blockers: []string{"target-min-replicas"}, says: "min-replicas-to-write 0"},
	{name: "min-replicas-to-write without effect", change: func(f *Facts, _ *Wants) {
		f.Target.Settings["min-replicas-to-write"], f.Target.Settings["min-replicas-max-lag"] = "1", "0"
	}},
	{name: "a fence that does not hold", change: func(f *Facts, w *Wants) {
		f.Source = redis60(from)
		f.Source.Settings["min-replicas-max-lag"] = "0"
		w.RollbackWindow = 0
	}, blockers: []string{"fence-lag"}, says: "min-replicas-max-lag 10", warnings: []string{"later"}, noBack: true},
	{name: "a small output buffer", change: func(f *Facts, _ *Wants) { f.Source.Settings["client-output-buffer-limit"] = "slave 16777216 0 0" },
		warnings: []string{"source-output-buffer"}, says: "'replica 1073741824 536870912 300'"},
	{name: "an output buffer that the writes fill", change: func(f *Facts, _ *Wants) {
		f.Source.Traffic.InputBytes, f.Source.Memory.Used = 10<<20, 8<<30
		f.Source.Replication.Backlog.Size = 1 << 30
	}, warnings: []string{"source-output-buffer"}},
	{name: "a small backlog", change: func(f *Facts, _ *Wants) { f.Source.Traffic.InputBytes = 100 << 10 },
		warnings: []string{"source-backlog"}, says: "only 10 s"},
	{name: "a delay", change: func(f *Facts, _ *Wants) {
		f.Source.Settings["repl-diskless-sync"], f.Source.Settings["repl-diskless-sync-delay"] = "yes", "5"
	}, notes: []string{"source-sync-delay"}},
	{name: "writable replicas", change: func(f *Facts, _ *Wants) {
		f.Source.Settings["replica-read-only"], f.Target.Settings["replica-read-only"] = "no", "no"
	}, blockers: []string{"source-replica-writable", "target-replica-writable"}},
	{name: "short timeouts", change: func(f *Facts, _ *Wants) {
		f.Source.Settings["repl-timeout"], f.Target.Settings["repl-timeout"] = "5", "2"
	}, warnings: []string{"source-repl-timeout", "target-repl-timeout"}},

	{name: "the listener is out of reach", change: func(f *Facts, _ *Wants) {
		f.Listener = Listener{TargetAddress: "10.0.0.9:7777", Unreachable: "no connection within 5s"}
	}, blockers: []string{"listener-unreachable"}, says: "10.0.0.9:7777: no connection within 5s"},
	{name: "translated addresses", change: func(f *Facts, _ *Wants) {
		f.Source.SeenFrom = netip.MustParseAddrPort("203.0.113.1:5000")
		f.Target.SeenFrom = netip.MustParseAddrPort("[::ffff:10.0.0.9]:5000")
	}, warnings: []string{"source-listener-translated"}, says: "--announce"},
	{name: "translated addresses of the target", change: func(f *Facts, _ *Wants) {
		f.Target.SeenFrom = netip.MustParseAddrPort("203.0.113.1:5000")
	}, warnings: []string{"target-listener-translated"}},
	{name: "an address is given", change: func(f *Facts, w *Wants) {
		f.Target.SeenFrom, w.Announce = netip.MustParseAddrPort("203.0.113.1:5000"), "203.0.113.1:7777"
	}},
	{name: "TLS replication without a certificate", change: func(f *Facts, _ *Wants) {
		f.Source.Settings["tls-replication"], f.Target.Settings["tls-replication"] = "yes", "yes"
	}, blockers: []string{"source-tls-replication", "target-tls-replication"}, says: "--listener-cert"},
	{name: "TLS replication with one", change: func(f *Facts, _ *Wants) {
		f.Target.Settings["tls-replication"], f.Listener.Certificate = "yes", true
	}},

	{name: "no PSYNC at the source", change: deny("source", topology.Psync), blockers: []string{"source-permission"}, says: "ACL SETUSER default +psync", noBack: true},
	{name: "no REPLICAOF at the target", change: deny("target", topology.ReplicaOf), blockers: []string{"target-permission"}, says: "ACL SETUSER default +replicaof"},
	{name: "REPLICAOF renamed at the target", change: func(f *Facts, _ *Wants) { f.Target.Permissions[topology.ReplicaOf] = topology.Missing },
		blockers: []string{"target-permission"}, says: "rename-command"},
	{name: "no FAILOVER at the source", change: deny("source", topology.Failover), warnings: []string{"failover-refused"}, says: "+failover"},
	{name: "neither FAILOVER nor CONFIG SET at the source", change: deny("source", topology.Failover, topology.ConfigSet),
		blockers: []string{"source-permission"}, warnings: []string{"failover-refused"}, says: "the cutover cannot be made", noBack: true},
	{name: "no CONFIG SET before 6.2", change: func(f *Facts, w *Wants) {
		f.Source = redis60(from)
		deny("source", topology.ConfigSet)(f, w)
		w.RollbackWindow = 0
	}, blockers: []string{"source-permission"}, warnings: []string{"later"}, noBack: true},
	{name: "no CONFIG SET before 6.2, but never a cutover", change: func(f *Facts, w *Wants) {
		f.Source = redis60(from)
		deny("source", topology.ConfigSet)(f, w)
		w.CopyOnly = true
	}, warnings: []string{"later"}, noBack: true},
	{name: "no CONFIG SET", change: deny("both", topology.ConfigSet), warnings: []string{"source-permission", "target-permission"}, says: "one-time masterauth"},
	{name: "no CLIENT KILL", change: deny("source", topology.ClientKill), warnings: []string{"source-permission"}, says: "'+client|kill'"},
	{name: "no CLIENT KILL, and none wanted", change: func(f *Facts, w *Wants) { deny("source", topology.ClientKill)(f, w); w.NoKill = true }},
	{name: "no PSYNC at the target", change: deny("target", topology.Psync), warnings: []string{"target-permission"}, says: "a rollback is not possible", noBack: true},
	{name: "no PSYNC at the target, and no way back wanted", change: func(f *Facts, w *Wants) { deny("target", topology.Psync)(f, w); w.RollbackWindow = 0 }, noBack: true},
	{name: "neither FAILOVER nor CONFIG SET at the target", change: deny("target", topology.Failover, topology.ConfigSet),
		warnings: []string{"target-permission"}, says: "a rollback is not possible", noBack: true},
	{name: "nobody knows", change: func(f *Facts, _ *Wants) {
		delete(f.Source.Permissions, topology.Psync)
		delete(f.Target.Permissions, topology.Psync)
	},
		warnings: []string{"source-permission-unknown", "target-permission-unknown"}, says: "ACL GETUSER default"},
	{name: "nothing is shown", change: func(f *Facts, w *Wants) {
		deny("both", topology.ConfigGet, topology.ClientList)(f, w)
		for _, n := range []*topology.Node{&f.Source, &f.Target} {
			n.Settings, n.Clients.Unlisted = nil, true
		}
	}, warnings: []string{"source-permission", "target-permission", "source-settings-unknown", "target-settings-unknown", "source-clients-unknown", "target-clients-unknown"}, says: "'+client|list'"},

	{name: "no comparison by snapshots, and none asked for", change: func(f *Facts, w *Wants) {
		deny("target", topology.Psync)(f, w)
		w.RollbackWindow = 0
	}, noBack: true, says: "  verify    by SCAN and DUMP of both sides; not by snapshots: the target: PSYNC is not permitted to user default; when you ask: godwit verify"},
	{name: "no comparison by snapshots before the cutover", change: func(f *Facts, w *Wants) {
		deny("target", topology.Replconf)(f, w)
		w.RollbackWindow, w.Verify = 0, true
	}, noBack: true, warnings: []string{"verify-by-scan"}, says: "ACL SETUSER default +replconf"},
	{name: "little room for the target's fork", change: func(f *Facts, w *Wants) {
		f.Source.Memory.Used, f.Target.Memory.System, w.Verify = 10<<30, 12<<30, true
	}, warnings: []string{"source-fork-memory", "target-fork-memory"}, says: "the target will use 10.0 GiB of its machine's 12.0 GiB"},
	{name: "little room for the target's fork, which nothing asks for", change: func(f *Facts, _ *Wants) {
		f.Source.Memory.Used, f.Target.Memory.System = 8<<30, 12<<30
	}, says: "when you ask: godwit verify"},
}

func replicaOf(n *topology.Node, host string, port int) {
	n.Replication.Role = topology.Replica
	n.Replication.Upstream = topology.Upstream{Host: host, Port: port, Link: "up"}
}

func deny(where string, commands ...topology.Command) func(*Facts, *Wants) {
	return func(f *Facts, _ *Wants) {
		for _, c := range commands {
			if where != "target" {
				f.Source.Permissions[c] = topology.Denied
			}
			if where != "source" {
				f.Target.Permissions[c] = topology.Denied
			}
		}
	}
}

func TestRules(t *testing.T) {
	for _, test := range slices.Concat(ruleTests, clusterRuleTests) {
		t.Run(test.name, func(t *testing.T) {
			f, w := healthy()
			test.change(&f, &w)
			p := Make(f, w)
			for _, c := range []struct {
				kind      string
				got, want []string
			}{{"blockers", codes(p.Blockers), test.blockers}, {"warnings", codes(p.Warnings), test.warnings}, {"notes", codes(p.Notes), test.notes}} {
				slices.Sort(c.got)
				slices.Sort(c.want)
				if !slices.Equal(c.got, c.want) {
					t.Errorf("%s %v, want %v", c.kind, c.got, c.want)
				}
			}
			for _, b := range p.Blockers {
				if b.Hint == "" {
					t.Errorf("blocker %s has no hint", b.Code)
				}
			}
			var text strings.Builder
			if err := p.WriteText(&text); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(text.String(), test.says) {
				t.Errorf("no %q in:\n%s", test.says, text.String())
			}
			if !p.Refused() && p.WayBack == test.noBack {
				t.Errorf("way back %v: %s", p.WayBack, p.WayBackReason)
			}
			if (len(p.Steps) == 0) != (len(p.Blockers) > 0 && !p.WayBack && test.noBack && p.WayBackReason == "the migration cannot be made") {
				t.Errorf("%d steps", len(p.Steps))
			}
		})
	}
}

// TestEveryRuleIsTested keeps the table complete.
func TestEveryRuleIsTested(t *testing.T) {
	tested := make(map[string]bool)
	for _, test := range slices.Concat(ruleTests, clusterRuleTests) {
		for _, code := range slices.Concat(test.blockers, test.warnings, test.notes) {
			tested[code] = true
		}
	}
	f, w := healthy()
	for _, rules := range ruleGroups(newInput(f, w)) {
		for _, r := range rules {
			if !tested[r.code] {
				t.Errorf("no test finds %s", r.code)
			}
		}
	}
}

func mapped(flags string) route.Route {
	r, err := route.Parse(strings.Fields(flags))
	if err != nil {
		panic(err)
	}
	return r
}
