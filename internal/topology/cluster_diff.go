package topology

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/slot"
)

// ClusterDiff is what has become different in a cluster, for an engine that follows it.
// All nodes in it are as the later map has them, those that are gone as the earlier.
type ClusterDiff struct {
	// Promotions are the replicas that have taken the place of their primary, by a
	// failover. The slots that they took over are not in Moved.
	Promotions []Promotion `json:"promotions,omitempty"`
	// Moved are the slots that have another owner now, by their first slot.
	Moved []SlotsMoved `json:"moved,omitempty"`
	// Joined are the primaries that own slots now and owned none before, Gone those
	// that owned some and own none now; the two of a promotion are in neither.
	Joined []ClusterNode `json:"joined,omitempty"`
	Gone   []ClusterNode `json:"gone,omitempty"`
	// Readdressed are primaries that own slots as before, at another address.
	Readdressed []ClusterNode `json:"readdressed,omitempty"`
	// State and Moves tell whether ClusterMap.OK and .Moves are others.
	State bool `json:"state,omitempty"`
	Moves bool `json:"moves,omitempty"`
}

// Promotion is a replica that a failover has made a primary. The old primary is its
// replica now or is to be, has failed, or has left.
type Promotion struct {
	Old ClusterNode `json:"old"`
	New ClusterNode `json:"new"`
}

// SlotsMoved are slots that have another owner.
type SlotsMoved struct {
	Slots []SlotRange `json:"slots"`
	From  ClusterNode `json:"from"` // without an ID if nobody served them
	To    ClusterNode `json:"to"`   // without an ID if nobody serves them
}

// Empty tells whether nothing is different.
func (d ClusterDiff) Empty() bool {
	return len(d.Promotions)+len(d.Moved)+len(d.Joined)+len(d.Gone)+len(d.Readdressed) == 0 && !d.State && !d.Moves
}

// String says it in a line, for an event or a log.
func (d ClusterDiff) String() string {
	var words []string
	for _, f := range d.Promotions {
		words = append(words, fmt.Sprintf("%s was promoted in place of %s", f.New.Address, f.Old.Address))
	}
	for _, m := range d.Moved {
		from, to := cmp.Or(m.From.Address, "nobody"), cmp.Or(m.To.Address, "nobody")
		words = append(words, fmt.Sprintf("slots %s from %s to %s", FormatSlots(m.Slots, listWidth), from, to))
	}
	for _, change := range []struct {
		what  string
		nodes []ClusterNode
	}{{"new shard", d.Joined}, {"shard gone:", d.Gone}, {"other address:", d.Readdressed}} {
		for _, n := range change.nodes {
			words = append(words, change.what+" "+n.Address)
		}
	}
	if d.State {
		words = append(words, "other cluster_state")
	}
	if d.Moves {
		words = append(words, "other slots are being moved")
	}
	return strings.Join(words, "; ")
}

// Compare says what is different in a later map; of the first one, nothing.
func (c *ClusterMap) Compare(later *ClusterMap) ClusterDiff {
	if len(c.Nodes) == 0 {
		return ClusterDiff{}
	}
	d := ClusterDiff{State: c.OK != later.OK, Moves: !slices.EqualFunc(c.Moves, later.Moves, sameMove)}
	successor, promoted := make(map[string]string), make(map[string]bool)
	for _, n := range later.Nodes {
		if old, ok := c.replacedBy(n, later); ok {
			successor[old.ID], promoted[n.ID] = n.ID, true
			d.Promotions = append(d.Promotions, Promotion{Old: old, New: n})
		}
	}
	d.Moved = c.moved(later, successor)
	for _, n := range later.Nodes {
		was, _ := c.Node(n.ID)
		switch {
		case !n.serves() || promoted[n.ID]:
		case !was.serves():
			d.Joined = append(d.Joined, n)
		case was.Address != n.Address:
			d.Readdressed = append(d.Readdressed, n)
		}
	}
	for _, was := range c.Nodes {
		if n, _ := later.Node(was.ID); was.serves() && !n.serves() && successor[was.ID] == "" {
			d.Gone = append(d.Gone, was)
		}
	}
	return d
}

