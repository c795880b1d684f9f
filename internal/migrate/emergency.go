package migrate

import (
	"fmt"

	"godwit/internal/cutover"
	"godwit/internal/server"
)

// emergency is what an operator sends by hand if godwit is gone for good, in
// the phase that the record shows: lines for a shell, and where they depend on
// what a server says, comments that tell which. docs/runbook.md explains them.
// A password goes into REDISCLI_AUTH.
func emergency(r *record, source, target server.Endpoint) []string {
	at := func(e server.Endpoint, command string) string {
		if e.Network == "unix" {
			return fmt.Sprintf("redis-cli -s %s %s", e.Address, command)
		}
		flags := ""
		if e.TLS.Enabled {
			flags = " --tls"
		}
		return fmt.Sprintf("redis-cli -h %s -p %d%s %s", e.Host(), e.Port(), flags, command)
	}
	follow := func(e, primary server.Endpoint) string {
		return at(e, fmt.Sprintf("REPLICAOF %s %d", primary.Host(), primary.Port()))
	}
	forget := func(e server.Endpoint) string { return at(e, `CONFIG SET masterauth ""`) }
	if r.Switch != nil {
		old, next := source, target
		if r.Switch.Direction == DirectionRollback {
			old, next = target, source
		}
		return switchEmergency(r, old, next, at, forget)
	}
	switch {
	case r.Phase == Completed || r.Phase == Aborted || r.Phase == Planned:
		return nil
	case r.Primary == Target:
		return []string{
			"# " + target.Address + " serves. If " + source.Address + " may follow it without godwit (its version is the same or newer):",
			forget(source), follow(source, target),
			"# if it may not, it stays as it is: read-only, with the data up to now; to make it a server of its own (never while clients write to it by mistake):",
			at(source, "REPLICAOF NO ONE"), forget(source),
		}
	}
	return []string{
		"# " + source.Address + " serves. To let go of " + target.Address + ", with the data up to now:",
		at(target, "REPLICAOF NO ONE"), forget(target),
		"# or, to let it follow without godwit (its version is the same or newer):",
		forget(target), follow(target, source),
	}
}

// foresee is what an operator should have at hand before a switch: the lines
// for godwit being lost in the middle of it, and after it.
func (m *Migration) foresee(direction string, method cutover.Method, to Side) []string {
	m.mu.Lock()
	r := m.rec
	m.mu.Unlock()
	r.Switch = &switchRecord{Direction: direction, Method: string(method)}
	lines := append([]string{"# godwit lost in the middle of the switch: ask the new primary for its role"}, emergency(&r, m.cfg.From, m.cfg.To)...)
	r.Switch, r.Primary, r.Phase = nil, to, Switched
	lines = append(lines, "# godwit lost after the switch")
	return append(lines, emergency(&r, m.cfg.From, m.cfg.To)...)
}

// switchEmergency is for a switch that was cut in half: the new primary's role
// tells on which side of the commit it is.
func switchEmergency(r *record, old, next server.Endpoint, at func(server.Endpoint, string) string, forget func(server.Endpoint) string) []string {
	// FAILOVER ABORT where none is in progress is an error that harms nothing.
	back := []string{at(old, "FAILOVER ABORT"), at(old, "REPLICAOF NO ONE")}
	forward := []string{at(old, fmt.Sprintf("REPLICAOF %s %d", next.Host(), next.Port()))}
	if r.Switch.Method == string(cutover.Fence) {
		fence := at(old, "CONFIG SET min-replicas-to-write "+savedValue(r, minReplicasToWrite, "0"))
		back, forward = []string{back[1], fence}, append(forward, fence)
	}
	lines := []string{at(next, "ROLE")}
	lines = append(lines, "# if it says slave: not committed, "+old.Address+" goes on as the primary:")
	lines = append(append(lines, back...), forget(old))
	lines = append(lines, "# if it says master: committed, "+next.Address+" is the primary:")
	lines = append(append(lines, forget(old)), forward...)
	return append(lines, forget(next), at(old, "CLIENT KILL TYPE normal"))
}

// savedValue is a setting as it was before godwit changed it.
func savedValue(r *record, name, otherwise string) string {
	for _, s := range r.Settings {
		if s.Name == name {
			return s.Value
		}
	}
	return otherwise
}
