package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"godwit/internal/apply"
	"godwit/internal/hold"
	"godwit/internal/server"
	"godwit/internal/topology"
	"godwit/internal/verify"
)

// verifyLeft is what a comparison is to put back, or to end, at the shards. Its maps are
// replaced, never changed.
type verifyLeft struct {
	// Delays are what repl-diskless-sync-delay was, by node.
	Delays map[string]string `json:"delays,omitempty"`
	// Repaired are the nodes to which what a repair has sent may still be on its way.
	Repaired []string `json:"repaired,omitempty"`
}

func (l verifyLeft) none() bool { return len(l.Delays) == 0 && len(l.Repaired) == 0 }

// Verify compares the source with the cluster: at one offset as long as that is fed by
// the source, and after the cutover by what has settled, as the old primary is fed by
// several shards, which cannot be held at one offset. See compare.
func (m *Sharded) Verify(ctx context.Context, o VerifyOptions) (*verify.Report, error) {
	return m.compare(ctx, o, m)
}

func (m *Sharded) verifyBetween(v *verifying) error {
	switch {
	case m.rec.Primary == Target && v.options.Repair:
		return hinted("compare without --repair, or repair after a rollback", "the old primary %s is fed by several shards, which cannot be held at one offset", m.source.address())
	case m.rec.Primary == Target && (m.feed == nil || m.feed.feed.View().State != apply.Streaming):
		return hinted("wait until it is: see `godwit status`", "the way back is not streaming")
	case m.rec.Primary == Target:
		v.source, v.target = m.cfg.To.Address, m.source.address()
		v.between.target = alone(m.source)
		return nil
	case m.engine == nil || m.engine.engine.View()[0].State != apply.Streaming:
		return hinted("wait until it is: see `godwit status`", "the link is not streaming")
	}
	v.source, v.target = m.source.address(), m.cfg.To.Address
	v.between.source = alone(m.source)
	engine := m.engine.engine
	v.feeds = []*feed{{trace: m.trace, trail: func(context.Context) (heldTarget, error) {
		h, err := engine.Trail(0, trailDelay)
		if err != nil {
			return nil, err
		}
		return &heldShards{m: m, hold: h}, nil
	}}}
	return nil
}

// verifyPrepare finds the shards, which are asked by godwit's own user: after a rollback
// nobody else may write to them. It has them give their snapshots at once when they are
// asked for one, and notes to which of them a repair will write.
func (m *Sharded) verifyPrepare(ctx context.Context, v *verifying) error {
	if v.feeds == nil {
		var err error
		v.between.source, err = side(ctx, m.cluster, m.cluster.first())
		return err
	}
	d, err := topology.Resolve(ctx, m.cluster.own())
	if err != nil {
		return err
	}
	v.between.target = verify.Side{Name: m.cfg.To.String(), Shards: d.Primaries, Slots: d.Slots, Route: m.cfg.Route}
	if v.options.Repair {
		nodes := make([]string, len(d.Primaries))
		for i, e := range d.Primaries {
			nodes[i] = e.Address
		}
		if err := m.update(func(r *shardedRecord) { r.Left.Repaired = nodes }); err != nil {
			return err
		}
	}
	for _, e := range d.Primaries {
		if err := m.hurry(ctx, e.Address); err != nil {
			return err
		}
	}
	m.trace("verify-saved")
	return nil
}

// hurry has a shard give its snapshot at once. Where godwit may not, it stays as it is:
// the comparison does without.
func (m *Sharded) hurry(ctx context.Context, node string) error {
	return m.atNode(node, func(c *server.Client) error {
		value, found, err := c.ConfigGet(ctx, disklessSyncDelay)
		if err != nil || !found || value == "0" {
			return unlessRefused(err)
		}
		if err := m.update(func(r *shardedRecord) {
			delays := map[string]string{node: value}
			maps.Copy(delays, r.Left.Delays) // what an earlier one has noted is what it was
			r.Left.Delays = delays
		}); err != nil {
			return err
		}
		return unlessRefused(c.ConfigSet(ctx, disklessSyncDelay, "0"))
	})
}

// unlessRefused is an error but for a server's reply.
func unlessRefused(err error) error {
	var refused *server.Error
	if errors.As(err, &refused) {
		return nil
	}
	return err
}

// atNode does something at a node of the cluster, by the user that godwit was given.
func (m *Sharded) atNode(address string, do func(*server.Client) error) error {
	e := m.cfg.To
	e.Address = address
	c, err := server.New(e, "godwit:"+m.cfg.Name)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	return do(c)
}

func (m *Sharded) verifyRestore(ctx context.Context, _ *verifying) error { return m.restoreShards(ctx) }

