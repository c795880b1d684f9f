package apply

import (
	"context"
	"time"

	"godwit/internal/server"
	"godwit/internal/topology"
)

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
	if len(of) == 0 {
		return nil
	}
	passed, err := e.allPassed(ctx, m, links)
	if err != nil || !passed {
		return err
	}
	for l, slots := range of {
		if err := l.takeOver(slots); err != nil {
			return err
		}
	}
	return nil
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
