package apply

import (
	"context"
	"fmt"
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
}

// readShards asks the target.
func readShards(ctx context.Context, target server.Endpoint) (*shards, error) {
	d, err := topology.Resolve(ctx, target)
	if err != nil {
		return nil, err
	}
	s := &shards{cluster: d.Cluster != nil, primaries: d.Primaries}
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

// runIDs are those of the primaries.
func (s *shards) runIDs(ctx context.Context) ([]string, error) {
	ids := make([]string, len(s.primaries))
	for i, e := range s.primaries {
		c, err := server.Dial(ctx, e, clientName)
		if err != nil {
			return nil, err
		}
		info, err := c.Info(ctx, "server")
		_ = c.Close() // nothing was left unsent
		if err != nil {
			return nil, err
		}
		if ids[i] = info["run_id"]; ids[i] == "" {
			return nil, fmt.Errorf("%s: INFO server has no run_id", e.Address)
		}
	}
	return ids, nil
}
