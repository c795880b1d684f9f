package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"godwit/internal/relay"
	"godwit/internal/server"
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
	v.feeds = []*feed{{trace: m.trace, trail: func(ctx context.Context) (heldTarget, error) {
		h, err := link.Trail(ctx, trailDelay)
		if err != nil {
			return nil, err
		}
		return &held{m: m, link: link, replica: replica, hold: h}, nil
	}}}
	return nil
}

// verifyPrepare has the replica give its snapshot at once when it is asked for one,
// and notes what a repair will change there.
func (m *Migration) verifyPrepare(ctx context.Context, v *verifying) error {
	if err := m.setForVerify(ctx, v.replica, disklessSyncDelay, "0"); err != nil {
		return err
	}
	if !v.options.Repair {
		return nil
	}
	value, found, err := v.replica.client.ConfigGet(ctx, replicaReadOnly)
	if err == nil && !found {
		err = errors.New("it is not known there")
	}
	if err != nil {
		return hinted("permit CONFIG GET and CONFIG SET to godwit's user there, or verify without --repair",
			"%s takes no writes, and godwit cannot ask for its %s: %w", v.target, replicaReadOnly, err)
	}
	return m.save(v.replica.side, replicaReadOnly, value)
}

// setForVerify changes a setting, noting it first. Where godwit may not, it stays:
// the comparison does without.
func (m *Migration) setForVerify(ctx context.Context, e *end, name, value string) error {
	current, found, err := e.client.ConfigGet(ctx, name)
	var refused *server.Error
	switch {
	case errors.As(err, &refused):
		return nil
	case err != nil:
		return err
	case !found || current == value:
		return nil
	}
	if err := m.save(e.side, name, current); err != nil {
		return err
	}
	m.trace("verify-saved")
	if err := e.client.ConfigSet(ctx, name, value); err != nil && !errors.As(err, &refused) {
		return err
	}
	return nil
}

func (m *Migration) verifyRestore(ctx context.Context, v *verifying) error {
	return m.restore(ctx, v.replica, verifySettings()...)
}

func (m *Migration) verifyCaughtUp() bool {
	return m.link != nil && m.link.link.State() == relay.Streaming && !m.lagging(m.link.link.Snapshot())
}

func (m *Migration) switching() bool { return m.rec.Switch != nil }

// tendVerify puts back what a comparison has left that was killed, or could not.
func (m *Migration) tendVerify(ctx context.Context, e *end) {
	m.mu.Lock()
	left := m.verifying == nil && m.rec.has(e.side, verifySettings()...)
	m.mu.Unlock()
	if !left {
		return
	}
	var cut error
	if m.saved(e.side, replicaReadOnly) != nil {
		// What it had sent may still be on its way to a server that is to be a primary.
		cut = cutRepair(ctx, e.client)
		m.outdated("a repair was cut off, and " + e.address() + " may have taken writes")
	}
	if err := m.restore(ctx, e, verifySettings()...); err != nil {
		m.log.Debug("settings of a comparison", "server", e.address(), "error", err)
		return
	}
	if cut != nil { // not permitted
		m.event(slog.LevelWarn, fmt.Sprintf("%s: what a repair had sent may still be on its way: %v", e.address(), cut))
	}
}
