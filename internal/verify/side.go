package verify

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"godwit/internal/command"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/topology"
)

// side is one of the two deployments, and what has been read of it.
type side struct {
	Side
	role   string // sourceRole or targetRole
	shards []*shard

	keys, bytes atomic.Int64
}

// shard is one of a side's servers.
type shard struct {
	side   *side
	number int // in Side.Shards
	node   topology.Node
	client *server.Client
}

// The roles of sides.
const (
	sourceRole = "source"
	targetRole = "target"
)

// clientName is what CLIENT LIST shows.
const clientName = "godwit-verify"

func newSide(role string, s Side) *side { return &side{Side: s, role: role} }

// look connects to the shards.
func (s *side) look(ctx context.Context) error {
	s.shards = make([]*shard, len(s.Shards))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxConnecting)
	for i, endpoint := range s.Shards {
		group.Go(func() error {
			client, err := server.Dial(ctx, endpoint, clientName)
			if err != nil {
				return fmt.Errorf("the %s: %w", s.role, err)
			}
			s.shards[i] = &shard{side: s, number: i, client: client}
			if s.shards[i].node, err = topology.Inspect(ctx, client); err != nil {
				return fmt.Errorf("the %s: %w", s.role, err)
			}
			s.shards[i].node.Commands = command.Learnt{} // the largest part, and of no use here
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return s.apart()
}

// maxConnecting is how many shards are looked at together.
const maxConnecting = 8

func (s *side) close() {
	for _, shard := range s.shards {
		if shard != nil {
			_ = shard.client.Close() // nothing was left unsent
		}
	}
}

// read is how much has been read of the side.
func (s *side) read() Read { return Read{Keys: s.keys.Load(), Bytes: s.bytes.Load()} }

// count adds to it.
func (s *side) count(r Read) {
	s.keys.Add(r.Keys)
	s.bytes.Add(r.Bytes)
}

// reset begins to count anew.
func (s *side) reset() {
	s.keys.Store(0)
	s.bytes.Store(0)
}

// owns tells whether a key counts from that shard: while slots move, and after
// it, others may have it too. Libraries belong to no slot.
func (s *side) owns(shard, db int, key []byte) bool {
	return s.Slots == nil || db == libraries || s.Slots(slot.Of(key)) == shard
}
