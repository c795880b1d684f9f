package migrate

import (
	"context"
	"fmt"

	"godwit/internal/cutover"
)

// As long as the source serves, every node of the cluster refuses the writes of all users
// but godwit's own, by which the engine is connected, as a target that is a replica does
// by itself: a client that writes there too early would make the two differ, and a source
// that demotes itself refuses writes before it is a replica for good, so that clients
// which turn to the cluster at once would.

// ownUser is by which godwit writes to the cluster.
func (m *Sharded) ownUser() string { return "godwit:" + m.cfg.Name }

// ownPassword is that of this run.
func (m *Sharded) ownPassword() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.password == "" {
		m.password = newPassword()
	}
	return m.password
}

// fence is the one in the journal, with clients of all nodes; without rules if there
// is none. The caller closes the clients.
func (m *Sharded) fence(ctx context.Context) (*cutover.ACLFence, error) {
	_, nodes, err := m.nodes(ctx)
	if err != nil {
		closeAll(nodes)
		return nil, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return &cutover.ACLFence{Nodes: nodes, User: m.ownUser(), Rules: m.rec.Fence}, nil
}

// known sees that every node knows godwit's own user and, if the journal has a fence,
// refuses the writes of all others: a node that was started again, or has been added,
// does not by itself.
func (m *Sharded) known(ctx context.Context) error {
	f, err := m.fence(ctx)
	if err != nil {
		return err
	}
	defer closeAll(f.Nodes)
	fenced, before := f.Rules != nil, len(f.Rules)
	if err := f.Prepare(ctx, m.ownPassword()); err != nil || !fenced {
		return err
	}
	if len(f.Rules) != before {
		if err := m.noteFence(f.Rules); err != nil {
			return err
		}
	}
	return f.Set(ctx)
}

func (m *Sharded) noteFence(rules map[string][]cutover.UserRules) error {
	return m.update(func(r *shardedRecord) { r.Fence = rules })
}

// raise has the cluster refuse its clients' writes.
func (m *Sharded) raise(ctx context.Context) error {
	f, err := m.fence(ctx)
	if err != nil {
		return err
	}
	defer closeAll(f.Nodes)
	if err := f.Prepare(ctx, m.ownPassword()); err != nil {
		return err
	}
	if err := m.noteFence(f.Rules); err != nil {
		return err
	}
	return f.Set(ctx)
}

// lift has the cluster take its clients' writes again. The journal is the caller's.
func (m *Sharded) lift(ctx context.Context) error {
	f, err := m.fence(ctx)
	if err != nil {
		return err
	}
	defer closeAll(f.Nodes)
	if err := f.Lift(ctx); err != nil {
		return fmt.Errorf("the users of the cluster: %w", err)
	}
	return nil
}

// forget deletes godwit's own user.
func (m *Sharded) forget(ctx context.Context) error {
	f, err := m.fence(ctx)
	if err != nil {
		return err
	}
	defer closeAll(f.Nodes)
	return f.Forget(ctx)
}

// unfence takes back everything.
func (m *Sharded) unfence(ctx context.Context) error {
	if err := m.lift(ctx); err != nil {
		return err
	}
	if err := m.noteFence(nil); err != nil {
		return err
	}
	return m.forget(ctx)
}

// unpause ends what a rollback may have left paused.
func (m *Sharded) unpause(ctx context.Context) error {
	primaries, nodes, err := m.nodes(ctx)
	defer closeAll(nodes)
	if err != nil {
		return err
	}
	for _, c := range primaries {
		if _, err := c.Do(ctx, "CLIENT", "UNPAUSE"); err != nil {
			return err
		}
	}
	return nil
}
