package plan

import (
	"fmt"
	"maps"
	"slices"

	"godwit/internal/rdb"
	"godwit/internal/topology"
)

// joint tells whether several primaries hand over together: those of a cluster, or servers
// among which clients have divided their keys. Both sides are then fenced alike.
func (in *input) joint() bool { return len(in.Sources) > 0 }

// severalServers tells whether they are servers that know nothing of each other.
func (in *input) severalServers() bool { return in.joint() && in.SourceCluster == nil }

// apart tells that nobody but their clients knows which of them has a key.
func (in *input) apart() bool { return in.severalServers() && in.ShardBy == "" }

// joined are all sources as the rules look at one.
func joined(sources []topology.Node) topology.Node {
	all := Together(sources)
	all.Memory.System = 0 // each has a machine of its own, perhaps
	all.Survey = nil
	for _, n := range sources {
		if n.Survey == nil {
			return all
		}
		if all.Survey == nil {
			all.Survey = &topology.Survey{Calls: map[string]int64{}, Libraries: n.Survey.Libraries, Samples: maps.Clone(n.Survey.Samples)}
		} else {
			addSamples(all.Survey.Samples, n.Survey.Samples)
		}
		for command, calls := range n.Survey.Calls {
			all.Survey.Calls[command] += calls
		}
	}
	return all
}

func addSamples(sum, more map[rdb.Feature]topology.Sample) {
	for f, s := range more {
		was, taken := sum[f]
		switch {
		case !taken:
			delete(sum, f)
		case was.Found == 0:
			s.Whole = s.Whole && was.Whole
			sum[f] = s
		default:
			was.Found, was.Whole = was.Found+s.Found, was.Whole && s.Whole
			sum[f] = was
		}
	}
}

// ofHandover tells of a rule about how one standalone primary is demoted, or about what
// it is as a replica of godwit afterwards.
func ofHandover(code string) bool {
	switch code {
	case "source-replicas", "source-replica-writable", "source-tls-replication", "source-listener-translated",
		"fence-lag", "failover-refused", "way-back-memory", "source-is-replica":
		return true
	default:
		return false
	}
}

// skips tells whether a rule does not concern this migration.
func (in *input) skips(code string) bool {
	switch {
	case in.toCluster():
		return ofReplica(code) || in.joint() && ofHandover(code)
	case !in.joint():
		return false
	}
	switch code {
	case "target-is-replica", "databases", "databases-fewer", "target-replicas":
		return false
	}
	return ofReplica(code) || ofHandover(code)
}

// jointRules see that several primaries can hand over together.
func jointRules() []rule {
	return []rule{
		{"source-shared", blocker, func(in *input) (string, string) {
			for _, s := range in.Sources {
				if slices.ContainsFunc(in.Shards, func(t topology.Node) bool { return s.RunID != "" && s.RunID == t.RunID }) {
					return s.Endpoint.Address + " is of the source and of the target", "name two deployments that have no server in common"
				}
			}
			return "", ""
		}},
		{"source-twice", blocker, func(in *input) (string, string) {
			for i, s := range in.Sources {
				if j := slices.IndexFunc(in.Sources, func(x topology.Node) bool { return x.RunID == s.RunID }); s.RunID != "" && j < i {
					return fmt.Sprintf("%s and %s are one server: what it writes would be carried twice", in.Sources[j].Endpoint.Address, s.Endpoint.Address), "give each source once"
				}
			}
			return "", ""
		}},
		{"source-unserved", blocker, func(in *input) (string, string) {
			if in.SourceCluster == nil || len(in.SourceCluster.Unserved()) == 0 {
				return "", ""
			}
			missing := in.SourceCluster.Unserved()
			return fmt.Sprintf("%d slots of the source have no primary (%s): their keys are out of reach", topology.CountSlots(missing), topology.FormatSlots(missing, 60)),
				"redis-cli --cluster fix " + in.Source.Endpoint.Address + " (and redis-cli --cluster check, to see how it is)"
		}},
		{"source-moving", note, func(in *input) (string, string) {
			if in.SourceCluster == nil || len(in.SourceCluster.Moves) == 0 {
				return "", ""
			}
			return "slots of the source are on the move: godwit follows them, but there is no cutover while one is", ""
		}},
		{"sources-standalone", blocker, func(in *input) (string, string) {
			for _, s := range in.Sources {
				switch {
				case !in.severalServers() || in.CopyOnly && s.Replication.Role == topology.Primary:
				case s.Mode != topology.Standalone:
					return s.Endpoint.Address + " is of a cluster, or no data server, and one of several sources", "several sources are standalone servers among which clients have divided their keys; a cluster is one source"
				case s.Replication.Role != topology.Primary:
					return s.Endpoint.Address + " is a replica: it has no writes of its own to stop at a cutover", "give its primary: " + s.Replication.Upstream.Address()
				}
			}
			return "", ""
		}},
		{"sources-names", warning, func(in *input) (string, string) {
			if !in.severalServers() {
				return "", ""
			}
			return "no key may be at two of the sources: which of the two is right nobody could tell, and the target gets one, or something of both", "see that clients have divided their keys by name, as by a hash ring; godwit verify, before the cutover, names those that are at two"
		}},
		{"source-pause", blocker, func(in *input) (string, string) {
			if !in.joint() || in.CopyOnly || in.Source.Version.AtLeast(6, 2) {
				return "", ""
			}
			return fmt.Sprintf("%s cannot pause writes alone (CLIENT PAUSE … WRITE is of 6.2), so several primaries of it cannot hand over at one moment", in.Source.Version),
				"follow with --cutover never, and stop the clients yourself; or upgrade the source in place first"
		}},
		{"joint-clients", warning, func(in *input) (string, string) {
			switch {
			case !in.joint() || in.CopyOnly:
				return "", ""
			case in.SourceCluster != nil && !in.toCluster():
				return "clients of a cluster must become clients of one server at the cutover", "most libraries have a client of another kind for that"
			case in.SourceCluster != nil:
				return "clients of the source must be given addresses of the target: what they know of the slots leads to the old shards", "change their configuration right after the cutover; until then they are refused writes (NOPERM)"
			default:
				return "clients that have divided their keys among several servers must be told of the one deployment at the cutover", ""
			}
		}},
	}
}

