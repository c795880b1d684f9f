package migrate

import (
	"context"
	"fmt"
	"log/slog"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/relay"
)

// editor is the editor of a link from one server to another: none where the
// target understands whatever the source can send and has every db it has, but for
// a source that says EXEC alone.
func (m *Migration) editor(ctx context.Context, from, to *end) relay.Editor {
	source, target := from.found().Capabilities(), to.found().Capabilities()
	target.Module = m.loadsModules(from, to)
	absolute := command.SaysRelativeTTLs(source.Version) && to.version().AtLeast(6, 2)
	fewer := target.Databases > 0 && source.Databases > target.Databases
	grows := !command.Understands(&target, &source) || absolute || fewer
	if !grows && !command.SaysExecAlone(source.Version) {
		return nil
	}
	e := &streamEditor{grows: grows}
	o := command.Options{Drop: m.cfg.Drop, Dropped: e.leaveOut}
	if absolute {
		if err := from.clock.set(ctx, from.client); err != nil {
			m.event(slog.LevelWarn, fmt.Sprintf("%s does not tell its time, so its TTLs go by the clock of this machine: %v", from.address(), err))
		}
		o.Now = from.clock.now
	}
	m.log.Log(ctx, slog.LevelDebug, "each command is looked at", "source", from.version().String(), "target", to.version().String())
	e.rules = fmt.Sprintf("%d: %s %v to %s %v without %v, %d dbs, drop %v, absolute %v, accept %v, asked %s", command.Revision,
		from.version(), source.Format, to.version(), target.Format, target.Format.Refused.Types(), target.Databases, m.cfg.Drop, absolute,
		m.cfg.AcceptModules, command.Fingerprint(&source, &target))
	e.rewriter = command.NewRewriter(source, target, o)
	return e
}

// loadsModules tells of which modules' values one server loads those of another.
func (m *Migration) loadsModules(from, to *end) func(rdb.ModuleID) bool {
	return to.found().LoadsModulesOf(from.found(), m.cfg.AcceptModules)
}

// streamEditor has a Rewriter edit a link's stream.
type streamEditor struct {
	rewriter *command.Rewriter
	rules    string
	grows    bool          // what it writes may be longer than what it was given
	left     []rdb.LeftOut // by the last Edit
}

// Edit is that of relay.Editor.
func (e *streamEditor) Edit(dst []byte, args [][]byte, total int) ([]byte, relay.Verdict, error) {
	e.left = e.left[:0]
	if len(args) < total && !e.rewriter.PassesHead(args, total) {
		return dst, relay.Whole, nil
	}
	out, verdict, err := e.rewriter.Rewrite(dst, args)
	if verdict == command.Replace {
		return out, relay.Replace, err
	}
	return out, relay.Keep, err
}

func (e *streamEditor) leaveOut(left rdb.LeftOut) { e.left = append(e.left, left) }

// LeftOut is that of relay.Editor.
func (e *streamEditor) LeftOut() []rdb.LeftOut { return e.left }

// Reset is that of relay.Editor.
func (e *streamEditor) Reset(db int) { e.rewriter.Reset(db) }

// DB is that of relay.Editor.
func (e *streamEditor) DB() int { return e.rewriter.DB() }

// grows tells whether an editor may make commands longer.
func grows(e relay.Editor) bool {
	s, ok := e.(*streamEditor)
	return ok && s.grows
}

// rulesOf says by what rules an editor makes of a command what it does: only by
// the same ones does it make the same again. It is empty for none.
func rulesOf(e relay.Editor) string {
	if e, ok := e.(*streamEditor); ok {
		return e.rules
	}
	return ""
}
