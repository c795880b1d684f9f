package apply

import (
	"context"
	"slices"

	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/topology"
)

// shards is which server of the target has which slot.
type shards struct {
	cluster   bool // else it is one server, which has all
	primaries []server.Endpoint
	of        [slot.Count]uint16 // index of the primary
	moves     []topology.Move    // of slots that are on their way from one to another
	arrived   []topology.Move    // at once, as far as the nodes remember
}

// readShards asks the target.
func readShards(ctx context.Context, target server.Endpoint) (*shards, error) {
	d, err := topology.Resolve(ctx, target)
	if err != nil {
		return nil, err
	}
	s := &shards{cluster: d.Cluster != nil, primaries: d.Primaries}
	if d.Cluster != nil {
		s.moves, s.arrived = d.Cluster.Moves, d.Cluster.Arrived
	}
	if d.Slots != nil {
		for of := range s.of {
			s.of[of] = uint16(d.Slots(uint16(of)))
		}
	}
	return s, nil
}

// ranges are the slots of a primary.
func (s *shards) ranges(i int) []topology.SlotRange {
	return rangesOf(func(of uint16) bool { return int(s.of[of]) == i })
}

// same tells whether the lanes have the slots that the primaries have.
func (s *shards) same(lanes []LaneProgress) bool {
	if len(lanes) != len(s.primaries) {
		return false
	}
	for _, l := range lanes {
		i := int(s.of[l.Slots[0].First])
		if !slices.Equal(l.Slots, s.ranges(i)) {
			return false
		}
	}
	return true
}
