package migrate

import (
	"context"
	"time"

	"godwit/internal/relay"
	"godwit/internal/verify"
)

// Verify compares the primary with the replica of a running migration, in its
// present direction: before the cutover the target is compared with the source,
// after it the source with the target. See compare.
func (m *Migration) Verify(ctx context.Context, o VerifyOptions) (*verify.Report, error) {
	return m.compare(ctx, o, m)
}

func (m *Migration) verifyBetween(v *verifying) error {
	if m.link == nil || m.link.link.State() != relay.Streaming {
		return hinted("wait until it is: see `godwit status`", "the link is not streaming")
	}
	source := m.side(m.rec.Primary)
	replica := m.other(source)
	v.source, v.target, v.replica = source.address(), replica.address(), replica
	v.between = verifySides{alone(source), alone(replica)}
	link := m.link.link
	v.feeds = []*feed{m.newFeed(func(ctx context.Context, delay time.Duration) (heldTarget, error) {
		h, err := link.Trail(ctx, delay)
		if err != nil {
			return nil, err
		}
		return &held{m: m, link: link, hold: h, writes: mendable{c: &m.core, replica: replica}}, nil
	})}
	return nil
}

func (m *Migration) verifyPrepare(ctx context.Context, v *verifying) error {
	return m.prepareReplica(ctx, v.replica, v.options.Repair)
}

func (m *Migration) verifyRestore(ctx context.Context, v *verifying) error {
	return m.restore(ctx, v.replica, verifySettings()...)
}

func (m *Migration) verifyCaughtUp() bool {
	return m.link != nil && m.link.link.State() == relay.Streaming && !m.lagging(m.link.link.Snapshot())
}

func (m *Migration) switching() bool { return m.rec.Switch != nil }
