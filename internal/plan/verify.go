package plan

import (
	"fmt"

	"godwit/internal/topology"
)

// Comparison is how `godwit verify`, and --verify before-cutover, compare both sides.
type Comparison struct {
	Method        string `json:"method"`        // snapshot or scan, as godwit verify --method has them
	Why           string `json:"why,omitempty"` // why not by snapshots
	BeforeCutover bool   `json:"before_cutover"`
}

// The methods of a comparison.
const (
	bySnapshots = "snapshot"
	byScan      = "scan"
)

// comparison tells what will be possible. Snapshots are the better method: exact at
// one offset, and one fork of each server costs it less than a DUMP of every key.
func (in *input) comparison() Comparison {
	c := Comparison{Method: bySnapshots, BeforeCutover: in.Verify}
	if why := in.Source.NoSnapshot(); why != "" {
		c.Method, c.Why = byScan, "the source: "+why
		return c
	}
	for _, n := range in.compared() {
		if why := n.NoSnapshot(); why != "" {
			c.Method, c.Why = byScan, "the target: "+why
			if in.toCluster() {
				c.Why = "the shard " + n.Endpoint.Address + ": " + why
			}
			return c
		}
	}
	return c
}

// compared are the servers of the target that are.
func (in *input) compared() []topology.Node {
	if in.toCluster() {
		return in.Shards
	}
	return []topology.Node{in.Target}
}

// text says it for people.
func (c Comparison) text() string {
	text := "by snapshots taken at the same offset: one fork of each server, two if something differs"
	if c.Method == byScan {
		text = "by SCAN and DUMP of both sides; not by snapshots: " + c.Why
	}
	if c.BeforeCutover {
		return text + "; a cutover waits until both are equal"
	}
	return text + "; when you ask: godwit verify"
}

// verifyRules see that the servers can afford to be compared.
func verifyRules() []rule {
	return []rule{
		{"verify-by-scan", warning, func(in *input) (string, string) {
			c := in.comparison()
			if !in.Verify || c.Method == bySnapshots {
				return "", ""
			}
			sides := []side{in.source()}
			for _, n := range in.compared() {
				sides = append(sides, side{in.target().name, n})
			}
			for _, s := range sides {
				for _, command := range []topology.Command{topology.Psync, topology.Replconf} {
					if s.Permissions.Refused(command) {
						_, hint := refusal(s, command)
						return "both sides are compared by SCAN and DUMP, which takes several times as long as by snapshots: " + c.Why, hint
					}
				}
			}
			return "", "" // snapshots that are not known are a blocker of their own
		}},
		{"target-fork-memory", warning, func(in *input) (string, string) {
			m := in.Target.Memory
			used := max(m.Used, in.Source.Memory.Used) // once the copy is done
			if !in.Verify || in.comparison().Method != bySnapshots || m.System == 0 || used < m.System/10*6 {
				return "", ""
			}
			return fmt.Sprintf("the target will use %s of its machine's %s: while it forks for the comparison, pages that are written to are needed twice", bytes(used), bytes(m.System)),
				"leave --verify out and compare in a quiet hour, by godwit verify, with --method scan if there is none"
		}},
	}
}

// verifySteps compare both sides before the cutover.
func (in *input) verifySteps() []Step {
	if !in.Verify {
		return nil
	}
	source, target := in.source(), in.target()
	end := Step{Phase: following, Server: "godwit", Command: "(compares)", Why: "every key by type, value and expiry time; a cutover waits until both sides are equal"}
	if in.comparison().Method == byScan {
		const why = "every key of every db, in batches"
		return []Step{at(source, following, "SCAN, DUMP", why), at(target, following, "SCAN, DUMP", why), end}
	}
	if in.joint() {
		return []Step{
			at(source, following, "PSYNC ? -1", "every primary: a snapshot to compare by; one fork more, and another one if something differs"),
			at(target, following, "PSYNC ? -1", "the same at the very offsets of these; its feeds are held for the length of one fork"), end,
		}
	}
	every, was, feed := "", in.Target.Settings["repl-diskless-sync-delay"], "its feed is held for the length of one fork"
	if in.toCluster() {
		every, was, feed = "every shard: ", "…", "all are held there for the length of one fork"
	}
	var steps []Step
	set := in.hurries()
	if set {
		steps = append(steps, at(target, following, "CONFIG SET repl-diskless-sync-delay 0", every+"its snapshot is to begin at once"))
	}
	steps = append(steps,
		at(source, following, "PSYNC ? -1", "a snapshot to compare by: one fork more, and another one if something differs"),
		at(target, following, "PSYNC ? -1", every+"the same at the very same offset; "+feed))
	if set {
		steps = append(steps, at(target, following, "CONFIG SET repl-diskless-sync-delay "+was, every+"as it was"))
	}
	return append(steps, end)
}

// hurries tells whether a server of the target is to be told to begin its snapshot at once.
func (in *input) hurries() bool {
	for _, n := range in.compared() {
		delay := n.Settings["repl-diskless-sync-delay"]
		if delay != "" && delay != "0" && !n.Permissions.Refused(topology.ConfigSet) {
			return true
		}
	}
	return false
}
