package plan

import (
	"fmt"
	"slices"

	"godwit/internal/topology"
)

// identityRules see that there are two data servers. The other rules are applied
// only where these find no blocker.
func identityRules() []rule {
	rules := []rule{{"same-server", blocker, func(in *input) (string, string) {
		if in.Source.RunID == "" || in.Source.RunID != in.Target.RunID {
			return "", ""
		}
		return "source and target are the same server (run_id " + in.Source.RunID + ")", "name two different servers with --from and --to"
	}}}
	rules = append(rules, each("is-sentinel", blocker, func(_ *input, s side) (string, string) {
		if s.Mode != topology.Sentinel {
			return "", ""
		}
		text := fmt.Sprintf("the %s is a Sentinel: it holds no data, but knows who does", s.name)
		if len(s.Monitors) == 1 {
			return text, fmt.Sprintf("give the primary that it watches as %s: redis://%s", s.name, s.Monitors[0].Address)
		}
		return text, "ask it for the primary's address, and give that: " + s.CLI("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "NAME")
	})...)
	rules = append(rules, each("too-old", blocker, func(_ *input, s side) (string, string) {
		if s.Version.AtLeast(5, 0) {
			return "", ""
		}
		return fmt.Sprintf("the %s is %s: godwit moves servers from 5.0 on", s.name, s.Version), "upgrade it in place first"
	})...)
	return rules
}

// roleRules see that both are primaries of their own, and nobody else's business.
func roleRules() []rule {
	rules := []rule{
		{"source-is-replica", blocker, func(in *input) (string, string) {
			r := in.Source.Replication
			if r.Role != topology.Replica {
				return "", ""
			}
			return "the source is a replica of " + r.Upstream.Address() + ": it has no writes of its own to stop at a cutover",
				"move its primary: --from redis://" + r.Upstream.Address()
		}},
		{"target-is-replica", blocker, targetIsReplica},
		{"target-in-use", blocker, func(in *input) (string, string) {
			if in.Target.Replication.Role == topology.Replica {
				return "", "" // said already
			}
			return inUse(in, in.target())
		}},
		{"source-in-use", warning, func(in *input) (string, string) { return inUse(in, in.source()) }},
		{"source-sentinels", warning, func(in *input) (string, string) {
			if in.Source.Clients.Sentinels == 0 || in.CopyOnly {
				return "", ""
			}
			return fmt.Sprintf("%s watch the source: when it is demoted at the cutover, they promote one of its other replicas, or it again, and there are two primaries",
					count(int64(in.Source.Clients.Sentinels), "Sentinel", "Sentinels")),
				"before the cutover, on every Sentinel: SENTINEL REMOVE NAME; after it, SENTINEL MONITOR NAME with the target's address"
		}},
		{"target-sentinels", blocker, func(in *input) (string, string) {
			if in.Target.Clients.Sentinels == 0 {
				return "", ""
			}
			return fmt.Sprintf("%s watch the target: they would take it away from godwit during the copy, and undo its promotion",
					count(int64(in.Target.Clients.Sentinels), "Sentinel", "Sentinels")),
				"on every Sentinel: SENTINEL REMOVE NAME; after the cutover: SENTINEL MONITOR NAME again"
		}},
		{"source-replicas", warning, func(in *input) (string, string) {
			n := len(in.Source.Replication.Replicas)
			if n == 0 || in.CopyOnly {
				return "", ""
			}
			return fmt.Sprintf("the source has %s: after the cutover they go on getting every write, but through the source", count(int64(n), "other replica", "other replicas")),
				"give the target replicas of its own before `godwit complete`, or make these its replicas then: " + "REPLICAOF " + replicaOfArgs(in.Target)
		}},
		{"target-replicas", warning, func(in *input) (string, string) {
			n := len(in.Target.Replication.Replicas)
			if n == 0 {
				return "", ""
			}
			return fmt.Sprintf("the target has %s, which will be wiped and filled along with it", count(int64(n), "replica", "replicas")), ""
		}},
	}
	rules = append(rules, each("failing-over", blocker, func(_ *input, s side) (string, string) {
		if !s.Replication.FailingOver() {
			return "", ""
		}
		return fmt.Sprintf("a FAILOVER is under way at the %s (%s)", s.name, s.Replication.FailoverState), "wait for its end, or end it: " + s.CLI("FAILOVER", "ABORT")
	})...)
	return append(rules, each("loading", blocker, func(_ *input, s side) (string, string) {
		if !s.Persistence.Loading {
			return "", ""
		}
		return fmt.Sprintf("the %s is loading its data set (%.0f %% done)", s.name, s.Persistence.LoadedPerc), "wait until it is done: " + s.CLI("INFO", "persistence")
	})...)
}

func targetIsReplica(in *input) (string, string) {
	r := in.Target.Replication
	if r.Role != topology.Replica || in.attached() {
		return "", ""
	}
	detach := in.Target.CLI("REPLICAOF", "NO", "ONE")
	for _, s := range in.Source.Replication.Replicas {
		if s.Address == in.Target.Endpoint.Address {
			return "the target is a replica of the source already, without godwit", "detach it, then run with --replace: " + detach
		}
	}
	text := "the target is a replica of " + r.Upstream.Address()
	if names := migrationsAt(in.target(), ""); len(names) > 0 {
		return text + ": the listener, it seems, of the migration " + list(names),
			fmt.Sprintf("end that one first: godwit abort %s (or godwit complete %s)", names[0], names[0])
	}
	return text, "see that nobody needs it there, then detach it: " + detach
}

// inUse names other migrations that are connected to a server.
func inUse(in *input, s side) (string, string) {
	names := migrationsAt(s, in.Name)
	if len(names) == 0 {
		return "", ""
	}
	return fmt.Sprintf("the migration %s is connected to the %s", list(names), s.name), fmt.Sprintf("end it first: godwit abort %s, or godwit complete %s", names[0], names[0])
}

// migrationsAt are the names of migrations that are connected to a server, each once.
func migrationsAt(s side, except string) []string {
	var names []string
	for _, peer := range s.Clients.Godwit {
		if peer.Migration != except && !slices.Contains(names, peer.Migration) {
			names = append(names, peer.Migration)
		}
	}
	return names
}
