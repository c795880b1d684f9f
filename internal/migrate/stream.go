package migrate

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"sync/atomic"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/relay"
	"godwit/internal/server"
)

// editor is the editor of a link from one server to another: none where the
// target knows whatever the source can send and has every db it has.
func (m *Migration) editor(ctx context.Context, from, to *end) (relay.Editor, error) {
	source, target := capabilities(from), capabilities(to)
	absolute := relativeTTLs(from.version()) && to.version().AtLeast(6, 2)
	fewer := target.Databases > 0 && source.Databases > target.Databases
	if to.found().KnowsCommandsOf(from.version()) && !absolute && !fewer {
		return nil, nil
	}
	for _, x := range []struct {
		end *end
		c   *command.Capabilities
	}{{from, &source}, {to, &target}} {
		reply, err := x.end.client.Do(ctx, "COMMAND")
		if err != nil {
			return nil, fmt.Errorf("asking %s which commands it knows: %w", x.end.address(), err)
		}
		list, _ := reply.([]any) // nil is refused
		if err := x.c.Learn(list); err != nil {
			return nil, fmt.Errorf("%s: %w", x.end.address(), err)
		}
	}
	o := command.Options{Drop: m.cfg.Drop}
	if absolute {
		if err := from.clock.set(ctx, from.client); err != nil {
			m.event(slog.LevelWarn, fmt.Sprintf("%s does not tell its time, so its TTLs go by the clock of this machine: %v", from.address(), err))
		}
		o.Now = from.clock.now
	}
	m.log.Log(ctx, slog.LevelDebug, "each command is looked at", "source", from.version().String(), "target", to.version().String())
	rules := fmt.Sprintf("%d: %s %v to %s %v, %d dbs, drop %v, absolute %v", command.Revision,
		from.version(), source.Format, to.version(), target.Format, target.Databases, m.cfg.Drop, absolute)
	return &streamEditor{rewriter: command.NewRewriter(source, target, o), rules: rules, drops: len(m.cfg.Drop) > 0}, nil
}

// relativeTTLs tells whether a server propagates TTLs as its clients said them,
// so that they grow by the time a command is under way (propagateExpire and
// setGenericCommand have made them absolute from Redis 7.0 on).
func relativeTTLs(v server.Version) bool { return v.Product == server.Redis && !v.AtLeast(7, 0) }

// capabilities are what a server was found to be.
func capabilities(e *end) command.Capabilities {
	n := e.found()
	f := n.RDBFormat()
	databases, _ := strconv.Atoi(n.Settings["databases"]) // 0 where it does not say
	c := command.NewCapabilities(command.Version{Product: f.Family, Major: n.Version.Major, Minor: n.Version.Minor}, f, databases)
	c.Module = func(id rdb.ModuleID) bool { return n.HasModule(id.Name()) }
	return c
}

// streamEditor has a Rewriter edit a link's stream.
type streamEditor struct {
	rewriter *command.Rewriter
	rules    string
	drops    bool // something may be left out
	dropped  atomic.Pointer[map[rdb.Feature]int64]
}

// Edit is that of relay.Editor.
func (e *streamEditor) Edit(dst []byte, args [][]byte, total int) ([]byte, relay.Verdict, error) {
	if len(args) < total && !e.rewriter.PassesHead(args, total) {
		return dst, relay.Whole, nil
	}
	out, verdict, err := e.rewriter.Rewrite(dst, args)
	if verdict == command.Replace {
		if e.drops {
			dropped := e.rewriter.Dropped()
			e.dropped.Store(&dropped)
		}
		return out, relay.Replace, err
	}
	return out, relay.Keep, err
}

// Reset is that of relay.Editor.
func (e *streamEditor) Reset(db int) { e.rewriter.Reset(db) }

// DB is that of relay.Editor.
func (e *streamEditor) DB() int { return e.rewriter.DB() }

// rulesOf says by what rules an editor makes of a command what it does: only by
// the same ones does it make the same again. It is empty for none.
func rulesOf(e relay.Editor) string {
	if e, ok := e.(*streamEditor); ok {
		return e.rules
	}
	return ""
}

// droppedBy counts what an editor has left out, by feature; free to any goroutine.
func droppedBy(e relay.Editor) map[rdb.Feature]int64 {
	if e, ok := e.(*streamEditor); ok {
		if dropped := e.dropped.Load(); dropped != nil {
			return *dropped
		}
	}
	return nil
}
