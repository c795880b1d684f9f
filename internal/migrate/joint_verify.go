package migrate

import (
	"context"
	"errors"

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
	case m.rec.Primary == Target && len(other.endpoints) > 1 && !m.rec.leadsBack(other):
		return hinted("compare before the cutover", "nothing of what is written to %s goes to the old servers, of which only their clients know which has a key", serves.address())
	case m.engines == nil || !streaming(m.engines.views()):
		return hinted("wait until it is: see `godwit status`", "the link is not streaming")
	}
	v.source, v.target = serves.address(), other.address()
	return nil
}

// verifyPrepare finds the servers of both sides, and has them give their snapshots at once.
// Those that follow are asked by godwit's own user.
func (m *Joint) verifyPrepare(ctx context.Context, v *verifying) error {
	serves, other := m.primary(), m.secondary()
	from, err := side(ctx, serves, serves.entry)
	if err != nil {
		return err
	}
	to, err := side(ctx, other, other.own)
	if err != nil {
		return err
	}
	if len(other.endpoints) > 1 {
		to.Shards, to.Rule = other.owns(), m.rule.AppendOf
	}
	if serves.side == Source {
		to.Route = m.cfg.Route
	} else {
		from.Route = m.cfg.Route
	}
	engines := m.present()
	if engines == nil {
		return errors.New("the link has ended")
	}
	m.compares(v, verifySides{from, to}, m.follow(other, engines.trailFrom, from.Shards))
	if err := m.prepareShards(ctx, serves, from.Shards, false); err != nil {
		return err
	}
	return m.prepareShards(ctx, other, to.Shards, v.options.Repair)
}

// side is a deployment as package verify sees it, asked by the user of its entry, whichever of
// its nodes that is by now. Several servers have no endpoint but their own.
func side(ctx context.Context, d *deployment, entry func() server.Endpoint) (verify.Side, error) {
	if len(d.endpoints) > 1 {
		return verify.Side{Name: d.url(), Shards: d.endpoints}, nil
	}
	if _, err := d.answering(ctx); err != nil {
		return verify.Side{}, err
	}
	found, err := topology.Resolve(ctx, entry())
	return verify.Side{Name: d.url(), Shards: found.Primaries, Slots: found.Slots}, err
}

func (m *Joint) verifyRestore(ctx context.Context, _ *verifying) error {
	return errors.Join(m.restoreShards(ctx, m.sides[Source]), m.restoreShards(ctx, m.sides[Target]))
}

// tendVerify puts back what a comparison has left that was killed, or could not.
func (m *Joint) tendVerify(ctx context.Context) {
	for _, d := range m.sides {
		m.tendShards(ctx, d)
	}
}

func (m *Joint) verifyCaughtUp() bool {
	return m.engines != nil && streaming(m.engines.views())
}

func (m *Joint) switching() bool { return m.rec.Switch != nil }
