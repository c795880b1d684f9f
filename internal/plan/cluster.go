package plan

import (
	"fmt"
	"strings"

	"godwit/internal/server"
	"godwit/internal/topology"
)

// toCluster tells whether the target is a cluster.
func (in *input) toCluster() bool { return in.Cluster != nil }

// engine is the fastest that is possible, and why.
func (in *input) engine() (name, why string) {
	if in.joint() {
		return Apply, fmt.Sprintf("godwit is a replica of %s, and writes what they replicate to the target: no server can be the replica of several",
			count(int64(len(in.Sources)), "primary", "primaries"))
	}
	if in.toCluster() {
		return Apply, fmt.Sprintf("godwit is a replica of the source, and writes what it replicates to the %s of the cluster: a cluster's primaries cannot be replicas of anything else",
			count(int64(len(in.Shards)), "shard", "shards"))
	}
	return Relay, "godwit is a replica of the source and the primary of the target"
}

// Together is a cluster as the rules about a target look at it: the oldest of its
// primaries, with what all of them hold.
func Together(shards []topology.Node) topology.Node {
	all := shards[0]
	for _, n := range shards {
		if all.Version.AtLeast(n.Version.Major, n.Version.Minor) && n.Version != all.Version {
			all = n
		}
	}
	all.Memory.Used, all.Memory.Max, all.DBs, all.Clients.Godwit = 0, 0, nil, nil
	unlimited := false
	keys := make(map[int]topology.DB)
	for _, n := range shards {
		all.Memory.Used += n.Memory.Used
		all.Memory.Max += n.Memory.Max
		unlimited = unlimited || n.Memory.Max == 0
		all.Clients.Godwit = append(all.Clients.Godwit, n.Clients.Godwit...)
		for _, db := range n.DBs {
			sum := keys[db.Number]
			sum.Number = db.Number
			sum.Keys += db.Keys
			sum.Expires += db.Expires
			keys[db.Number] = sum
		}
	}
	if unlimited {
		all.Memory.Max = 0
	}
	for number := 0; len(all.DBs) < len(keys); number++ {
		if db, ok := keys[number]; ok {
			all.DBs = append(all.DBs, db)
		}
	}
	return all
}

// ofReplica tells of a rule that only concerns a target which becomes a replica.
func ofReplica(code string) bool {
	switch code {
	case "target-is-replica", "target-replicas", "target-replica-writable", "target-tls-replication", "target-repl-timeout",
		"target-evicts-stream", "target-refuses-stream", "databases", "databases-fewer", "listener-unreachable",
		"target-listener-translated", "target-machine-memory", "target-fork-memory":
		return true
	default:
		return false
	}
}

// clusterRules see that a cluster can take what the source has.
func clusterRules() []rule {
	return []rule{
		{"cluster-unserved", blocker, func(in *input) (string, string) {
			if !in.toCluster() || len(in.Cluster.Unserved()) == 0 {
				return "", ""
			}
			missing := in.Cluster.Unserved()
			return fmt.Sprintf("%d slots of the target have no primary (%s): their keys have nowhere to go", topology.CountSlots(missing), topology.FormatSlots(missing, 60)),
				"redis-cli --cluster fix " + in.Target.Endpoint.Address + " (and redis-cli --cluster check, to see how it is)"
		}},
		{"cluster-moving", warning, func(in *input) (string, string) {
			if !in.toCluster() || len(in.Cluster.Moves) == 0 {
				return "", ""
			}
			return "slots of the target are on the move: godwit follows them, but the copy waits for keys that are between two shards", "let the move end first"
		}},
		{"cluster-modules", blocker, func(in *input) (string, string) {
			if !in.toCluster() {
				return "", ""
			}
			for _, n := range in.Shards {
				for _, m := range n.MissingModules(in.Source) {
					if len(in.Target.MissingModules(in.Source)) == 0 {
						return fmt.Sprintf("the shard %s lacks the module %s", n.Endpoint.Address, m.Name), "load it at every node of the cluster"
					}
				}
			}
			return "", ""
		}},
		{"shard-memory", warning, func(in *input) (string, string) {
			if !in.toCluster() {
				return "", ""
			}
			share := in.Source.Memory.Used / int64(len(in.Shards))
			for _, n := range in.Shards {
				if n.Memory.Max > 0 && n.Memory.Max < share+share/4 {
					return fmt.Sprintf("the shard %s has a maxmemory of %s, and its share of the data is about %s", n.Endpoint.Address, bytes(n.Memory.Max), bytes(share)),
						n.CLI("CONFIG", "SET", "maxmemory", fmt.Sprint(share*2))
				}
			}
			return "", ""
		}},
		{"shard-versions", note, func(in *input) (string, string) {
			if !in.toCluster() {
				return "", ""
			}
			for _, n := range in.Shards {
				if n.Version != in.Target.Version {
					return fmt.Sprintf("the shards are of several versions (%s and %s): everything is said as the oldest knows it", in.Target.Version, n.Version), ""
				}
			}
			return "", ""
		}},
		{"cluster-clients", warning, func(in *input) (string, string) {
			if !in.toCluster() || in.CopyOnly || in.joint() {
				return "", ""
			}
			return "clients of the source must become clients of a cluster at the cutover: those that do not follow redirections, and commands with keys of several slots, fail there",
				"see which of the live traffic would: godwit audit " + in.Source.URL + " --for 60s"
		}},
	}
}

