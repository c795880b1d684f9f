package topology

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/server"
	"godwit/internal/slot"
)

// ClusterMap is a cluster as its primaries describe it: the nodes, who owns which
// slot, and which slots are on the move. Nobody changes one that was handed out. It
// can be printed and marshalled; no field that is written out holds a password.
type ClusterMap struct {
	// Nodes are the primaries by their first slot, those without slots last, each
	// followed by its replicas; then replicas of primaries that nobody knows.
	Nodes []ClusterNode `json:"nodes"`
	Moves []Move        `json:"moves"` // under way, by their first slot
	Epoch int64         `json:"epoch"` // the cluster's current epoch
	OK    bool          `json:"ok"`    // cluster_state, at every node that answered
	// Arrived are the atomic moves that were carried out, as far as nodes remember them:
	// slots may have gone and come back between two looks.
	Arrived []Move `json:"-"`

	owners owners // of each slot an index into Nodes
}

// ClusterNode is one node of a cluster.
type ClusterNode struct {
	ID       string          `json:"id"`
	Endpoint server.Endpoint `json:"-"`       // with the user, password and TLS of the URL that was asked
	Address  string          `json:"address"` // host:port, the host as clients of the cluster are told it; empty where nobody knows it
	IP       string          `json:"ip,omitempty"`
	Hostname string          `json:"hostname,omitempty"`
	Role     Role            `json:"role"`
	Primary  string          `json:"primary,omitempty"`  // of a replica: the ID of its primary, empty when it has none
	ShardID  string          `json:"shard_id,omitempty"` // Redis and Valkey from 7.2 on, of nodes that answered
	Epoch    int64           `json:"config_epoch"`       // of a replica: its primary's
	Slots    []SlotRange     `json:"slots"`              // that it owns
	LinkUp   bool            `json:"link_up"`            // another node's connection to it by the cluster bus
	Health   Health          `json:"health"`
	Answered bool            `json:"answered"` // it was asked itself, as primaries are, and answered

	Handshake  bool `json:"handshake,omitempty"`  // it is being met, and its ID will still change
	NoAddress  bool `json:"noaddr,omitempty"`     // nobody knows its address
	NoFailover bool `json:"nofailover,omitempty"` // it does not try to be promoted
}

// Health is what other nodes think of a node.
type Health string

// The healths of a node.
const (
	Healthy   Health = "ok"
	Suspected Health = "pfail" // some node does not reach it
	Failed    Health = "fail"  // most primaries do not
)

// Shard is a primary and its replicas.
type Shard struct {
	Primary  ClusterNode
	Replicas []ClusterNode
}

// NewClusterMap is the map of a cluster whose nodes own the slots that they name.
func NewClusterMap(nodes []ClusterNode, moves []Move) *ClusterMap {
	c := &ClusterMap{Nodes: nodes, Moves: moves, OK: true, owners: newOwners()}
	for i, n := range nodes {
		for _, r := range n.Slots {
			for s := int(r.First); s <= int(r.Last); s++ {
				c.owners[s] = int16(i) //nolint:gosec // few nodes
			}
		}
	}
	return c
}

// Shards are the primaries with their replicas, by their first slot; those without
// slots last.
func (c *ClusterMap) Shards() []Shard {
	var shards []Shard
	at := make(map[string]int)
	for _, n := range c.Nodes {
		if n.Role == Primary && !n.Handshake {
			at[n.ID] = len(shards)
			shards = append(shards, Shard{Primary: n})
		}
	}
	for _, n := range c.Nodes {
		if i, ok := at[n.Primary]; ok && n.Role == Replica {
			shards[i].Replicas = append(shards[i].Replicas, n)
		}
	}
	return shards
}

// Node finds a node by its ID.
func (c *ClusterMap) Node(id string) (ClusterNode, bool) {
	for _, n := range c.Nodes {
		if n.ID == id {
			return n, true
		}
	}
	return ClusterNode{}, false
}

// At finds a node by its address, as a redirection names it.
func (c *ClusterMap) At(address string) (ClusterNode, bool) {
	for _, n := range c.Nodes {
		if n.Address == address && address != "" {
			return n, true
		}
	}
	return ClusterNode{}, false
}

