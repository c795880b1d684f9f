package apply

import (
	"context"
	"slices"
	"strings"

	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/topology"
)

// ClusterSource is a cluster whose data is carried. Its shards are the sources, as they
// come and go.
type ClusterSource struct {
	// Find gives any node that answers.
	Find func(context.Context) (server.Endpoint, error)
	// Describe tells about a primary of it.
	Describe func(context.Context, server.Endpoint) (Source, error)
}

// gather makes links of the shards that there are, before a copy.
func (e *Engine) gather(ctx context.Context) error {
	m, err := e.look(ctx)
	if err != nil {
		return err
	}
	if err := m.Served(); err != nil {
		return err
	}
	e.release()
	var shards []ShardProgress
	var owned []SlotsOf
	for _, s := range m.Shards() {
		if len(s.Primary.Slots) > 0 {
			owned = append(owned, SlotsOf{Slots: s.Primary.Slots, Source: len(shards)})
			shards = append(shards, ShardProgress{Nodes: nodesOf(m, s, nil)})
		}
	}
	e.slots = newSlotTable(owned, e.saveSlots)
	if err := e.set(Progress{Shards: shards, Settings: e.present().Settings}); err != nil {
		return err
	}
	if err := e.compare(m); err != nil {
		return err
	}
	for i := range shards {
		if err := e.join(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// gathered notes at the end of a copy what belongs to the cluster. Slots that have changed
// hands since its beginning may be in two snapshots, or in none.
func (e *Engine) gathered(ctx context.Context, next *Progress) error {
	m, err := e.look(ctx)
	if err != nil {
		return err
	}
	next.Shards = e.present().Shards
	err = e.compare(m)
	next.Slots = e.slots.present()
	return err
}

// regather makes links of the shards that were saved.
func (e *Engine) regather(ctx context.Context) error {
	m, err := e.look(ctx)
	if err != nil {
		return err
	}
	e.release()
	p := e.present()
	e.slots = newSlotTable(p.Slots, e.saveSlots)
	for i, s := range p.Shards {
		switch {
		case s.Ended:
		case remains(m, s.Nodes):
			if err := e.join(ctx, i); err != nil {
				return err
			}
		default:
			if err := e.left(ctx, i); err != nil {
				return err
			}
		}
	}
	return nil
}

// look reads the map of the cluster.
func (e *Engine) look(ctx context.Context) (*topology.ClusterMap, error) {
	if e.watcher == nil {
		at, err := e.cfg.Cluster.Find(ctx)
		if err != nil {
			return nil, err
		}
		w, err := topology.WatchCluster(ctx, at)
		if err != nil {
			return nil, err
		}
		e.watcher = w
		return w.Cluster(), nil
	}
	m, _, err := e.watcher.Reread(ctx)
	return m, err
}

// release ends all links.
func (e *Engine) release() {
	e.linking.Lock()
	links := e.links
	e.links = nil
	e.linking.Unlock()
	for _, l := range links {
		l.close()
	}
}

// join makes a link of a shard.
func (e *Engine) join(ctx context.Context, i int) error {
	find := func(ctx context.Context) (server.Endpoint, error) { return e.find(ctx, i) }
	at, err := find(ctx)
	if err != nil {
		return err
	}
	source, err := e.cfg.Cluster.Describe(ctx, at)
	if err != nil {
		return err
	}
	l := e.link(i, source, find)
	e.linking.Lock()
	e.links = append(e.links, l)
	e.linking.Unlock()
	return nil
}

// left is called of a shard that is none any more: what was said of its stream does not
// count from now on.
func (e *Engine) left(ctx context.Context, i int) error {
	p := e.present()
	if _, err := e.slots.unsettle(func(of uint16) bool { return int(e.slots.owner[of].Load()) == i }); err != nil {
		return err
	}
	l := e.link(i, Source{}, nil)
	l.owner = p.Owner
	defer l.close()
	now, err := e.shards(ctx)
	if err != nil {
		return err
	}
	if err := l.seal(ctx, now, p.Sources[i]); err != nil {
		return err
	}
	e.cfg.Log.Info("a shard of the source has left", "nodes", p.Shards[i].Nodes)
	return e.setShard(i, ShardProgress{Nodes: p.Shards[i].Nodes, Ended: true})
}

// find tells where a shard's primary is.
func (e *Engine) find(ctx context.Context, i int) (server.Endpoint, error) {
	m, _, err := e.watcher.Reread(ctx)
	if err != nil {
		return server.Endpoint{}, err
	}
	nodes := e.present().Shards[i].Nodes
	n, there := primaryOf(m, nodes)
	if !there {
		return server.Endpoint{}, &NoPrimaryError{Nodes: nodes}
	}
	return n.Endpoint, nil
}

// NoPrimaryError says that a shard of the source has no primary at present.
type NoPrimaryError struct{ Nodes []string } // IDs of its nodes

func (e *NoPrimaryError) Error() string {
	return "a shard of the source has no primary that answers; its nodes are " + strings.Join(e.Nodes, ", ")
}

// HintText is what the user can do about it.
func (e *NoPrimaryError) HintText() string {
	return "see `redis-cli --cluster check`: a replica has to be promoted, or the primary to be started again"
}

// primaryOf finds the primary among some nodes, one that has slots if there are several.
func primaryOf(m *topology.ClusterMap, ids []string) (topology.ClusterNode, bool) {
	var found topology.ClusterNode
	for _, id := range ids {
		n, known := m.Node(id)
		if !known || n.Role != topology.Primary || n.Address == "" || !n.Answered {
			continue
		}
		if found.ID == "" || len(found.Slots) == 0 && len(n.Slots) > 0 {
			found = n
		}
	}
	return found, found.ID != ""
}

// nodesOf are the IDs of a shard's nodes by a map, and those that it had before of which
// the map does not say that they are another's. (One that was a primary until now is for
// a moment nobody's replica.)
func nodesOf(m *topology.ClusterMap, s topology.Shard, before []string) []string {
	ids := []string{s.Primary.ID}
	for _, n := range s.Replicas {
		ids = append(ids, n.ID)
	}
	for _, id := range before {
		n, known := m.Node(id)
		anothers := !known || len(n.Slots) > 0 || n.Role == topology.Replica && n.Primary != ""
		if !anothers && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids[1:])
	return ids
}

// owners are the shards that have each slot by a map: unsettled for one that is on the
// move, or that nobody serves, or of a shard that imports.
func (e *Engine) owners(m *topology.ClusterMap) *[slot.Count]int16 {
	var all [slot.Count]int16
	for of := range all {
		all[of] = unsettled
	}
	shards := e.present().Shards
	for _, n := range m.Nodes {
		if len(n.Slots) > 0 {
			i := shardOf(shards, n.ID)
			each(n.Slots, func(of uint16) { all[of] = int16(i) })
		}
	}
	for i := range shards {
		if e.imports(m, i) {
			for of := range all {
				if int(all[of]) == i {
					all[of] = unsettled
				}
			}
		}
	}
	for _, move := range m.Moves {
		each(move.Slots, func(of uint16) { all[of] = unsettled })
	}
	return &all
}

// compare unsettles the slots of which a map says otherwise than the table.
func (e *Engine) compare(m *topology.ClusterMap) error {
	owners := e.owners(m)
	_, err := e.slots.unsettle(func(of uint16) bool { return int32(owners[of]) != e.slots.owner[of].Load() })
	return err
}

// shardOf is the number of the shard that a node is of, unsettled if there is no such.
func shardOf(shards []ShardProgress, id string) int {
	return slices.IndexFunc(shards, func(s ShardProgress) bool { return !s.Ended && slices.Contains(s.Nodes, id) })
}

// saveSlots saves the table of slots, but during a copy: that begins again after a crash.
func (e *Engine) saveSlots(slots []SlotsOf) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.progress.copied() {
		return nil
	}
	next := e.progress
	next.Slots = slots
	return e.saveLocked(next)
}

// setShard saves what is known of a shard.
func (e *Engine) setShard(i int, s ShardProgress) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.progress
	next.Shards = slices.Clone(next.Shards)
	if i == len(next.Shards) {
		next.Shards = append(next.Shards, s)
		next.Sources = append(slices.Clone(next.Sources), SourceProgress{})
	}
	next.Shards[i] = s
	return e.saveLocked(next)
}