// moveSteps lists what will be sent for the sake of slots that are moved at once while the
// target, a cluster of Valkey, takes no client's writes.
func (in *input) moveSteps() []Step {
	if v := in.Target.Version; !in.toCluster() || v.Product != server.Valkey || !v.AtLeast(9, 0) {
		return nil
	}
	return []Step{{
		Phase: copying, Server: "target", Address: in.Target.Endpoint.Address, Command: "CONFIG SET masteruser godwit:" + in.Name + ":nodes",
		Why: "every primary, and masterauth where there is none: slots go on being movable by CLUSTER MIGRATESLOTS; as they were when the target serves, and at the end",
	}}
}

// applySteps lists what will be sent where the target is a cluster.
func (in *input) applySteps(back bool) []Step {
	source := in.source()
	shard := func(phase, command, why string) Step {
		return Step{Phase: phase, Server: "target", Address: in.Target.Endpoint.Address, Command: command, Why: why}
	}
	user := "godwit:" + in.Name
	steps := []Step{shard(copying, "ACL SETUSER "+user+" on >*** allkeys +@all", "at every node: by this user godwit writes"),
		shard(copying, "ACL SETUSER … -@write", "every other user, at every node, as at a replica: no client writes there before the source has refused the last one")}
	steps = append(steps, in.moveSteps()...)
	if holdings(in.Target) != "" {
		steps = append(steps, shard(copying, "FLUSHALL", "every shard (--replace)"))
	}
	steps = append(steps,
		at(source, copying, "PSYNC ? -1", "to the source godwit is a replica; it forks once and sends its snapshot, then every write"),
		shard(copying, "SET key value; RESTORE key ttl value", count(in.Source.Keys(), "key", "keys")+", each to the shard of its slot; what is written meanwhile waits in the spool"),
		shard(following, "CONFIG SET notify-keyspace-events", "every shard tells which keys it lets go of by itself; as it was at the end"),
		shard(following, "EVALSHA", "batches of the source's commands for each shard; a batch ends with its own checkpoint godwit:"+in.Name+":*, so none is carried out twice"),
		at(source, following, "REPLCONF ACK offset", "acknowledged is what every shard has, so INFO and WAIT at the source tell the truth about them"))
	if in.CopyOnly {
		return steps
	}
	steps = append(steps, in.verifySteps()...)
	host, port := in.listenerFor(source)
	steps = append(steps, in.armSteps(source, switching)...)
	if back {
		steps = append(steps, shard(switching, "PSYNC replid offset", "of every shard, from its present offset: the way back"))
	}
	if in.method == Failover {
		steps = append(steps,
			at(source, switching, fmt.Sprintf("FAILOVER TO %s %s TIMEOUT %d", host, port, in.MaxPause.Milliseconds()), "writes pause; should anything be late, they go on as before"),
			shard(switching, "(applies the rest)", "until every shard has the last write; each answer is ACKed to the source"),
			at(source, switching, "(demotes itself: PSYNC replid offset FAILOVER)", "the commit: it refuses writes from here on"))
	} else {
		steps = append(steps,
			at(source, switching, "CONFIG SET min-replicas-to-write 1073741824", "writes are refused, even should godwit die"),
			shard(switching, "(applies the rest)", fmt.Sprintf("until every shard has the last write; after %v at most it is given up", in.MaxPause)),
			at(source, switching, "REPLICAOF "+host+" "+port, "the commit: it refuses writes from here on"))
	}
	steps = append(steps, shard(switching, "ACL SETUSER … (as it was)", "clients may write to the cluster"))
	if !in.NoKill {
		steps = append(steps, at(source, switching, "CLIENT KILL TYPE normal", "clients connect again: to the cluster"))
	}
	if back {
		steps = append(steps, at(source, switched, "MULTI, commands, EXEC", "what is written to the shards, in transactions of the source's replication stream: the way back is open"))
	}
	return append(steps,
		at(source, completed, "(stays a read-only replica of nobody)", "it cannot replicate from a cluster; "+source.CLI("REPLICAOF", "NO", "ONE")+" frees it"),
		shard(completed, "DEL godwit:"+in.Name+":*", "checkpoints and godwit's user go, and settings that were touched are as before"))
}

// picture is the slots of a cluster.
func picture(c *topology.ClusterMap) string {
	const width = 72
	var b strings.Builder
	for i, s := range c.Shards() {
		if topology.CountSlots(s.Primary.Slots) > 0 {
			fmt.Fprintf(&b, "  %s  %s, %s, %s\n", topology.Letters(i), s.Primary.Address,
				count(int64(topology.CountSlots(s.Primary.Slots)), "slot", "slots"), count(int64(len(s.Replicas)), "replica", "replicas"))
		}
	}
	for line := range strings.Lines(c.DrawSlots(width, nil)) {
		b.WriteString("  " + line)
	}
	return b.String()
}
