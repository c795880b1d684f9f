package plan

import (
	"net"
	"strings"
	"time"

	"godwit/internal/topology"
)

// severity is what a finding means for the migration.
type severity int

const (
	note    severity = iota // good to know
	warning                 // it works, but
	blocker                 // it is refused
)

// rule looks for one thing. find returns what it found and what to do about it;
// an empty text means that all is well.
type rule struct {
	code     string
	severity severity
	find     func(in *input) (text, hint string)
}

// side is one of the two servers, for rules that hold for both.
type side struct {
	name string // source or target
	topology.Node
}

// each makes a rule of both sides: source-CODE and target-CODE.
func each(code string, s severity, find func(in *input, s side) (text, hint string)) []rule {
	return []rule{
		{"source-" + code, s, func(in *input) (string, string) { return find(in, in.source()) }},
		{"target-" + code, s, func(in *input) (string, string) { return find(in, in.target()) }},
	}
}

// input is what the rules and the steps are made from.
type input struct {
	Facts
	Wants
	method     Method        // of the cutover, at the source
	backMethod Method        // of a rollback, at the target
	file       *FileContents // the source is none, but what one has saved; else nil
}

func newInput(f Facts, w Wants) *input {
	if len(f.Shards) > 0 {
		f.Target = Together(f.Shards)
	}
	if len(f.Sources) > 0 {
		f.Source = joined(f.Sources)
		return &input{Facts: f, Wants: w, method: Pause, backMethod: Pause}
	}
	return &input{Facts: f, Wants: w, method: methodAt(f.Source), backMethod: methodAt(f.Target)}
}

// methodAt is how writes would be stopped at a server.
func methodAt(n topology.Node) Method {
	if hasFailover(n) && !n.Permissions.Refused(topology.Failover) {
		return Failover
	}
	return Fence
}

// hasFailover tells whether the server's version has the command FAILOVER.
func hasFailover(n topology.Node) bool { return n.Version.AtLeast(6, 2) }

func (in *input) source() side { return side{"source", in.Source} }
func (in *input) target() side { return side{"target", in.Target} }

// wantsBack tells whether a rollback is meant to be possible.
func (in *input) wantsBack() bool { return !in.CopyOnly && in.RollbackWindow != 0 }

// attached tells whether the target replicates from our own listener already.
func (in *input) attached() bool {
	if in.Target.Replication.Role != topology.Replica {
		return false
	}
	upstream := in.Target.Replication.Upstream.Address()
	return upstream == in.Listener.TargetAddress || upstream == in.Announce
}

// listenerFor is the host and port at which a server finds godwit.
func (in *input) listenerFor(s side) (host, port string) {
	const free = "PORT" // the listener takes one when it is opened
	address := in.Listener.TargetAddress
	if s.name == "source" {
		address = in.Listener.SourceAddress
	}
	if address == "" {
		address = in.Announce
	}
	if address == "" {
		return s.Route.String(), free
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return address, free
	}
	if port == "" || port == "0" {
		port = free
	}
	return host, port
}

// The speed of a copy is that of the target's loading: 214,000 mixed small keys
// a second were measured on two cores; large values are bound by the network.
const (
	loadKeys  = 200_000
	loadBytes = 100 << 20
)

// copySeconds estimates the copy, to within a factor of three or so.
func (in *input) copySeconds() float64 {
	seconds := max(float64(in.Source.Keys())/loadKeys, float64(in.Source.Memory.Used)/loadBytes)
	return seconds + in.syncDelay().Seconds()
}

// syncDelay is how long the source waits for further replicas before it begins
// a diskless snapshot.
func (in *input) syncDelay() time.Duration {
	if in.Source.Settings["repl-diskless-sync"] != "yes" {
		return 0
	}
	seconds, _ := in.Source.Settings.Int("repl-diskless-sync-delay")
	return time.Duration(seconds) * time.Second
}

// list joins words: a, b and c.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " and " + words[len(words)-1]
}

// alternatives joins words: a, b or c.
func alternatives(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
