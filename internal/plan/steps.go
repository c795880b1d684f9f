package plan

import (
	"fmt"
	"net"
	"strings"

	"godwit/internal/topology"
)

// The phases that have steps, named as in a migration's status.
const (
	copying   = "copying"
	following = "following"
	switching = "switching"
	switched  = "switched"
	completed = "completed"
)

// steps lists what will be sent, in order.
func (in *input) steps(back bool) []Step {
	if in.joint() {
		return in.jointSteps(back)
	}
	if in.toCluster() {
		return in.applySteps(back)
	}
	steps := in.copySteps()
	if in.CopyOnly {
		return steps
	}
	steps = append(steps, in.verifySteps()...)
	steps = append(steps, in.switchSteps(back)...)
	return append(steps, in.endSteps(back)...)
}

// at is a step at a server.
func at(s side, phase, command, why string) Step {
	return Step{Phase: phase, Server: s.name, Address: s.Endpoint.Address, Command: command, Why: why}
}

func (in *input) copySteps() []Step {
	source, target := in.source(), in.target()
	host, port := in.listenerFor(target)
	steps := []Step{{
		Phase: copying, Server: "godwit", Address: net.JoinHostPort(host, port), Command: "(listens)",
		Why: "to the target godwit is a primary; it answers only these two servers",
	}}
	steps = append(steps, in.armSteps(target, copying)...)
	return append(steps,
		at(target, copying, "REPLICAOF "+host+" "+port, "it asks godwit, and godwit asks the source"),
		at(source, copying, "PSYNC ? -1", "to the source godwit is a replica; it forks once and sends its snapshot, then every write"),
		at(target, copying, "(loads the snapshot)", count(in.Source.Keys(), "key", "keys")+", "+in.passage()+"; what is written meanwhile waits in the spool"),
		at(source, following, "REPLCONF ACK offset", "acknowledged is what the target has applied, so INFO and WAIT at the source tell the truth about it"))
}

// armSteps set what the server presents to the listener, where it has nothing
// to present and may be told.
func (in *input) armSteps(s side, phase string) []Step {
	if s.MasterauthSet || s.Permissions.Refused(topology.ConfigSet) || s.Permissions.Refused(topology.ConfigGet) {
		return nil
	}
	return []Step{at(s, phase, "CONFIG SET masterauth ***", "a one-time password, by which godwit knows it; taken back at the end")}
}

func (in *input) switchSteps(back bool) []Step {
	source, target := in.source(), in.target()
	host, port := in.listenerFor(source)
	steps := in.armSteps(source, switching)
	steps = append(steps, at(target, switching, "INFO replication", "waits until it lags so little that the pause will be short"))
	if in.method == Failover {
		steps = append(steps,
			at(source, switching, fmt.Sprintf("FAILOVER TO %s %s TIMEOUT %d", host, port, in.MaxPause.Milliseconds()), "writes pause; should anything be late, they go on as before"),
			at(target, switching, "INFO replication", "until it has applied the last write; each answer is ACKed to the source"),
			at(source, switching, "(demotes itself: PSYNC replid offset FAILOVER)", "the vote: it refuses writes from here on"))
	} else {
		steps = append(steps,
			at(source, switching, "CONFIG SET min-replicas-to-write 1073741824", "writes are refused, even should godwit die"),
			at(target, switching, "INFO replication", fmt.Sprintf("until it has applied the last write; after %v at most it is given up", in.MaxPause)),
			at(source, switching, "REPLICAOF "+host+" "+port, "the vote: it asks godwit PSYNC replid offset, and refuses writes from here on"))
	}
	steps = append(steps, at(target, switching, "REPLICAOF NO ONE", "the commit: it is the primary"))
	if back {
		steps = append(steps, at(target, switching, "PSYNC replid offset", "the source's question, passed on and answered +CONTINUE: the way back is open"))
	}
	if in.method == Fence {
		before := in.Source.Settings["min-replicas-to-write"]
		if before == "" {
			before = "(as before)"
		}
		steps = append(steps, at(source, switching, "CONFIG SET min-replicas-to-write "+before, "as it was: a replica refuses writes by itself"))
	}
	if !in.NoKill {
		steps = append(steps, at(source, switching, "CLIENT KILL TYPE normal", "clients connect again, and find the target"))
	}
	return steps
}

func (in *input) endSteps(back bool) []Step {
	source := in.source()
	var steps []Step
	if back {
		steps = append(steps, Step{Phase: switched, Server: "godwit", Command: "(godwit rollback)", Why: "the same switch from the target to the source; every write made meanwhile is there"})
	}
	if in.Source.Understands(in.Target, in.AcceptModules...) && in.Source.Loads(in.Target.SnapshotFor(in.Source)) {
		steps = append(steps, at(source, completed, "REPLICAOF "+replicaOfArgs(in.Target), "it stays on as the target's own replica, without godwit"))
	} else {
		steps = append(steps, at(source, completed, "(stays a read-only replica of nobody)", "it cannot replicate from the target's version; "+source.CLI("REPLICAOF", "NO", "ONE")+" frees it"))
	}
	if armed := append(in.armSteps(source, completed), in.armSteps(in.target(), completed)...); len(armed) > 0 {
		steps = append(steps, Step{Phase: completed, Server: "godwit", Command: "CONFIG SET masterauth ''", Why: "settings that were touched are as before"})
	}
	return steps
}

// passage is what happens to a snapshot on the way.
func (in *input) passage() string {
	if in.rewrites() {
		return "rewritten for its version where it does not know them"
	}
	return "passed through as they are"
}

// replicaOfArgs are host and port of a server for REPLICAOF.
func replicaOfArgs(n topology.Node) string {
	if n.Endpoint.Network == "unix" {
		return "HOST PORT"
	}
	return strings.Trim(n.Endpoint.Host(), "[]") + " " + fmt.Sprint(n.Endpoint.Port())
}
