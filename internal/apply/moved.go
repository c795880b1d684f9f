package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/topology"
)

// identity is by what a shard is known again: its primary may be another one by now, or
// have been started again.
type identity struct {
	RunID  string `json:"run_id"`  // of the primary
	ReplID string `json:"replid"`  // of its replication history
	Before string `json:"replid2"` // of the history that it goes on with, as a promoted replica does
	Node   string `json:"node"`    // its address
	// Cut tells that it has met an error in its append-only file when it started, see moved.
	Cut bool `json:"-"`
}

// becomes tells whether a shard that was a is b by now. A replica that was promoted says
// what the replid was before; a primary that was started again has its address.
func (a identity) becomes(b identity) bool {
	return a.RunID == b.RunID || a.Node == b.Node || a.ReplID == b.ReplID || a.ReplID == b.Before
}

// identities are those of the primaries.
func (s *shards) identities(ctx context.Context) ([]identity, error) {
	ids := make([]identity, len(s.primaries))
	for i, e := range s.primaries {
		c, err := server.Dial(ctx, e, clientName)
		if err != nil {
			return nil, err
		}
		own, err := c.Info(ctx, "server", "replication", "stats")
		ids[i] = identity{own["run_id"], own["master_replid"], own["master_replid2"], e.Address, own.Int("unexpected_error_replies") > 0}
		_ = c.Close() // nothing was left unsent
		if err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// kept sees that the primaries have what they were given since they were these. One that was
// a replica in between has another history, but not where it has made itself a new one: when
// its first replica comes, or an hour after the last one has gone (replication.c
// createReplicationBacklog, replicationCron), there is none that it goes on with.
func (s *shards) kept(ctx context.Context, was []identity) error {
	now, err := s.identities(ctx)
	if err != nil {
		return err
	}
	for i, e := range s.primaries {
		switch {
		case now[i].RunID != was[i].RunID:
			return fmt.Errorf("%s was started again during the copy", e.Address)
		case now[i].Before != was[i].Before && strings.Trim(now[i].Before, "0") != "":
			return fmt.Errorf("%s was a replica during the copy", e.Address)
		}
	}
	return nil
}

// moved are the slots that another shard has by now than the one that had them with the
// lanes, and those of a shard that may have done something twice: an append-only file
// that ends within a command of a transaction is cut after the command before it, not
// before the MULTI (aof.c loadSingleAppendOnlyFile, readerr), and is then gone on with.
// The next start finds a MULTI within a MULTI, which is an error, and executes what was
// cut off together with the same when it was sent again.
func (s *shards) moved(lanes []LaneProgress, ids []identity) []topology.SlotRange {
	var gone [slot.Count]bool
	for _, lane := range lanes {
		each(lane.Slots, func(of uint16) {
			is := ids[s.of[of]]
			gone[of] = !lane.Shard.becomes(is) || is.Cut && is.RunID != lane.Shard.RunID
		})
	}
	return rangesOf(func(of uint16) bool { return gone[of] })
}

// remember notes who the shards are by now, where nothing else has changed.
func (l *Link) remember(now *shards, ids []identity) error {
	return l.change(func(p *SourceProgress) bool {
		changed := false
		p.Lanes = slices.Clone(p.Lanes)
		for i := range p.Lanes {
			id := ids[now.of[p.Lanes[i].Slots[0].First]]
			changed = changed || p.Lanes[i].Shard != id
			p.Lanes[i].Shard = id
		}
		return changed
	})
}

// union are the slots of both.
func union(a, b []topology.SlotRange) []topology.SlotRange {
	var in [slot.Count]bool
	each(a, func(of uint16) { in[of] = true })
	each(b, func(of uint16) { in[of] = true })
	return rangesOf(func(of uint16) bool { return in[of] })
}

// without are the slots of a that are not in b.
func without(a, b []topology.SlotRange) []topology.SlotRange {
	var in [slot.Count]bool
	each(a, func(of uint16) { in[of] = true })
	each(b, func(of uint16) { in[of] = false })
	return rangesOf(func(of uint16) bool { return in[of] })
}
