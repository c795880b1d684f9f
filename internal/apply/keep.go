package apply

import (
	"context"
	"errors"
	"slices"
	"time"

	"godwit/internal/server"
	"godwit/internal/topology"
)

const (
	// lookEvery is how often the map of a cluster is read in which nothing seems to change,
	// and settleEvery as long as slots are unsettled.
	lookEvery   = time.Second
	settleEvery = 100 * time.Millisecond
)

// keep follows the cluster: it starts links for shards that are new, ends those of shards
// that have left, and settles slots.
func (e *Engine) keep(ctx context.Context, start func(*Link)) error {
	for {
		pause := lookEvery
		if e.slots.open.Load() > 0 {
			pause = settleEvery
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-e.slots.wake:
			timer.Stop()
		case <-timer.C:
		}
		if err := e.tidy(ctx, start); err != nil {
			var failed *saveError
			if errors.As(err, &failed) {
				return err
			}
			e.cfg.Log.Debug("the source's cluster is looked at again", "error", err)
			wait(ctx, settleEvery)
		}
	}
}

// tidy does what there is to do now.
func (e *Engine) tidy(ctx context.Context, start func(*Link)) error {
	look := e.watcher.Refresh
	if e.slots.open.Load() > 0 {
		look = e.watcher.Reread
	}
	m, _, err := look(ctx)
	if err != nil {
		return err
	}
	if err := e.shardsOf(ctx, m, start); err != nil {
		return err
	}
	if err := e.compare(m); err != nil {
		return err
	}
	if e.slots.open.Load() == 0 {
		return nil
	}
	return e.settle(ctx, m)
}

// shardsOf starts links for shards that are new, and ends those of shards that have left.
func (e *Engine) shardsOf(ctx context.Context, m *topology.ClusterMap, start func(*Link)) error {
	for _, s := range m.Shards() {
		shards := e.present().Shards
		i := shardOf(shards, s.Primary.ID)
		switch {
		case len(s.Primary.Slots) == 0:
		case i < 0:
			if err := e.joined(ctx, m, s, start); err != nil {
				return err
			}
		default:
			if ids := nodesOf(m, s, shards[i].Nodes); !slices.Equal(ids, shards[i].Nodes) {
				if err := e.setShard(i, ShardProgress{Nodes: ids}); err != nil {
					return err
				}
			}
		}
	}
	for _, l := range e.all() {
		nodes := e.present().Shards[l.index].Nodes
		if remains(m, nodes) {
			// One that was demoted in the moment it was attached to goes on with the stream,
			// as the replica of another, but gives no values.
			v := l.View()
			if n, there := primaryOf(m, nodes); there && v.State == Streaming && v.Source != n.Address {
				l.in.leave()
			}
			continue
		}
		l.end()
		<-l.ended
		if err := e.left(ctx, l.index); err != nil {
			return err
		}
		e.linking.Lock()
		e.links = slices.DeleteFunc(e.links, func(x *Link) bool { return x == l })
		e.linking.Unlock()
		l.close()
	}
	return nil
}

// joined starts a link for a shard that is new.
func (e *Engine) joined(ctx context.Context, m *topology.ClusterMap, s topology.Shard, start func(*Link)) error {
	i := len(e.present().Shards)
	if err := e.setShard(i, ShardProgress{Nodes: nodesOf(m, s, nil)}); err != nil {
		return err
	}
	if err := e.join(ctx, i); err != nil {
		return err
	}
	e.cfg.Log.Info("the source has another shard", "primary", s.Primary.Address)
	links := e.all()
	start(links[len(links)-1])
	return nil
}

// remains tells whether some nodes are a shard: there is a primary among them, or one that
// has slots, be it dead.
func remains(m *topology.ClusterMap, ids []string) bool {
	return slices.ContainsFunc(ids, func(id string) bool {
		n, known := m.Node(id)
		return known && (len(n.Slots) > 0 || n.Role == topology.Primary && n.Answered)
	})
}

// patience is how long links are waited for, before the cluster is looked at again.
const patience = 2 * time.Second

// settle carries slots by value that are unsettled, and no more on the move.
func (e *Engine) settle(ctx context.Context, m *topology.ClusterMap) error {
	links := e.all()
	of := make(map[*Link][]uint16)
	owners := e.owners(m)
	for _, i := range e.slots.of(unsettled) {
		for _, l := range links {
			if l.index == int(owners[i]) {
				of[l] = append(of[l], i)
			}
		}
	}
	if len(of) == 0 || slices.ContainsFunc(links, func(l *Link) bool { return l.gate.shut() }) {
		return nil // what a repair writes of a slot is of the shard that had it; none is begun any more
	}
	passed, err := e.allPassed(ctx, m, links)
	if err != nil || !passed {
		return err
	}
	for l, slots := range of {
		if err := l.takeOver(slots, func() (bool, error) { return e.mayTakeOver(ctx, l) }); err != nil {
			return err
		}
	}
	return nil
}

// mayTakeOver tells whether a link may take over slots now: by the map of this moment where
// dbs are mapped, as what was taken over within an import would be in the wrong ones.
func (e *Engine) mayTakeOver(ctx context.Context, l *Link) (bool, error) {
	if !e.cfg.Route.Maps() {
		return true, nil
	}
	m, _, err := e.watcher.Reread(ctx)
	return err == nil && !e.imports(m, l.index), err
}

// imports tells of a shard that is being given slots, where that leaves unknown which of
// several dbs its commands are of, see dispatcher.ofSlots.
func (e *Engine) imports(m *topology.ClusterMap, shard int) bool {
	if !e.cfg.Route.Maps() || shard < 0 {
		return false
	}
	n, there := primaryOf(m, e.present().Shards[shard].Nodes)
	return there && slices.ContainsFunc(m.Moves, func(move topology.Move) bool { return move.Kind == topology.MoveAtomic && move.To == n.ID })
}

// allPassed waits until what any link has taken of slots that are unsettled has been
// carried out: batches under way could overwrite what is carried by value. That is all
// that has come from the sources by now; what these have sent besides, the last words of
// old owners, is better passed as well, as it would unsettle the slots again.
func (e *Engine) allPassed(ctx context.Context, m *topology.ClusterMap, links []*Link) (bool, error) {
	until := make([]int64, len(links))
	for i, l := range links {
		until[i] = l.in.end.Load()
		n, there := primaryOf(m, e.present().Shards[l.index].Nodes)
		if !there {
			continue
		}
		at, err := offsetOf(ctx, n.Endpoint)
		if err != nil {
			return false, err
		}
		until[i] = max(until[i], at)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for i, l := range links {
		for l.passed.Load() < until[i] {
			if !wait(ctx, time.Millisecond) {
				return false, nil
			}
		}
	}
	return true, nil
}

func offsetOf(ctx context.Context, e server.Endpoint) (int64, error) {
	info, err := replication(ctx, e)
	return info.Int("master_repl_offset"), err
}