// jointNeeds are the commands that will be sent.
func (in *input) jointNeeds() []need {
	const source, target = "source", "target"
	const noCommit = "the cutover cannot be made"
	needs := []need{
		{source, topology.Psync, forCopy, "godwit cannot replicate from it"},
		{source, topology.Replconf, forCopy, "godwit cannot replicate from it"},
		{target, topology.ACLSetUser, forCopy, "godwit has no user of its own there, by which to write while all others are refused"},
	}
	const unknown = "which db a shard's stream has selected, it tells only when godwit writes a key of its own to two of them"
	if in.ofCluster() && in.Route.Maps() {
		needs = append(needs, need{source, topology.Select, forCopy, unknown})
	}
	if in.ofCluster() && severalDBs(in.Sources) {
		for _, command := range []topology.Command{topology.Select, topology.Set, topology.Del} { // see apply.stir
			needs = append(needs, need{source, command, forCopy, unknown})
		}
	}
	if in.CopyOnly {
		return needs
	}
	needs = append(needs, need{source, topology.ACLSetUser, forSwitch, noCommit})
	if !in.NoKill {
		needs = append(needs, need{source, topology.ClientKill, forMore, "clients stay connected to the old side until they find out by themselves"})
	}
	if !in.wantsBack() || in.apart() {
		return needs
	}
	const noBack = "a rollback is not possible"
	return append(needs, need{target, topology.Psync, forBack, noBack}, need{target, topology.Replconf, forBack, noBack})
}

// severalDBs tells whether shards may have more dbs than one.
func severalDBs(shards []topology.Node) bool {
	dbs, known := clusterDBs(shards)
	return dbs > 1 || !known
}

// backTo says who of several servers gets something on the way back.
func (in *input) backTo() string {
	if !in.severalServers() {
		return ""
	}
	return "each server, of its own keys by " + in.ShardBy + ": "
}

// jointSteps lists what will be sent.
func (in *input) jointSteps(back bool) []Step {
	source := func(phase, command, why string) Step {
		return Step{Phase: phase, Server: "source", Address: in.Source.Endpoint.Address, Command: command, Why: why}
	}
	target := func(phase, command, why string) Step {
		return Step{Phase: phase, Server: "target", Address: in.Target.Endpoint.Address, Command: command, Why: why}
	}
	every, own := "every primary", "godwit:"+in.Name
	steps := []Step{
		target(copying, "ACL SETUSER "+own+" on >*** allkeys +@all", "at every node: by this user godwit writes"),
		target(copying, "ACL SETUSER … -@write", "every other user, at every node, as at a replica: no client writes there before the source has refused the last one"),
	}
	steps = append(steps, in.moveSteps()...)
	if holdings(in.Target) != "" {
		steps = append(steps, target(copying, "FLUSHALL", "every primary (--replace)"))
	}
	steps = append(steps,
		source(copying, "PSYNC ? -1", every+": to it godwit is a replica; it forks once and sends its snapshot, then every write"),
		target(copying, "SET key value; RESTORE key ttl value", count(in.Source.Keys(), "key", "keys")+"; what is written meanwhile waits in the spool"),
		target(following, "CONFIG SET notify-keyspace-events", "it tells which keys it lets go of by itself; as it was at the end"),
		target(following, "EVALSHA", "batches of the sources' commands; a batch ends with its own checkpoint "+own+":*, so none is carried out twice"),
		source(following, "REPLCONF ACK offset", "acknowledged is what the target has, so INFO and WAIT at the source tell the truth about it"))
	if in.ofCluster() && severalDBs(in.Sources) {
		steps = append(steps, source(following, "SET "+own+":*; DEL", "in db 1 and db 0, where a shard's stream is joined in its middle: so it tells which db it has selected"))
	}
	if in.CopyOnly {
		return steps
	}
	steps = append(steps, in.verifySteps()...)
	if back {
		steps = append(steps, target(switching, "PSYNC replid offset", "from its present offset: the way back"))
	}
	steps = append(steps,
		source(switching, "CLIENT PAUSE … WRITE", every+", all at once; should anything be late, they go on as before"),
		target(switching, "(applies the rest)", fmt.Sprintf("until it has the last write of each; after %v at most it is given up", in.MaxPause)),
		source(switching, "ACL SETUSER … -@write", "each user, at every node: they refuse writes from here on, even should godwit die"),
		Step{Phase: switching, Server: "godwit", Command: "(journal)", Why: "the commit"},
		target(switching, "ACL SETUSER … (as it was)", "its clients may write"),
		source(switching, "CLIENT UNPAUSE", "those that were held back are refused, and turn to the target"))
	if !in.NoKill {
		steps = append(steps, source(switching, "CLIENT KILL TYPE normal", "clients connect again: to the target"))
	}
	if back {
		steps = append(steps, source(switched, "EVALSHA", in.backTo()+"what is written to the target, by the user "+own+" alone: the way back is open"))
	}
	return append(steps,
		source(completed, "(keeps refusing writes)", "until its users are given their rights back, or it is restarted"),
		Step{Phase: completed, Server: "godwit", Command: "DEL " + own + ":*", Why: "checkpoints and godwit's user go, and settings that were touched are as before"})
}
