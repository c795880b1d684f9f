package migrate

import (
	"context"
	"log/slog"
	"maps"

	"godwit/internal/cutover"
)

// The cluster is fenced as long as the source serves, see deployment. A source that
// demotes itself refuses writes before it is a replica for good, so that clients which
// turn to the cluster at once would come too early.

// fenced are the rules in the journal, nil if the cluster takes writes.
func (m *Sharded) fenced() rules {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.rec.Fence)
}

func (m *Sharded) noteFence(r rules) error {
	return m.update(func(rec *shardedRecord) { rec.Fence, rec.Fenced = r, rec.Fenced || r != nil })
}

// raise has the cluster refuse its clients' writes.
func (m *Sharded) raise(ctx context.Context) error {
	return m.cluster.raise(ctx, m.fenced(), m.noteFence)
}

// known sees that every node knows godwit's own user and, if the journal has a fence,
// refuses the writes of all others: a node that was started again, or has been added,
// does not by itself.
func (m *Sharded) known(ctx context.Context) error {
	if m.fenced() == nil {
		return m.cluster.introduce(ctx)
	}
	return m.raise(ctx)
}

// lift has the cluster take its clients' writes again. It has been committed to: a node
// that cannot be reached is told later, see tendLeft.
func (m *Sharded) lift(ctx context.Context, f *cutover.ACLFence) {
	left, err := m.cluster.lifted(ctx, f)
	if err != nil {
		m.event(slog.LevelWarn, err.Error()+"; it is tried again")
	}
	if err := m.noteFence(left); err != nil { // it is lifted once more than needed
		m.log.Error("the journal could not be written", "error", err)
	}
}

// tendLeft gives users their rights back at nodes where that could not be done at once.
func (m *Sharded) tendLeft(ctx context.Context) {
	before := m.fenced()
	if before == nil {
		return
	}
	left, err := m.cluster.lift(ctx, before)
	if err != nil {
		m.log.Debug("the users of some nodes wait for their rights", "error", err)
	}
	if len(left) == len(before) {
		return
	}
	if err := m.noteFence(left); err != nil {
		m.log.Error("the journal could not be written", "error", err)
	}
}

// unfence takes back everything.
func (m *Sharded) unfence(ctx context.Context) error {
	left, err := m.cluster.lift(ctx, m.fenced())
	if err != nil {
		return err
	}
	if err := m.noteFence(left); err != nil {
		return err
	}
	return m.cluster.forget(ctx, nil)
}
