package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/reserved"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/topology"
)

// The checkpoint of a way back is a hash of the replica's. Besides these fields it has
// one for each shard, by its slots: "<replid> <offset> <db>", one for each key that is
// ahead, by aheadField: an offset of its shard, and perhaps one for a shard by mendField:
// the offset up to which the keys of its commands are carried by value.
const (
	checkpointDB = 0
	ownerField   = "owner"
	replidField  = "replid" // that the replica is known by, once it was restarted
	countField   = "transactions"
	mendField    = "mend:"
)

// ShardStand is a place in the stream of a shard.
type ShardStand struct {
	Shard  string `json:"shard"` // its slots, as "0-5460", several ranges with commas between them
	ReplID string `json:"replid"`
	Offset int64  `json:"offset"` // of the last byte before the place
	DB     int    `json:"db"`     // that is selected there
}

// feedCheckpoint is what was read of it.
type feedCheckpoint struct {
	owner, replid string
	shards        []ShardStand
	ahead, mend   map[string]int64
	count         int64 // of transactions

	doubted map[string][]string // by shard: keys that may differ, see feedLink.parted; in no field
}

func newCheckpoint() *feedCheckpoint {
	return &feedCheckpoint{ahead: map[string]int64{}, mend: map[string]int64{}, doubted: map[string][]string{}}
}

// readCheckpoint asks the replica; nil if it has none of this owner.
func (f *Feed) readCheckpoint(ctx context.Context) (*feedCheckpoint, error) {
	c, err := dial(ctx, f.cfg.Replica)
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	fields, err := c.do("HGETALL", reserved.WayBack(f.cfg.Name))
	if err != nil {
		return nil, err
	}
	p := newCheckpoint()
	for i := 0; i+1 < len(fields); i += 2 {
		name, text := string(fields[i]), string(fields[i+1])
		key, ahead := strings.CutPrefix(name, aheadField)
		shard, mend := strings.CutPrefix(name, mendField)
		var err error
		switch {
		case name == ownerField:
			p.owner = text
		case name == replidField:
			p.replid = text
		case name == countField:
			p.count, err = strconv.ParseInt(text, 10, 64)
		case ahead:
			p.ahead[key], err = strconv.ParseInt(text, 10, 64)
		case mend:
			p.mend[shard], err = strconv.ParseInt(text, 10, 64)
		default:
			s := ShardStand{Shard: name}
			_, err = fmt.Sscanf(text, "%s %d %d", &s.ReplID, &s.Offset, &s.DB)
			p.shards = append(p.shards, s)
		}
		if err != nil {
			return nil, &FatalError{fmt.Errorf("%s: field %q of %s: %w", f.cfg.Replica.Address, name, reserved.WayBack(f.cfg.Name), err)}
		}
	}
	if p.owner != f.cfg.Owner {
		return nil, nil //nolint:nilnil // what another way back has left is none of this one's
	}
	return p, nil
}

// text is how a place is written to the checkpoint.
func (s ShardStand) text() string { return fmt.Sprintf("%s %d %d", s.ReplID, s.Offset, s.DB) }

// shardName is what a shard is called, by its slots.
func shardName(ranges []topology.SlotRange) string {
	names := make([]string, len(ranges))
	for i, r := range ranges {
		names[i] = r.String()
	}
	return strings.Join(names, ",")
}

// slotsOf are those by which a shard is called.
func slotsOf(name string) ([]topology.SlotRange, error) {
	var ranges []topology.SlotRange
	for text := range strings.SplitSeq(name, ",") {
		first, last, several := strings.Cut(text, "-")
		if !several {
			last = first
		}
		from, err1 := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err := errors.Join(err1, err2); err != nil {
			return nil, fmt.Errorf("%q are no slots: %w", name, err)
		}
		if from > to || to >= slot.Count {
			return nil, fmt.Errorf("%q are no slots", name)
		}
		ranges = append(ranges, topology.SlotRange{First: uint16(from), Last: uint16(to)})
	}
	return ranges, nil
}

// primaryOf asks the cluster, at any of the nodes that are known, which server has the
// slots of a shard.
func (f *Feed) primaryOf(ctx context.Context, name string) (server.Endpoint, error) {
	var errs []error
	for _, node := range f.known() {
		m, err := topology.ReadCluster(ctx, node)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		f.know(m)
		ranges, err := slotsOf(name)
		if err != nil {
			return server.Endpoint{}, &FatalError{err}
		}
		owner, served := m.Owner(ranges[0].First)
		if !served {
			errs = append(errs, fmt.Errorf("%s: slot %d is served by no node", node.Address, ranges[0].First))
			continue
		}
		var moved error
		each(ranges, func(of uint16) {
			if now, _ := m.Owner(of); now.ID != owner.ID && moved == nil {
				moved = &SlotMovedError{Shard: name, Slot: of, Command: "CLUSTER SLOTS"}
			}
		})
		return owner.Endpoint, moved
	}
	return server.Endpoint{}, errors.Join(errs...)
}

// know remembers where the cluster can be asked.
func (f *Feed) know(m *topology.ClusterMap) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, n := range m.Nodes {
		if n.Address != "" && !slices.ContainsFunc(f.nodes, func(e server.Endpoint) bool { return e.Address == n.Endpoint.Address }) {
			f.nodes = append(f.nodes, n.Endpoint)
		}
	}
}

func (f *Feed) known() []server.Endpoint {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.nodes)
}