// restoreShards ends what is left of a repair, and puts back what a comparison has
// changed. What cannot be done now stays in the journal.
func (m *Sharded) restoreShards(ctx context.Context) error {
	m.mu.Lock()
	left := m.rec.Left
	m.mu.Unlock()
	if left.none() {
		return nil
	}
	var failed []error
	rest := verifyLeft{Delays: make(map[string]string)}
	for _, node := range left.Repaired {
		if err := m.cutAt(ctx, node); err != nil {
			failed = append(failed, fmt.Errorf("%s: ending a repair: %w", node, err))
			rest.Repaired = append(rest.Repaired, node)
		}
	}
	for _, node := range slices.Sorted(maps.Keys(left.Delays)) {
		err := m.atNode(node, func(c *server.Client) error { return c.ConfigSet(ctx, disklessSyncDelay, left.Delays[node]) })
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: restoring %s: %w", node, disklessSyncDelay, err))
			rest.Delays[node] = left.Delays[node]
		}
	}
	return errors.Join(append(failed, m.update(func(r *shardedRecord) { r.Left = rest }))...)
}

// cutAt ends what a repair may still have on its way to a node.
func (m *Sharded) cutAt(ctx context.Context, node string) error {
	return m.atNode(node, func(c *server.Client) error {
		err := cutRepair(ctx, c)
		if err != nil && unlessRefused(err) == nil {
			m.event(slog.LevelWarn, fmt.Sprintf("%s: what the repair has sent may still be on its way: %v", node, err))
			return nil
		}
		return err
	})
}

// tendVerify puts back what a comparison has left that was killed, or could not.
func (m *Sharded) tendVerify(ctx context.Context) {
	m.mu.Lock()
	left, idle := m.rec.Left, m.verifying == nil
	m.mu.Unlock()
	if !idle || left.none() {
		return
	}
	if len(left.Repaired) > 0 {
		m.outdated("a repair was cut off, and may have written to the cluster")
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	if err := m.restoreShards(ctx); err != nil {
		m.log.Debug("what a comparison has left at the cluster", "error", err)
	}
}

func (m *Sharded) verifyCaughtUp() bool {
	if m.engine == nil {
		return false
	}
	v := m.engine.engine.View()[0]
	return v.State == apply.Streaming && !m.lagging(v)
}

func (m *Sharded) switching() bool { return m.rec.Switch != nil }

// heldShards is a cluster that is held back.
type heldShards struct {
	m    *Sharded
	hold *apply.Hold

	mu       sync.Mutex
	locked   func() // ends what unlock has begun; nil where nothing has
	released bool
}

// Stop is that of verify.Hold.
func (h *heldShards) Stop(ctx context.Context, offset int64) (hold.Stand, error) {
	h.m.trace("verify-stop")
	stand, err := h.hold.Stop(ctx, offset)
	h.m.trace("verify-stopped")
	return stand, err
}

// Err is that of verify.Hold.
func (h *heldShards) Err() error { return h.hold.Err() }

// Held is that of verify.Hold.
func (h *heldShards) Held() time.Duration { return h.hold.Held() }

// Release is that of verify.Hold.
func (h *heldShards) Release() {
	h.m.mu.Lock()
	base := h.m.base
	h.m.mu.Unlock()
	h.release(base)
}

// release ends a repair that has not come to its end, and only then has the shards fed:
// what is still on its way, however long the network takes, would be written over what
// the stream has brought since. The engine does so before it feeds them, too, but a
// switch, or an abort, may not wait for the engine.
func (h *heldShards) release(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	h.released = true
	h.m.trace("verify-release")
	if h.locked != nil {
		h.cut(ctx)
	}
	h.hold.Release()
}

// cut is tried at each shard until it has answered, or all have lost their link: no
// switch can be made then, and the engine does it before it feeds them again.
func (h *heldShards) cut(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTimeout)
	defer cancel()
	h.m.mu.Lock()
	nodes := h.m.rec.Left.Repaired
	h.m.mu.Unlock()
	for _, node := range nodes {
		for {
			err := h.m.cutAt(ctx, node)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				h.m.event(slog.LevelWarn, fmt.Sprintf("%s: what the repair has sent may still be on its way: %v; it is ended as soon as the shard answers", node, err))
				return
			case <-h.hold.Ended():
				return
			case <-time.After(10 * time.Millisecond):
			}
		}
	}
}

func (h *heldShards) unlock(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.released:
		return errNotHeld
	case h.locked != nil:
		return nil
	}
	var err error
	h.locked, err = h.hold.Unlock()
	return err
}

func (h *heldShards) lock(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.locked != nil {
		h.locked()
		h.locked = nil
	}
	return nil
}
