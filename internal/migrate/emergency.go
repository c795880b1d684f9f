package migrate

import (
	"fmt"
	"strconv"

	"godwit/internal/cutover"
	"godwit/internal/topology"
)

// emergency is what an operator sends by hand if godwit is gone for good, in
// the phase that the record shows: lines for a shell, and where they depend on
// what a server says, comments that tell which. docs/runbook.md explains them.
func emergency(r *record, source, target hand) []string {
	if r.Phase == Completed || r.Phase == Aborted || r.Phase == Planned || r.untouched() {
		return nil
	}
	var lines []string
	if source.needsPassword || target.needsPassword {
		lines = append(lines, "# put the password of the server that a line goes to into REDISCLI_AUTH")
	}
	switch {
	case r.Switch != nil:
		old, next := source, target
		if r.Switch.Direction == DirectionRollback {
			old, next = target, source
		}
		return append(lines, switchEmergency(r, old, next)...)
	case r.Primary == Target:
		lines = append(lines, "# "+target.address()+" serves, and no client may write to "+source.address()+".")
		if source.mayFollow(target) {
			lines = append(append(lines, "# To let "+source.address()+" follow it without godwit"+source.ifItMay(target)+":"), source.follow(target)...)
		}
		lines = append(lines, "# Otherwise it stays as it is: read-only, with the data up to now. To make it a server of its own:")
		return append(lines, source.release()...)
	case !r.Followed:
		lines = append(lines, "# "+source.address()+" serves. What "+target.address()+" has so far is not complete: see that no client reaches it. To let go of it:")
		return append(lines, target.release()...)
	}
	lines = append(lines, "# "+source.address()+" serves. See that no client reaches "+target.address()+"; then let go of it, with the data up to now:")
	lines = append(lines, target.release()...)
	if target.mayFollow(source) {
		lines = append(append(lines, "# or let it follow without godwit"+target.ifItMay(source)+":"), target.follow(source)...)
	}
	return lines
}

// switchEmergency is for a switch that was cut in half: the new primary's role
// tells on which side of the commit it is.
func switchEmergency(r *record, old, next hand) []string {
	fenced := r.Switch.Method == string(cutover.Fence)
	lines := []string{
		next.send("ROLE"),
		"# if it says slave: not committed, " + old.address() + " goes on as the primary:",
	}
	if !fenced {
		lines = append(lines, old.send("FAILOVER", "ABORT")) // where none is in progress an error that harms nothing
	}
	lines = append(lines, old.send("REPLICAOF", "NO", "ONE"))
	unfence := old.send("CONFIG", "SET", minReplicasToWrite, old.fence)
	if fenced {
		lines = append(lines, unfence)
	}
	lines = append(lines, old.forget()...)
	lines = append(lines, "# if it says master: committed, "+next.address()+" is the primary:")
	if old.mayFollow(next) {
		lines = append(lines, old.follow(next)...)
	}
	if fenced {
		lines = append(lines, unfence)
	}
	lines = append(append(lines, next.forget()...), old.send("CLIENT", "KILL", "TYPE", "normal"))
	lines = append(lines, "# only if it says slave and "+old.address()+" is lost for good: "+next.address()+" has what that one had sent, and is made the primary:")
	return append(lines, next.release()...)
}

// hand is a server as an operator reaches it by hand.
type hand struct {
	node          topology.Node // its endpoint without the password
	needsPassword bool
	ours          bool   // its masterauth is godwit's, to be taken away
	own           bool   // it has a masterauth of its own, which it presents to any primary
	fence         string // min-replicas-to-write as it was
}

// byHand is one side as it stands now. m.mu must be held.
func (m *Migration) byHand(s Side) hand {
	e := m.side(s)
	h := hand{node: e.found(), needsPassword: e.endpoint.Password != "", fence: "0"}
	h.node.Endpoint = e.endpoint
	h.node.Endpoint.Password = ""
	if value := h.node.Settings[minReplicasToWrite]; value != "" {
		h.fence = value
	}
	for _, x := range m.rec.Settings {
		switch {
		case x.Server != s:
		case x.Name == masterauth:
			h.ours = true
		case x.Name == minReplicasToWrite:
			h.fence = x.Value
		}
	}
	h.own = h.node.MasterauthSet && !h.ours
	return h
}

func (h hand) address() string { return h.node.Endpoint.Address }

func (h hand) send(args ...string) string { return h.node.CLI(args...) }

// release makes the server a primary of its own.
func (h hand) release() []string {
	return append([]string{h.send("REPLICAOF", "NO", "ONE")}, h.forget()...)
}

// forget takes godwit's one-time password away, where there is one.
func (h hand) forget() []string {
	if !h.ours {
		return nil
	}
	return []string{h.send("CONFIG", "SET", masterauth, "")}
}

// follow makes the server a replica of primary, without godwit.
func (h hand) follow(primary hand) []string {
	var lines []string
	switch {
	case h.own: // what it presents to any primary
	case primary.needsPassword:
		lines = append(lines, h.send("CONFIG", "SET", masterauth)+` "$MASTERAUTH" # the password of `+primary.address())
		if user := primary.node.Endpoint.Username; user != "" {
			lines = append(lines, h.send("CONFIG", "SET", masteruser, user))
		}
	default:
		lines = h.forget()
	}
	at := primary.node.Endpoint
	return append(lines, h.send("REPLICAOF", at.Host(), strconv.Itoa(at.Port())))
}

// mayFollow tells whether the server could be a replica of primary without
// godwit, for all that is known.
func (h hand) mayFollow(primary hand) bool {
	if primary.node.Endpoint.Network != "tcp" {
		return false
	}
	return !h.known(primary) || h.node.Loads(primary.node.SnapshotFor(h.node)) && h.node.Understands(primary.node)
}

// known tells whether both versions are.
func (h hand) known(primary hand) bool {
	return h.node.Version.Product != "" && primary.node.Version.Product != ""
}

// ifItMay is a condition that the operator has to look at, empty where it is known to hold.
func (h hand) ifItMay(primary hand) string {
	if h.known(primary) {
		return ""
	}
	return " (if its version is the same or newer)"
}

// foresee is what an operator should have at hand before a switch: the lines
// for godwit being lost in the middle of it, and after it.
func (m *Migration) foresee(direction string, method cutover.Method, to Side) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rec
	source, target := m.byHand(Source), m.byHand(Target)
	old := &source // it will have been given a one-time password
	if to == Source {
		old = &target
	}
	old.ours = !old.own
	r.Switch = &switchRecord{Direction: direction, Method: string(method)}
	lines := append([]string{fmt.Sprintf("# godwit lost in the middle of the %s: ask the new primary for its role", direction)}, emergency(&r, source, target)...)
	r.Switch, r.Primary, r.Phase = nil, to, Switched
	lines = append(lines, "# godwit lost after the "+direction)
	return append(lines, emergency(&r, source, target)...)
}
