package migrate

import (
	"context"
	"log/slog"
	"strings"

	"godwit/internal/rdb"
	"godwit/internal/relay"
	"godwit/internal/server"
)

// linkStart is where a link begins, and how.
type linkStart struct {
	editor relay.Editor
	// from is where it reads its source from, and knows is what its target calls
	// that place; zero when the target asks for it, and calls it as the source does.
	from, knows relay.Position
	// own has the target told a replid of the link's own.
	own bool
}

// tracked tells whether the link's two ends may count otherwise.
func (s linkStart) tracked() bool { return s.own || s.knows.ReplID != "" }

// onward is the start of a link that goes on where an earlier run's ended, or
// of a first one.
func (m *Migration) onward(from *end, editor relay.Editor) linkStart {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := linkStart{editor: editor, own: grows(editor)}
	if t := m.rec.Track; t != nil && t.From == from.side && t.Rules == rulesOf(editor) {
		s.from, s.knows = t.Source, t.Target
		s.own = s.own || s.from.Offset != s.knows.Offset
	}
	return s
}

// shared is the offset up to which the server's history is that of replid
// (replication.c shiftReplicationId: second_repl_offset is the first byte that is not).
func (e *end) shared(ctx context.Context, replid string) (int64, error) {
	info, err := e.client.Info(ctx, "replication")
	switch {
	case err != nil:
		return 0, err
	case strings.EqualFold(info["master_replid2"], replid):
		return info.Int("second_repl_offset") - 1, nil
	default:
		return 0, nil // nothing of it is known here
	}
}

// reversed is the start of the link back from a server that was just promoted,
// next, to old, which has all that it had before.
func (m *Migration) reversed(ctx context.Context, old, next *end, editor relay.Editor) (linkStart, error) {
	s := linkStart{editor: editor, own: grows(editor)}
	m.mu.Lock()
	t := m.rec.Track
	m.mu.Unlock()
	if t != nil && t.From == next.side {
		return m.onward(next, editor), nil // it began already, before a crash
	}
	if t == nil && !s.own {
		s.from = promotedAt(ctx, next, "master_replid2") // as the old one asks
		return s, nil
	}
	info, err := old.client.Info(ctx, "replication")
	if err != nil {
		return s, err
	}
	// By its own replid: what the old one gets from now on is of that.
	s.from = promotedAt(ctx, next, "master_replid")
	s.knows = relay.Position{ReplID: info["master_replid"], Offset: info.Int("slave_repl_offset") + 1}
	s.own = s.own || s.from.Offset != s.knows.Offset
	return s, nil
}

// keepTrack journals where a link begins, before it does.
func (m *Migration) keepTrack(from *end, s linkStart) error {
	var t *track
	if s.tracked() && s.from.ReplID != "" {
		t = &track{From: from.side, Source: s.from, Target: s.knows, Rules: rulesOf(s.editor)}
	}
	m.mu.Lock()
	same := t == nil && m.rec.Track == nil
	m.mu.Unlock()
	if same {
		return nil
	}
	return m.update(func(r *record) { r.Track = t })
}

// checkpoint journals how far a link has come. Nothing is journaled within a
// switch: that would take time while writes are stopped, and the place where the
// next link begins is journaled before that replaces this one.
func (m *Migration) checkpoint(from *end, rules string) func(source, target relay.Position, dropped rdb.Dropped) {
	return func(source, target relay.Position, dropped rdb.Dropped) {
		t := track{From: from.side, Source: source, Target: target, Rules: rules}
		within := func(r *record) bool { return m.votes != nil || r.Switch != nil }
		m.mu.Lock()
		needless := within(&m.rec) || m.rec.Track != nil && *m.rec.Track == t
		m.mu.Unlock()
		if needless {
			return
		}
		err := m.update(func(r *record) {
			if !within(r) { // none has begun since
				r.Track = &t
				r.setDropped(from.side.other(), dropped)
			}
		})
		if err != nil {
			m.event(slog.LevelWarn, "the journal cannot be written, so a restart may need a full resync: "+err.Error())
		}
	}
}

// continues tells whether a server that was promoted had come beyond t by then,
// and at least as far as the server has that it replicated from: what a link
// sends is never shorter than what it is sent.
func continues(t *track, next, old server.Info) bool {
	return strings.EqualFold(next["master_replid2"], t.Target.ReplID) &&
		next.Int("second_repl_offset")-t.Target.Offset >= old.Int("slave_repl_offset")+1-t.Source.Offset
}
