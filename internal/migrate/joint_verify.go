package migrate

import (
	"context"
	"errors"
	"time"

	"godwit/internal/apply"
	"godwit/internal/hold"
	"godwit/internal/server"
	"godwit/internal/topology"
	"godwit/internal/verify"
)

// Verify compares the side that serves with the other one: each of its primaries at an
// offset of its own, at which all of the other side are held. See compare.
func (m *Joint) Verify(ctx context.Context, o VerifyOptions) (*verify.Report, error) {
	return m.compare(ctx, o, m)
}

func (m *Joint) verifyBetween(v *verifying) error {
	serves, other := m.sides[m.rec.Primary], m.sides[m.rec.Primary.other()]
	switch {
	case v.options.Repair:
		return hinted("compare without --repair; what differs is repaired by a migration of its own", "a repair writes beside the streams of several primaries, which it would have to stop all at once")
	case m.rec.Primary == Target && len(other.endpoints) > 1:
		return hinted("compare before the cutover", "nothing of what is written to %s goes to the old servers, of which only their clients know which has a key", serves.address())
	case m.engine == nil || !streaming(m.engine.engine.View()):
		return hinted("wait until it is: see `godwit status`", "the link is not streaming")
	}
	v.source, v.target = serves.address(), other.address()
	return nil
}

// verifyPrepare finds the servers of both sides. The one that follows is asked by godwit's
// own user.
func (m *Joint) verifyPrepare(ctx context.Context, v *verifying) error {
	serves, other := m.primary(), m.secondary()
	var err error
	if v.between.source, err = side(ctx, serves, serves.entry()); err != nil {
		return err
	}
	if v.between.target, err = side(ctx, other, other.own()); err != nil {
		return err
	}
	engine := m.present()
	if engine == nil {
		return errors.New("the link has ended")
	}
	var feeds []*feed
	for _, primary := range v.between.source.Shards {
		feeds = append(feeds, &feed{trace: m.trace, trail: func(context.Context) (heldTarget, error) {
			h, err := engine.TrailFrom(primary.Address, trailDelay)
			if err != nil {
				return nil, err
			}
			return &heldLink{m: m, hold: h}, nil
		}})
	}
	m.mu.Lock()
	v.feeds = feeds
	m.mu.Unlock()
	return nil
}

// side is a deployment as package verify sees it, asked by the user of an endpoint. Several
// servers have no endpoint but their own.
func side(ctx context.Context, d *deployment, e server.Endpoint) (verify.Side, error) {
	if len(d.endpoints) > 1 {
		return verify.Side{Name: d.url(), Shards: d.endpoints}, nil
	}
	found, err := topology.Resolve(ctx, e)
	return verify.Side{Name: d.url(), Shards: found.Primaries, Slots: found.Slots}, err
}

func (m *Joint) verifyRestore(context.Context, *verifying) error { return nil }

func (m *Joint) verifyCaughtUp() bool {
	return m.engine != nil && streaming(m.engine.engine.View())
}

func (m *Joint) switching() bool { return m.rec.Switch != nil }

// heldLink is what comes from one primary, held back. No repair writes beside it.
type heldLink struct {
	m    *Joint
	hold *apply.Hold
}

// Stop is that of verify.Hold.
func (h *heldLink) Stop(ctx context.Context, offset int64) (hold.Stand, error) {
	h.m.trace("verify-stop")
	stand, err := h.hold.Stop(ctx, offset)
	h.m.trace("verify-stopped")
	return stand, err
}

// Err is that of verify.Hold.
func (h *heldLink) Err() error { return h.hold.Err() }

// Held is that of verify.Hold.
func (h *heldLink) Held() time.Duration { return h.hold.Held() }

// Release is that of verify.Hold.
func (h *heldLink) Release() { h.hold.Release() }

func (h *heldLink) release(context.Context) { h.hold.Release() }

func (h *heldLink) unlock(context.Context) error { return errNotHeld }

func (h *heldLink) lock(context.Context) error { return nil }
