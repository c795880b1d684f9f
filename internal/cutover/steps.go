// Package cutover switches the primary from one server to another that
// replicates it through godwit: pause, drain, demote, promote, reverse. The
// rollback is the same machine with the two servers exchanged.
//
// The old primary's own demotion is the vote of a two-phase commit: it asks
// PSYNC replid offset, and only when the new one has applied exactly that
// offset, and the old one is a replica for good, is the new one promoted. Until
// then every failure makes the old one a writable primary again.
package cutover

import (
	"fmt"
	"time"

	"godwit/internal/server"
)

// Method is how writes are stopped at the old primary.
type Method string

// The methods.
const (
	// Failover is FAILOVER TO godwit: the old primary pauses writes, waits for
	// our ACK and demotes itself. From 6.2 on.
	Failover Method = "failover"
	// Fence is min-replicas-to-write as fence and pause in one, then REPLICAOF.
	Fence Method = "fence"
)

// Name is a state of the machine: the step under way.
type Name string

// The steps, in order.
const (
	Arm     Name = "arm"      // one-time credentials, so that the old primary can connect to godwit
	CatchUp Name = "catch-up" // the new primary is close enough that the pause will be short
	Pause   Name = "pause"    // writes stop at the old primary
	Drain   Name = "drain"    // the new one applies what is left
	Demote  Name = "demote"   // the old one becomes a replica for good
	Promote Name = "promote"  // the commit
	Unfence Name = "unfence"  // the fence method's setting goes back
	Unpause Name = "unpause"  // what waited is refused now
	Kill    Name = "kill"     // clients of the old one must connect again
	Reverse Name = "reverse"  // the old one follows the new one
)

// StepState is how far a step is.
type StepState string

// The states of a step.
const (
	Planned StepState = "planned"
	Running StepState = "running"
	Done    StepState = "done"
	Broken  StepState = "failed"
	Skipped StepState = "skipped"
)

// Step is one step as it is shown.
type Step struct {
	Name    Name
	Server  string // address
	Command string // what is sent, as for redis-cli; in parentheses what happens by itself
	State   StepState
	Took    time.Duration
	Err     error
}

// Side is one of the two servers.
type Side struct {
	Client *server.Client
	// Where this server finds godwit, as it was announced to it.
	AnnounceHost string
	AnnouncePort int
}

func (s Side) address() string { return s.Client.Endpoint().Address }

// Limits of a switch.
type Limits struct {
	MaxPause time.Duration // longest time that writes are stopped before it is given up
	NoKill   bool          // leave the clients of the old primary connected
}

// Steps is what a switch from old to new will do, in order.
func Steps(method Method, old Side, next Next, limits Limits) []Step {
	planned := func(name Name, s Side, format string, args ...any) Step {
		return Step{Name: name, Server: s.address(), Command: fmt.Sprintf(format, args...), State: Planned}
	}
	ofNext := func(name Name) Step {
		return Step{Name: name, Server: next.Address(), Command: next.Command(name), State: Planned}
	}
	arm := planned(Arm, old, "CONFIG SET masterauth *** (one-time; only where none is set)")
	if more := next.Command(Arm); more != "" {
		arm.Command += "; " + next.Address() + ": " + more
	}
	steps := []Step{arm, ofNext(CatchUp)}
	if method == Failover {
		steps = append(steps,
			planned(Pause, old, "FAILOVER TO %s %d TIMEOUT %d", old.AnnounceHost, old.AnnouncePort, limits.MaxPause.Milliseconds()),
			ofNext(Drain),
			planned(Demote, old, "(demotes itself and asks godwit PSYNC replid offset FAILOVER; +CONTINUE makes it final)"))
	} else {
		steps = append(steps,
			planned(Pause, old, "CONFIG SET min-replicas-to-write %d; INFO replication", fenceReplicas),
			ofNext(Drain),
			planned(Demote, old, "REPLICAOF %s %d; INFO replication", old.AnnounceHost, old.AnnouncePort))
	}
	kill := planned(Kill, old, "CLIENT KILL TYPE normal")
	if limits.NoKill {
		kill.State = Skipped
	}
	reverse := planned(Reverse, old, "(asks PSYNC replid offset and gets +CONTINUE: it is a replica of %s through godwit)", next.Address())
	steps = append(steps, ofNext(Promote))
	if method == Fence {
		steps = append(steps, planned(Unfence, old, "CONFIG SET min-replicas-to-write (as it was)"))
	}
	return append(steps, kill, reverse)
}
