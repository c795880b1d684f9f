package migrate

import (
	"context"
	"errors"
	"time"

	"godwit/internal/apply"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// Verify compares the side that serves with the other one: at one offset before the
// cutover, and after it at one of each shard. See compare.
func (m *Sharded) Verify(ctx context.Context, o VerifyOptions) (*verify.Report, error) {
	return m.compare(ctx, o, m)
}

func (m *Sharded) verifyBetween(v *verifying) error {
	switch {
	case m.rec.Primary == Target && (m.feed == nil || m.feed.feed.View().State != apply.Streaming):
		return hinted("wait until it is: see `godwit status`", "the way back is not streaming")
	case m.rec.Primary == Target:
		v.source, v.target, v.replica = m.cfg.To.Address, m.source.address(), m.source
		return nil
	case m.engine == nil || m.engine.engine.View()[0].State != apply.Streaming:
		return hinted("wait until it is: see `godwit status`", "the link is not streaming")
	}
	v.source, v.target = m.source.address(), m.cfg.To.Address
	return nil
}

// verifyPrepare finds the shards, and has all that are asked for snapshots give them at once.
// The cluster is asked by godwit's own user as long as nobody else may write to it.
func (m *Sharded) verifyPrepare(ctx context.Context, v *verifying) error {
	m.mu.Lock()
	engine, back := m.engine, m.feed
	m.mu.Unlock()
	switch {
	case v.replica == nil && engine != nil:
		return m.prepareForth(ctx, v, engine.engine)
	case v.replica != nil && back != nil:
		return m.prepareBack(ctx, v, back.feed)
	}
	return errors.New("the link has ended")
}

func (m *Sharded) prepareForth(ctx context.Context, v *verifying, engine *apply.Engine) error {
	cluster, err := side(ctx, m.cluster, m.cluster.own)
	if err != nil {
		return err
	}
	cluster.Route = m.cfg.Route
	first := func(_ string, delay time.Duration) (holds, error) {
		h, err := engine.Trail(0, delay)
		return holds{h}, err
	}
	m.compares(v, verifySides{alone(m.source), cluster}, m.follow(m.cluster, first, []server.Endpoint{m.source.endpoint}))
	return m.prepareShards(ctx, m.cluster, cluster.Shards, v.options.Repair)
}

func (m *Sharded) prepareBack(ctx context.Context, v *verifying, way *apply.Feed) error {
	cluster, err := side(ctx, m.cluster, m.cluster.entry)
	if err != nil {
		return err
	}
	cluster.Route = m.cfg.Route
	m.compares(v, verifySides{cluster, alone(m.source)}, m.back(m.source, way, cluster.Shards))
	if err := m.prepareShards(ctx, m.cluster, cluster.Shards, false); err != nil {
		return err
	}
	return m.prepareReplica(ctx, m.source, v.options.Repair)
}

func (m *Sharded) verifyRestore(ctx context.Context, v *verifying) error {
	err := m.restoreShards(ctx, m.cluster)
	if v.replica != nil {
		err = errors.Join(err, m.restore(ctx, v.replica, verifySettings()...))
	}
	return err
}

// tendVerify puts back what a comparison has left that was killed, or could not.
func (m *Sharded) tendVerify(ctx context.Context) {
	m.tendShards(ctx, m.cluster)
	m.tendMended(ctx, m.source)
}

func (m *Sharded) verifyCaughtUp() bool {
	if m.engine == nil {
		return false
	}
	v := m.engine.engine.View()[0]
	return v.State == apply.Streaming && !m.lagging(v)
}

func (m *Sharded) switching() bool { return m.rec.Switch != nil }
