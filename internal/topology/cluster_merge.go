package topology

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"godwit/internal/server"
	"godwit/internal/slot"
)

// answer is what one node said when it was asked.
type answer struct {
	at      server.Endpoint // where it was asked
	view    *nodesView
	epoch   int64
	ok      bool
	shardID string
	moves   []Move // atomic ones
	arrived []Move // likewise, that were carried out
	slots   any    // CLUSTER SLOTS, where it was asked for
}

// naming is how a cluster's nodes are to be called (cluster-preferred-endpoint-type).
type naming struct {
	as        server.Endpoint // user, password, TLS and db
	hostnames bool            // by hostname, where a node has one
	sameHost  bool            // by the host that we asked, with their own port
}

// endpoint is where a node is reached; without an address where nobody knows it. at is
// where the node has told so itself, nil for what another says of it.
func (n naming) endpoint(l *nodesLine, at *server.Endpoint) server.Endpoint {
	host := l.host
	switch {
	case n.hostnames && l.hostname != "":
		host = l.hostname
	case n.sameHost:
		host = hostOf(n.as)
	case host == "" && at != nil:
		host = hostOf(*at)
	}
	e := n.as
	e.Network, e.Address = "tcp", l.address(host)
	return e
}

// hostOf is the host that a server was reached at.
func hostOf(e server.Endpoint) string {
	if e.Network == "unix" {
		return "127.0.0.1"
	}
	return e.Host()
}

// learnNaming finds out from CLUSTER SLOTS how clients are to call the nodes. The host
// there is the preferred one: nil for the one that was asked, and the addresses that
// are not preferred stand behind it (cluster.c addNodeToNodeReply). It tells false
// where no node is listed.
func (n *naming) learnNaming(reply any, view *nodesView) bool {
	ranges, _ := reply.([]any)
	for _, r := range ranges {
		fields, _ := r.([]any)
		for _, node := range fields[min(2, len(fields)):] {
			words, _ := node.([]any)
			if len(words) < 3 {
				continue
			}
			i := slices.IndexFunc(view.nodes, func(l nodesLine) bool { return l.id == words[2] })
			if i < 0 {
				continue
			}
			host, known := words[0].(string)
			line := view.nodes[i]
			n.sameHost = !known
			n.hostnames = host == "?" || host != line.host && host == line.hostname && host != ""
			return true
		}
	}
	return false
}

// merge makes one map of what several nodes say; there must be one answer at least.
// For a moment nodes disagree after a failover and while slots change hands: of each
// slot the owner with the newest config epoch is believed, which is the cluster's own
// rule (cluster_legacy.c clusterUpdateSlotsConfigWith), and of each node what it says
// of itself.
func merge(answers []answer, name naming) *ClusterMap {
	// The newest first: it is believed of nodes that have not answered themselves.
	slices.SortStableFunc(answers, func(a, b answer) int { return cmp.Compare(b.epoch, a.epoch) })
	c := &ClusterMap{Nodes: []ClusterNode{}, Moves: []Move{}, Epoch: answers[0].epoch, OK: true}
	own := make(map[string]*answer) // by the ID of the node that gave it
	for i := range answers {
		own[answers[i].view.myself().id] = &answers[i]
		c.OK = c.OK && answers[i].ok
	}
	at := make(map[string]int)
	for _, a := range answers {
		for _, line := range a.view.nodes {
			if _, known := at[line.id]; known {
				continue
			}
			at[line.id] = len(c.Nodes)
			c.Nodes = append(c.Nodes, mergeNode(line, own[line.id], answers, name))
		}
	}
	o := mergeOwners(answers, own, at)
	c.sortNodes(o)
	c.mergeMoves(answers)
	return c
}

// mergeNode makes a node of its line in the newest map, of its own answer, and of
// what the others think of it.
func mergeNode(line nodesLine, own *answer, answers []answer, name naming) ClusterNode {
	n := ClusterNode{Health: Healthy, Slots: []SlotRange{}}
	var at *server.Endpoint
	if own != nil {
		line, at = *own.view.myself(), &own.at
		n.Answered, n.ShardID = true, own.shardID
	}
	n.ID, n.IP, n.Hostname, n.Epoch, n.LinkUp = line.id, line.host, line.hostname, line.epoch, line.linkUp
	n.Role, n.Primary = Primary, line.primary
	if line.is("slave") {
		n.Role = Replica
	}
	n.Handshake, n.NoAddress, n.NoFailover = line.is("handshake"), line.is("noaddr"), line.is("nofailover")
	n.Endpoint = name.endpoint(&line, at)
	n.Address = n.Endpoint.Address
	for _, a := range answers {
		for i := range a.view.nodes {
			seen := &a.view.nodes[i]
			if seen.id != line.id || seen.is("myself") {
				continue
			}
			n.LinkUp = n.LinkUp || seen.linkUp
			switch {
			case seen.is("fail"):
				n.Health = Failed
			case seen.is("fail?") && n.Health == Healthy:
				n.Health = Suspected
			}
		}
	}
	return n
}