// serves tells whether a node is a primary with slots.
func (n ClusterNode) serves() bool { return n.Role == Primary && len(n.Slots) > 0 }

// replacedBy is the primary whose replica n was, and whose slots it owns in the later
// map.
func (c *ClusterMap) replacedBy(n ClusterNode, later *ClusterMap) (ClusterNode, bool) {
	was, known := c.Node(n.ID)
	if !known || was.Role != Replica || n.Role != Primary {
		return ClusterNode{}, false
	}
	old, known := c.Node(was.Primary)
	if !known || !old.serves() {
		return ClusterNode{}, false
	}
	if now, _ := later.Node(old.ID); now.serves() {
		return ClusterNode{}, false
	}
	return old, slices.ContainsFunc(old.Slots, func(r SlotRange) bool {
		for s := int(r.First); s <= int(r.Last); s++ {
			if owner, _ := later.Owner(uint16(s)); owner.ID == n.ID { //nolint:gosec // a slot
				return true
			}
		}
		return false
	})
}

// moved are the slots with another owner, but not those that a failover has handed on.
func (c *ClusterMap) moved(later *ClusterMap, successor map[string]string) []SlotsMoved {
	type way struct{ from, to string }
	var ways []way
	slots := make(map[way]map[uint16]bool)
	for s := range uint16(slot.Count) {
		from, _ := c.Owner(s)
		to, _ := later.Owner(s)
		if from.ID == to.ID || to.ID != "" && successor[from.ID] == to.ID {
			continue
		}
		w := way{from.ID, to.ID}
		if slots[w] == nil {
			ways, slots[w] = append(ways, w), make(map[uint16]bool)
		}
		slots[w][s] = true
	}
	var moved []SlotsMoved
	for _, w := range ways {
		from, known := later.Node(w.from)
		if !known {
			from, _ = c.Node(w.from)
		}
		to, _ := later.Node(w.to)
		moved = append(moved, SlotsMoved{Slots: slotRanges(func(s uint16) bool { return slots[w][s] }), From: from, To: to})
	}
	return moved
}

func sameMove(a, b Move) bool {
	return a.Kind == b.Kind && a.From == b.From && a.To == b.To && a.Job == b.Job && a.State == b.State && slices.Equal(a.Slots, b.Slots)
}

// agrees tells whether one node's answer holds nothing that is not in the map: no
// other owner of a slot, role, address, failure or state, and no slot on the move.
func (c *ClusterMap) agrees(a answer, name naming) bool {
	known := 0
	for _, n := range c.Nodes {
		if !n.Handshake {
			known++
		}
	}
	for i := range a.view.nodes {
		line := &a.view.nodes[i]
		if line.is("handshake") {
			continue
		}
		known--
		n, ok := c.Node(line.id)
		switch {
		case !ok, n.Role == Replica != line.is("slave"), n.Primary != line.primary:
			return false
		case !line.is("myself") && (n.Health == Failed) != line.is("fail"):
			return false
		case line.host != "" && n.Address != name.endpoint(line, nil).Address:
			return false
		}
	}
	if known != 0 || a.ok != c.OK || a.epoch > c.Epoch || len(a.moves) > 0 {
		return false
	}
	for s := range uint16(slot.Count) {
		owner, i := c.owners.of(s), a.view.owners.of(s)
		if (owner == unowned) != (i == unowned) || i != unowned && c.Nodes[owner].ID != a.view.nodes[i].id {
			return false
		}
	}
	return !slices.ContainsFunc(a.view.moves, func(m marker) bool {
		owner, _ := c.Owner(m.slot)
		return m.importing || owner.ID != m.other
	})
}
