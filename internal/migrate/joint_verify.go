package migrate

import (
	"context"

	"godwit/internal/server"
	"godwit/internal/topology"
	"godwit/internal/verify"
)

// Verify compares the side that serves with the other one, which follows it. See compare.
func (m *Joint) Verify(ctx context.Context, o VerifyOptions) (*verify.Report, error) {
	return m.compare(ctx, o, m)
}

func (m *Joint) verifyBetween(v *verifying) error {
	serves, other := m.sides[m.rec.Primary], m.sides[m.rec.Primary.other()]
	switch {
	case v.options.Repair:
		return hinted("compare without --repair; what differs is repaired by a migration of its own", "the streams of several primaries are not held, so nothing may be written beside them")
	case len(m.sides[Source].endpoints) > 1:
		return hinted("compare each of them with `godwit verify --from … --to …`", "which of several servers has a key only their clients know")
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
	v.between.target, err = side(ctx, other, other.own())
	return err
}

// side is a deployment as package verify sees it, asked by the user of an endpoint.
func side(ctx context.Context, d *deployment, e server.Endpoint) (verify.Side, error) {
	found, err := topology.Resolve(ctx, e)
	return verify.Side{Name: d.url(), Shards: found.Primaries, Slots: found.Slots}, err
}

func (m *Joint) verifyRestore(context.Context, *verifying) error { return nil }

func (m *Joint) verifyCaughtUp() bool {
	return m.engine != nil && streaming(m.engine.engine.View())
}

func (m *Joint) switching() bool { return m.rec.Switch != nil }