// Owner is the primary that serves a slot, false when none does.
func (c *ClusterMap) Owner(s uint16) (ClusterNode, bool) {
	i := c.owners.of(s)
	if i == unowned {
		return ClusterNode{}, false
	}
	return c.Nodes[i], true
}

// Moving is the move that a slot takes part in.
func (c *ClusterMap) Moving(s uint16) (Move, bool) {
	for _, m := range c.Moves {
		if slices.ContainsFunc(m.Slots, func(r SlotRange) bool { return r.Contains(s) }) {
			return m, true
		}
	}
	return Move{}, false
}

// Unserved are the slots that no node owns.
func (c *ClusterMap) Unserved() []SlotRange { return c.owners.ranges(unowned) }

// Served is nil if every slot has an owner, else an *UnservedError.
func (c *ClusterMap) Served() error {
	missing := c.Unserved()
	if len(missing) == 0 {
		return nil
	}
	e := &UnservedError{Slots: missing}
	if len(c.Nodes) > 0 {
		e.Server = c.Nodes[0].Address
	}
	return e
}

// UnservedError says that a part of a cluster's keys cannot be read or written.
type UnservedError struct {
	Server string      // a node of the cluster
	Slots  []SlotRange // that no node owns
}

func (e *UnservedError) Error() string {
	return fmt.Sprintf("%s: no node of the cluster serves %d of its %d slots: %s", e.Server, CountSlots(e.Slots), slot.Count, FormatSlots(e.Slots, listWidth))
}

// listWidth is for how many columns slots are listed within a line of text.
const listWidth = 80

// HintText is what the user can do about it.
func (e *UnservedError) HintText() string {
	return "see `redis-cli --cluster check " + e.Server + "`; `redis-cli --cluster fix " + e.Server + "` gives them to a node"
}

// SlotRange is a range of slots, both ends included.
type SlotRange struct {
	First uint16 `json:"first"`
	Last  uint16 `json:"last"`
}

// Count is how many slots are in it.
func (r SlotRange) Count() int { return int(r.Last) - int(r.First) + 1 }

// Contains tells whether a slot is in it.
func (r SlotRange) Contains(s uint16) bool { return r.First <= s && s <= r.Last }

// String is the range as CLUSTER NODES writes it: 0-5460, or 7.
func (r SlotRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// FormatSlots is a list of ranges in about so many columns: where not all have room it
// says how many more there are.
func FormatSlots(ranges []SlotRange, width int) string {
	const more = len(" and 16384 more")
	var b strings.Builder
	for i, r := range ranges {
		word := r.String()
		if last := i == len(ranges)-1; i > 0 && b.Len()+len(word)+2 > width-more && (!last || b.Len()+len(word)+2 > width) {
			fmt.Fprintf(&b, " and %d more", len(ranges)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(word)
	}
	return b.String()
}

// CountSlots is how many slots are in all the ranges.
func CountSlots(ranges []SlotRange) int {
	n := 0
	for _, r := range ranges {
		n += r.Count()
	}
	return n
}

// unowned is the owner of a slot that no node serves.
const unowned = -1

// owners says for each slot who owns it.
type owners []int16

func newOwners() owners {
	o := make(owners, slot.Count)
	for i := range o {
		o[i] = unowned
	}
	return o
}

// of is the owner of a slot; the zero owners know of none.
func (o owners) of(s uint16) int {
	if int(s) >= len(o) {
		return unowned
	}
	return int(o[s])
}

func (o owners) ranges(of int) []SlotRange {
	return slotRanges(func(s uint16) bool { return o.of(s) == of })
}

// slotRanges are the ranges of the slots that are in a set.
func slotRanges(in func(s uint16) bool) []SlotRange {
	ranges := []SlotRange{}
	for s := uint16(0); s < slot.Count; s++ {
		switch last := len(ranges) - 1; {
		case !in(s):
		case last >= 0 && ranges[last].Last+1 == s:
			ranges[last].Last = s
		default:
			ranges = append(ranges, SlotRange{First: s, Last: s})
		}
	}
	return ranges
}
