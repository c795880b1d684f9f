package sandbox

import (
	"context"
	"errors"
	"fmt"
)

// MoveAtomically moves slots of one shard to another as Valkey can from 9.0 on: the
// source replicates them to the target, and they change hands in one moment. When ctx
// is done before that, the migration is cancelled.
func (c *Cluster) MoveAtomically(ctx context.Context, slots SlotRange, to int) error {
	if err := c.moveAtomically(ctx, slots, to); err != nil {
		return fmt.Errorf("moving slots %v atomically: %w", slots, err)
	}
	return c.Settle(ctx)
}

func (c *Cluster) moveAtomically(ctx context.Context, slots SlotRange, to int) error {
	from, err := c.Owner(ctx, slots.First)
	if err != nil {
		return err
	}
	source, err := c.primaryView(ctx, from)
	if err != nil {
		return err
	}
	target, err := c.primaryView(ctx, to)
	if err != nil {
		return err
	}
	earlier, err := source.node.slotMigrations(ctx)
	if err != nil {
		return err
	}
	client := source.node.client
	if _, err := client.Do(ctx, "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slots.First, slots.Last, "NODE", target.node.id); err != nil {
		return err
	}
	var ended slotMigration
	err = c.await(ctx, func(ctx context.Context) error {
		migrations, err := source.node.slotMigrations(ctx)
		if err != nil {
			return err
		}
		for name, m := range migrations {
			if _, known := earlier[name]; !known {
				ended = m
			}
		}
		if !ended.over() {
			return fmt.Errorf("%s: the migration is in state %q", source.node.Address(), ended.state)
		}
		return nil
	})
	if ctx.Err() != nil {
		_, cancelErr := client.Do(context.WithoutCancel(ctx), "CLUSTER", "CANCELSLOTMIGRATIONS")
		return errors.Join(ctx.Err(), cancelErr)
	}
	if err == nil && ended.state != "success" {
		err = fmt.Errorf("%s: the migration ended in state %q: %s", source.node.Address(), ended.state, ended.message)
	}
	return err
}

// slotMigration is an entry of CLUSTER GETSLOTMIGRATIONS (cluster_migrateslots.c).
type slotMigration struct{ state, message string }

func (m slotMigration) over() bool {
	return m.state == "success" || m.state == "failed" || m.state == "cancelled"
}

// slotMigrations are those that the node remembers, by name.
func (n *node) slotMigrations(ctx context.Context) (map[string]slotMigration, error) {
	reply, err := n.client.Do(ctx, "CLUSTER", "GETSLOTMIGRATIONS")
	if err != nil {
		return nil, err
	}
	list, ok := reply.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: CLUSTER GETSLOTMIGRATIONS: %v is no list", n.Address(), reply)
	}
	migrations := make(map[string]slotMigration)
	for _, entry := range list {
		flat, _ := entry.([]any)
		fields := make(map[string]string)
		for i := 0; i+1 < len(flat); i += 2 {
			fields[fmt.Sprint(flat[i])] = fmt.Sprint(flat[i+1])
		}
		if fields["name"] == "" || fields["state"] == "" {
			return nil, fmt.Errorf("%s: CLUSTER GETSLOTMIGRATIONS: %v has no name or state", n.Address(), entry)
		}
		migrations[fields["name"]] = slotMigration{state: fields["state"], message: fields["message"]}
	}
	return migrations, nil
}