// mergeOwners says for each slot who owns it, as indices by at.
func mergeOwners(answers []answer, own map[string]*answer, at map[string]int) owners {
	merged := newOwners()
	for s := range uint16(slot.Count) {
		var best *nodesLine
		for _, a := range answers {
			i := a.view.owners.of(s)
			if i == unowned {
				continue
			}
			claim := &a.view.nodes[i]
			if best == nil || claim.epoch > best.epoch || claim.epoch == best.epoch && claim.is("myself") {
				best = claim
			}
		}
		if best == nil {
			continue
		}
		// After DELSLOTS the others still think that it is served.
		if a := own[best.id]; a != nil && a.view.owners.of(s) == unowned {
			continue
		}
		merged[s] = int16(at[best.id]) //nolint:gosec // a cluster has at most 16384 primaries
	}
	return merged
}

// sortNodes puts the nodes in their order and gives them their slots.
func (c *ClusterMap) sortNodes(o owners) {
	first := make([]int, len(c.Nodes))
	order := make([]int, len(c.Nodes))
	for i := range c.Nodes {
		order[i] = i
		first[i] = slot.Count
		if c.Nodes[i].Slots = o.ranges(i); len(c.Nodes[i].Slots) > 0 {
			first[i] = int(c.Nodes[i].Slots[0].First)
			// It may have answered in the moment before it was promoted.
			c.Nodes[i].Role, c.Nodes[i].Primary = Primary, ""
		}
	}
	index := make(map[string]int)
	for i, n := range c.Nodes {
		index[n.ID] = i
	}
	// The primary whose shard a node is of: itself, or the one that it replicates.
	primary := func(i int) (p, group int) {
		n := c.Nodes[i]
		if n.Handshake {
			return i, 2
		}
		if n.Role == Primary {
			return i, 0
		}
		if p, ok := index[n.Primary]; ok {
			return p, 0
		}
		return i, 1
	}
	slices.SortStableFunc(order, func(a, b int) int {
		pa, groupA := primary(a)
		pb, groupB := primary(b)
		return cmp.Or(
			cmp.Compare(groupA, groupB),
			cmp.Compare(first[pa], first[pb]),
			strings.Compare(c.Nodes[pa].Address, c.Nodes[pb].Address),
			strings.Compare(c.Nodes[pa].ID, c.Nodes[pb].ID),
			cmp.Compare(min(1, pa^a), min(1, pb^b)), // the primary before its replicas
			strings.Compare(c.Nodes[a].Address, c.Nodes[b].Address),
			strings.Compare(c.Nodes[a].ID, c.Nodes[b].ID),
		)
	})
	nodes, place := make([]ClusterNode, len(order)), make([]int16, len(order))
	for to, from := range order {
		nodes[to], place[from] = c.Nodes[from], int16(to) //nolint:gosec // as above
	}
	for s, i := range o {
		if i != unowned {
			o[s] = place[i]
		}
	}
	c.Nodes, c.owners = nodes, o
}

// mergeMoves puts together what the two ends of each move say.
func (c *ClusterMap) mergeMoves(answers []answer) {
	byKeys := make(map[uint16]Move)
	atomic := make(map[string]Move)
	arrived := make(map[string]Move)
	for _, a := range answers {
		self := a.view.myself().id
		for _, m := range a.view.moves {
			move := Move{Kind: MoveByKeys, From: self, To: m.other, State: "migrating"}
			if m.importing {
				move.From, move.To, move.State = m.other, self, "importing"
			}
			if owner, served := c.Owner(m.slot); served && owner.ID == move.To {
				continue // it has arrived; Redis leaves the mark at the old owner
			}
			if other, ok := byKeys[m.slot]; ok && other.From == move.From && other.To == move.To {
				move.State = ""
			}
			byKeys[m.slot] = move
		}
		for _, m := range a.moves {
			if _, ok := atomic[m.Job]; !ok || m.From == self {
				atomic[m.Job] = m
			}
		}
		for _, m := range a.arrived {
			arrived[m.Job] = m // by whichever end
		}
	}
	for s := range uint16(slot.Count) {
		m, ok := byKeys[s]
		if !ok {
			continue
		}
		i := slices.IndexFunc(c.Moves, func(o Move) bool { return o.From == m.From && o.To == m.To && o.State == m.State })
		if i < 0 {
			i, c.Moves = len(c.Moves), append(c.Moves, m)
		}
		switch last := len(c.Moves[i].Slots) - 1; {
		case last >= 0 && c.Moves[i].Slots[last].Last+1 == s:
			c.Moves[i].Slots[last].Last = s
		default:
			c.Moves[i].Slots = append(c.Moves[i].Slots, SlotRange{First: s, Last: s})
		}
	}
	for _, m := range atomic {
		c.Moves = append(c.Moves, m)
	}
	for _, job := range slices.Sorted(maps.Keys(arrived)) {
		c.Arrived = append(c.Arrived, arrived[job])
	}
	slices.SortFunc(c.Moves, func(a, b Move) int {
		return cmp.Or(slices.CompareFunc(a.Slots, b.Slots, func(x, y SlotRange) int { return cmp.Compare(x.First, y.First) }), strings.Compare(a.Job, b.Job))
	})
}
