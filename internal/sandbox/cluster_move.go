package sandbox

import (
	"context"
	"fmt"
	"time"
)

// MoveOptions tune Move.
type MoveOptions struct {
	Batch int // keys in one MIGRATE; default 10, as that of redis-cli

	// Step is called in a slot's course: before each MIGRATE, with the number of its
	// keys moved so far, and once before the slot is given to its new owner. It may
	// take its time: so long is the slot half moved. An error ends Move, which
	// returns it and leaves the slot as it is.
	Step func(slot uint16, moved int) error
}

// Move moves slots to a shard one by one while they are served, as redis-cli
// --cluster reshard does: IMPORTING, MIGRATING, MIGRATE of the keys, NODE on all
// primaries. When ctx is done or Step fails a slot stays half moved; to Move again
// goes on from there.
func (c *Cluster) Move(ctx context.Context, slots SlotRange, to int, o MoveOptions) error {
	if o.Batch == 0 {
		o.Batch = 10
	}
	primaries, err := c.primaryViews(ctx)
	if err != nil {
		return fmt.Errorf("moving slots %v: %w", slots, err)
	}
	if to < 0 || to >= len(primaries) {
		return fmt.Errorf("moving slots %v: no shard %d in a cluster of %d", slots, to, len(primaries))
	}
	for at := int(slots.First); at <= int(slots.Last); at++ {
		m := slotMove{cluster: c, slot: uint16(at), primaries: primaries, target: primaries[to].node, options: o}
		if err := m.run(ctx); err != nil {
			return fmt.Errorf("moving slot %d to %s: %w", at, m.target.Address(), err)
		}
	}
	return c.Settle(ctx)
}

// slotMove is the way of one slot.
type slotMove struct {
	cluster   *Cluster
	slot      uint16
	primaries []*view // from before
	source    *node
	target    *node
	options   MoveOptions
}

func (m *slotMove) run(ctx context.Context) error {
	from, err := owner(m.primaries, m.slot)
	if err != nil {
		return err
	}
	m.source = m.primaries[from].node
	if m.source == m.target {
		return m.assign(ctx) // all may know it already: that costs nothing
	}
	// In this order: what the source does not find any more it sends to the target.
	if err := m.setSlot(ctx, m.target, "IMPORTING", m.source.id); err != nil {
		return err
	}
	if err := m.setSlot(ctx, m.source, "MIGRATING", m.target.id); err != nil {
		return err
	}
	if err := m.migrateKeys(ctx); err != nil {
		return err
	}
	return m.assign(ctx)
}

func (m *slotMove) setSlot(ctx context.Context, n *node, args ...any) error {
	_, err := n.client.Do(ctx, append([]any{"CLUSTER", "SETSLOT", m.slot}, args...)...)
	return err
}

// migrateTimeout is for one MIGRATE, at the source, which stands still meanwhile. It
// is below the time after which our own client gives up.
const migrateTimeout = 4 * time.Second

func (m *slotMove) migrateKeys(ctx context.Context) error {
	for moved := 0; ; {
		if err := m.step(ctx, moved); err != nil {
			return err
		}
		reply, err := m.source.client.Do(ctx, "CLUSTER", "GETKEYSINSLOT", m.slot, m.options.Batch)
		if err != nil {
			return err
		}
		keys, ok := reply.([]any)
		if !ok {
			return fmt.Errorf("%s: CLUSTER GETKEYSINSLOT: %v is no list", m.source.Address(), reply)
		}
		if len(keys) == 0 {
			return nil
		}
		migrate := []any{"MIGRATE", host, m.target.Port(), "", 0, migrateTimeout.Milliseconds()}
		if password := m.cluster.options.Password; password != "" {
			migrate = append(migrate, "AUTH", password)
		}
		migrate = append(append(migrate, "KEYS"), keys...)
		if _, err := m.source.client.Do(ctx, migrate...); err != nil {
			return err
		}
		moved += len(keys)
	}
}

func (m *slotMove) step(ctx context.Context, moved int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if m.options.Step == nil {
		return nil
	}
	return m.options.Step(m.slot, moved)
}

// assign says to all primaries whose the slot is. The new owner is first, so that
// never nobody takes the slot for its own.
func (m *slotMove) assign(ctx context.Context) error {
	told := []*node{m.target}
	if m.source != m.target {
		told = append(told, m.source)
	}
	for _, v := range m.primaries {
		if v.node != m.target && v.node != m.source {
			told = append(told, v.node)
		}
	}
	for _, n := range told {
		if err := m.setSlot(ctx, n, "NODE", m.target.id); err != nil {
			return err
		}
	}
	return nil
}
