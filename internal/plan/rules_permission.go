package plan

import (
	"fmt"
	"slices"

	"godwit/internal/topology"
)

// use is what a command is needed for.
type use int

const (
	forCopy   use = iota // without it there is no migration
	forSwitch            // without it there is no cutover
	forBack              // without it there is no rollback
	forMore              // without it something is less good
)

// need is a command that will be sent to a server.
type need struct {
	side    string
	command topology.Command
	use     use
	without string // what happens, or does not, without it
}

// needs lists them for this migration.
func (in *input) needs() []need {
	if in.joint() {
		return in.jointNeeds()
	}
	const source, target = "source", "target"
	const (
		noCopy   = "godwit cannot replicate from it"
		noCommit = "the cutover cannot be made"
		noBack   = "a rollback is not possible"
		noSecret = "godwit cannot set a one-time masterauth, and knows the server by its address alone"
		noKill   = "clients stay connected to the demoted server until they find out by themselves"
	)
	needs := []need{
		{source, topology.Psync, forCopy, noCopy},
		{source, topology.Replconf, forCopy, noCopy},
	}
	if !in.toCluster() {
		needs = append(needs,
			need{target, topology.ReplicaOf, forCopy, "it cannot be made to replicate from godwit"},
			need{target, topology.ConfigGet, forMore, noSecret},
			need{target, topology.ConfigSet, forMore, noSecret})
	}
	if in.toCluster() {
		needs = append(needs, need{target, topology.ACLSetUser, forCopy, "godwit has no user of its own there, by which to write while a switch has the others refused"})
	}
	if in.CopyOnly {
		return needs
	}
	if in.method == Failover {
		needs = append(needs,
			need{source, topology.Failover, forSwitch, noCommit},
			need{source, topology.ReplicaOf, forBack, noBack},
			need{source, topology.ConfigGet, forMore, noSecret},
			need{source, topology.ConfigSet, forMore, noSecret})
	} else {
		needs = append(needs,
			need{source, topology.ConfigGet, forSwitch, noCommit},
			need{source, topology.ConfigSet, forSwitch, noCommit},
			need{source, topology.ReplicaOf, forSwitch, noCommit})
	}
	if !in.NoKill {
		needs = append(needs, need{source, topology.ClientKill, forMore, noKill})
	}
	if !in.wantsBack() {
		return needs
	}
	needs = append(needs,
		need{target, topology.Psync, forBack, noBack},
		need{target, topology.Replconf, forBack, noBack})
	if in.toCluster() {
		return needs
	}
	if in.backMethod == Failover {
		return append(needs, need{target, topology.Failover, forBack, noBack})
	}
	return append(needs,
		need{target, topology.ConfigGet, forBack, noBack},
		need{target, topology.ConfigSet, forBack, noBack})
}

func (in *input) side(name string) side {
	if name == "target" {
		return in.target()
	}
	return in.source()
}

// permissionRules see that our users may do what will be needed.
func permissionRules(in *input) []rule {
	var rules []rule
	for _, n := range in.needs() {
		severity := warning
		if n.use == forCopy || n.use == forSwitch {
			severity = blocker
		}
		rules = append(rules, rule{n.side + "-permission", severity, func(in *input) (string, string) { return refused(in, n) }})
	}
	rules = append(rules, rule{"failover-refused", warning, func(in *input) (string, string) {
		if in.CopyOnly || in.method == Failover || !hasFailover(in.Source) {
			return "", ""
		}
		_, hint := refusal(in.source(), topology.Failover)
		return "our user may not run FAILOVER at the source: the cutover holds writes with min-replicas-to-write instead, and clients see NOREPLICAS until it is done", hint
	}})
	rules = append(rules, each("permission-unknown", warning, func(in *input, s side) (string, string) {
		var unknown []string
		for _, n := range in.needs() {
			if name := string(n.command); n.side == s.name && s.Permissions.Of(n.command) == topology.Unknown && !slices.Contains(unknown, name) {
				unknown = append(unknown, name)
			}
		}
		if len(unknown) == 0 {
			return "", ""
		}
		return fmt.Sprintf("whether our user may run %s at the %s could not be found out", list(unknown), s.name),
			"see for yourself: " + s.CLI("ACL", "GETUSER", s.User())
	})...)
	rules = append(rules, each("settings-unknown", warning, func(_ *input, s side) (string, string) {
		if s.Settings != nil {
			return "", ""
		}
		_, hint := refusal(s, topology.ConfigGet)
		return fmt.Sprintf("the %s does not show its settings: replica-read-only, databases, tls-replication, min-replicas-to-write and limits were not checked", s.name), hint
	})...)
	return append(rules, each("clients-unknown", warning, func(_ *input, s side) (string, string) {
		if !s.Clients.Unlisted {
			return "", ""
		}
		_, hint := refusal(s, topology.ClientList)
		return fmt.Sprintf("the %s does not show its clients: whether Sentinels or another migration use it was not checked", s.name), hint
	})...)
}

// refused says what a refused command means. A command that has several uses is
// named only for the most important one.
func refused(in *input, n need) (string, string) {
	s := in.side(n.side)
	if !s.Permissions.Refused(n.command) {
		return "", ""
	}
	for _, other := range in.needs() {
		if other.side == n.side && other.command == n.command && other.use < n.use {
			return "", ""
		}
	}
	why, hint := refusal(s, n.command)
	return why + ": " + n.without, hint
}

// refusal says why a command cannot be run, and what helps.
func refusal(s side, c topology.Command) (why, hint string) {
	if s.Permissions.Of(c) == topology.Missing {
		return fmt.Sprintf("the %s has no command %s (renamed, or switched off)", s.name, c),
			fmt.Sprintf("remove its rename-command line from the %s's configuration file and restart it", s.name)
	}
	return fmt.Sprintf("our user %s may not run %s at the %s", s.User(), c, s.name), "allow it: " + s.CLI("ACL", "SETUSER", s.User(), c.Rule())
}
