package migrate

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"godwit/internal/apply"
	"godwit/internal/server"
)

// whole tells whether both sides answer.
func (m *Joint) whole() bool { return m.sides[Source].down() == "" && m.sides[Target].down() == "" }

// tend looks at both sides once, sees that one of them refuses writes, and moves the
// phase on.
func (m *Joint) tend(ctx context.Context) error {
	if err := m.recover(ctx); err != nil {
		m.log.Debug("the switch is not settled yet", "error", err)
	}
	r := m.record()
	if r.Switch != nil {
		return nil // asked again at the next look
	}
	if m.completing() {
		return nil
	}
	m.tendVerify(ctx)
	if err := m.carry(ctx); err != nil {
		m.complain(err.Error())
		return nil // tried again at the next look
	}
	if time.Since(m.looked) > shardsInterval {
		m.looked = time.Now()
		m.lookAtSides(ctx, r)
	}
	engines := m.present()
	if engines == nil {
		return nil
	}
	views := engines.views()
	m.measure(views)
	m.noteRefuted()
	if r.Primary != Source || r.Phase != Copying && r.Followed || !streaming(views) {
		return nil
	}
	if err := m.update(func(r *jointRecord) { r.Followed = true }); err != nil {
		return err
	}
	if r.Phase != Copying {
		return nil
	}
	if err := m.setPhase(Following); err != nil {
		return err
	}
	m.event(slog.LevelInfo, "the copy is done; following")
	return nil
}

// complain says once what is tried again and again.
func (m *Joint) complain(text string) {
	if text != m.complained {
		m.event(slog.LevelWarn, text)
	}
	m.complained = text
}

func streaming(views []linkView) bool {
	for _, v := range views {
		if v.State != apply.Streaming {
			return false
		}
	}
	return len(views) > 0
}

// lookAtSides asks both what they hold. The nodes of one that is fenced are told so again:
// one that was started again, or has been added, does not know.
func (m *Joint) lookAtSides(ctx context.Context, r jointRecord) {
	for _, d := range m.sides {
		d.look(ctx)
	}
	serves, other := m.sides[r.Primary], m.sides[r.Primary.other()]
	if rules := r.Fences[other.side]; rules != nil {
		if err := other.raise(ctx, rules, m.fenced(other.side)); err != nil {
			m.log.Warn("not every node could be told to refuse writes", "side", other.side, "error", err)
		}
		if news := other.unmovableNow(); news != "" {
			m.event(slog.LevelWarn, news)
		}
	}
	if rules := r.Fences[serves.side]; rules != nil {
		left, err := serves.lift(ctx, rules)
		if err != nil {
			m.log.Debug("the users of some nodes wait for their rights", "error", err)
		}
		if len(left) < len(rules) {
			if err := m.fenced(serves.side)(left); err != nil {
				m.log.Error("the journal could not be written", "error", err)
			}
		}
	}
	for _, v := range m.present().views() {
		e := serves.first()
		e.Address = v.Source
		if err := serves.setClocks(ctx, e); err != nil {
			m.log.Debug("asking for the time", "server", v.Source, "error", err)
		}
	}
}

// measure updates progress and rates; the keeper calls it after each look.
func (m *Joint) measure(views []linkView) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	var sum apply.View
	copying := false
	for _, v := range views {
		sum.Keys += v.Keys
		sum.Copied += v.Copied
		sum.Total += v.Total
		sum.Read += v.Read
		copying = copying || v.State == apply.Copying
	}
	source := m.sides[m.rec.Primary]
	switch {
	case copying && (m.copy.began.IsZero() || !m.copy.ended.IsZero()):
		m.copy = copyProgress{began: now, totalKeys: source.status().Keys, fullResyncs: m.copy.fullResyncs + 1}
	case streaming(views) && m.copy.began.IsZero() && sum.Keys > 0: // it began and ended between two looks
		m.copy = copyProgress{began: m.rec.Started, totalKeys: source.status().Keys, fullResyncs: m.copy.fullResyncs + 1}
	}
	if !m.copy.began.IsZero() && m.copy.ended.IsZero() {
		m.copy.keys, m.copy.bytes, m.copy.totalBytes = sum.Keys, sum.Copied, sum.Total
		if streaming(views) {
			m.copy.ended = now
		}
	}
	m.rates.step(now, m.copy.keys, sum.Copied, sum.Read)
}

// furthestBehind are the links of which each primary has the least that one of several
// servers has.
func furthestBehind(views []linkView) []linkView {
	var least []linkView
	for _, v := range views {
		i := slices.IndexFunc(least, func(x linkView) bool { return x.Source == v.Source })
		switch {
		case i < 0:
			least = append(least, v)
		case v.State != apply.Streaming || v.Acked < least[i].Acked:
			least[i] = v
		}
	}
	return least
}

// primariesPoll is how often each primary is asked where it stands.
const primariesPoll = 100 * time.Millisecond

// poll asks the primaries of the side that serves for their offsets, so that the lag is
// known.
func (m *Joint) poll(ctx context.Context) {
	tick := time.NewTicker(primariesPoll)
	defer tick.Stop()
	clients := make(map[string]*server.Client)
	defer func() {
		for _, c := range clients {
			_ = c.Close() // nothing was left unsent
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		engines := m.present()
		if engines == nil {
			continue
		}
		serves := m.primary()
		views := furthestBehind(engines.views())
		var asked []*server.Client
		for _, v := range views {
			if clients[v.Source] == nil {
				e := serves.first()
				for _, known := range serves.endpoints {
					if known.Address == v.Source {
						e = known
					}
				}
				e.Address = v.Source
				c, err := server.New(e, serves.clientName())
				if err != nil {
					m.log.Debug("a primary cannot be asked where it stands", "error", fmt.Errorf("%s: %w", v.Source, err))
					continue
				}
				clients[v.Source] = c
			}
			asked = append(asked, clients[v.Source])
		}
		at := serves.offsets(ctx, asked)
		m.mu.Lock()
		for _, v := range views {
			if offset, ok := at[v.Source]; ok && v.State == apply.Streaming {
				if m.lags[v.Source] == nil {
					m.lags[v.Source] = new(lagMeter)
				}
				m.lags[v.Source].note(time.Now(), offset, v.Acked)
			}
		}
		m.mu.Unlock()
	}
}
