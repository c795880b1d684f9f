package relay

import (
	"context"
	"errors"
	"fmt"
	"time"

	"godwit/internal/resp"
)

// Verdict is what becomes of a command.
type Verdict int

// The verdicts of an Editor.
const (
	Keep    Verdict = iota // passes as it is
	Drop                   // replaced by no-ops of the same length, so that offsets stay the source's own
	Replace                // replaced by what the Editor has made of it
	Whole                  // not decided: all of its arguments are wanted
)

// Editor judges the commands of a stream, in order. A link without one passes
// bytes on without looking at them.
type Editor interface {
	// Edit is given a command's arguments, valid during the call. total is how
	// many it has; args may be fewer when the command is larger than headSize,
	// but hold at least its name, and only then may the verdict be Whole: the
	// same command comes again with all of its arguments. An error ends the link;
	// it should name the command and the key.
	//
	// To replace a command, Edit appends to dst what takes its place: whole
	// commands, or nothing. Its length must be the same each time: a link that goes
	// on after a crash counts by it. Where it is shorter than the command, no-ops
	// make up for that; only a link with OwnReplID may have it longer.
	Edit(dst []byte, args [][]byte, total int) (out []byte, verdict Verdict, err error)
	// Reset is called before a stream begins: db is selected there. After a
	// snapshot that does not matter, because a primary begins with a SELECT then
	// (replication.c replicationSetupSlaveForFullResync).
	Reset(db int)
	// DB is the one that is selected after the last command that was judged. A link
	// that goes on after a crash is sent no SELECT where it begins.
	DB() int
}

// headSize is how much of a command is at most held back for its verdict, in
// bytes. What comes after it follows the verdict as it arrives.
const headSize = 256 << 10

// editing is a command whose beginning was judged and passed on already. It
// outlives the connection to the source: the stream goes on within it.
type editing struct {
	body    *resp.Body
	verdict Verdict
	owed    int    // bytes of a dropped command that were read and whose no-op is still to be written
	noop    []byte // scratch
	out     []byte // likewise, what replaces a command
}

// readEdited is readStream with an Editor: bytes are held back until the
// command they belong to is judged.
func (l *Link) readEdited(ctx context.Context, u *upstream) error {
	buf := make([]byte, headSize)
	held := 0
	var args [][]byte
	var wanted whole // at the beginning of buf
	edit := &l.edit
	for {
		n, err := u.stream.Read(buf[held:])
		if n > 0 {
			l.heard.Store(time.Now().UnixNano())
			held += n
			from := 0
			here, badErr := wanted.here(buf[:held])
			if badErr != nil {
				return &FatalError{Err: fmt.Errorf("stream at offset %d: %w", l.end.Load(), badErr)}
			}
			if !here && held == len(buf) {
				buf = append(buf, make([]byte, len(buf))...)
			}
		commands:
			for here && from < held {
				if edit.body != nil {
					part, done, err := edit.body.Advance(buf[from:held])
					if err != nil {
						return &FatalError{Err: fmt.Errorf("stream at offset %d: %w", l.end.Load(), err)}
					}
					if err := l.pass(ctx, buf[from:from+part], edit.verdict, done); err != nil {
						return err
					}
					from += part
					if done {
						edit.body = nil
					}
					continue
				}
				incomplete := false
				e, err := resp.Scan(buf[from:held], args)
				args = e.Args
				if errors.Is(err, resp.ErrIncomplete) {
					if from > 0 || held < len(buf) {
						break // the rest is still to come
					}
					if len(e.Args) == 0 {
						return &FatalError{Err: fmt.Errorf("stream at offset %d: a command's name is longer than %d bytes", l.end.Load(), headSize)}
					}
					incomplete = true
				} else if err != nil {
					return &FatalError{Err: fmt.Errorf("stream at offset %d: %w", l.end.Load(), err)}
				}
				db := l.cfg.Editor.DB()
				if err := l.judge(e); err != nil {
					return err
				}
				switch {
				case edit.verdict == Whole && incomplete:
					wanted = whole{rest: e.Rest(), seen: e.Size}
					buf = append(buf, make([]byte, len(buf))...)
					break commands
				case edit.verdict == Replace:
					if err := l.replace(ctx, e); err != nil {
						return err
					}
					from += e.Size
					continue
				case incomplete:
					edit.body = e.Rest()
				case l.cfg.Editor.DB() != db:
					l.offsets.changed(l.end.Load(), e.Size, e.Size, l.cfg.Editor.DB())
				}
				if err := l.pass(ctx, buf[from:from+e.Size], edit.verdict, edit.body == nil); err != nil {
					return err
				}
				from += e.Size
			}
			if from > 0 {
				held = copy(buf, buf[from:held])
			}
			if len(buf) > headSize && held < headSize {
				buf = append(make([]byte, 0, headSize), buf[:held]...)[:headSize] // a large command is through
			}
		}
		if err != nil {
			return eof(err)
		}
	}
}

// whole is a command that is wanted with all of its arguments before it is judged.
// Each byte is looked at once until it is there: it may have millions of arguments.
type whole struct {
	rest *resp.Body // nil for none
	seen int        // bytes of it
}

// here takes what has come of the command so far, and tells whether that is all.
func (w *whole) here(b []byte) (bool, error) {
	if w.rest == nil {
		return true, nil
	}
	n, done, err := w.rest.Advance(b[w.seen:])
	w.seen += n
	if done {
		w.rest = nil
	}
	return done, err
}

// pass writes bytes of a command to the spool, as they are or as no-ops; last
// says that the command ends with them.
func (l *Link) pass(ctx context.Context, b []byte, v Verdict, last bool) error {
	l.arrived(len(b))
	if v == Drop {
		b = l.edit.drop(len(b), last)
	}
	if err := l.spool.Write(ctx, b); err != nil {
		return spoolError(ctx, err)
	}
	return nil
}

// judge has the editor decide on a command.
func (l *Link) judge(e resp.Extent) (err error) {
	edit := &l.edit
	edit.verdict = Keep
	if len(e.Args) > 0 {
		edit.out, edit.verdict, err = l.cfg.Editor.Edit(edit.out[:0], e.Args, e.Total)
	}
	if err != nil {
		return &FatalError{Err: fmt.Errorf("stream at offset %d: %w", l.end.Load(), err)}
	}
	return nil
}

// replace writes to the spool what takes the place of a command.
func (l *Link) replace(ctx context.Context, e resp.Extent) error {
	out := l.edit.out
	if cap(out) > headSize {
		l.edit.out = nil // it was made for a large command
	}
	before := l.end.Load()
	if len(out) != e.Size {
		l.offsets.changed(before, e.Size, max(e.Size, len(out)), l.cfg.Editor.DB())
	}
	switch {
	case len(out) < e.Size:
		// In front, so that bare newlines, if that is all there is room for, are
		// followed by a command and count.
		if err := l.spool.Write(ctx, l.edit.drop(e.Size-len(out), true)); err != nil {
			return spoolError(ctx, err)
		}
	case len(out) > e.Size && !l.cfg.OwnReplID:
		return &FatalError{Err: fmt.Errorf("stream at offset %d: %.60q becomes %d bytes longer, and offsets would not be the source's any more", before, e.Args[0], len(out)-e.Size)}
	}
	l.arrived(e.Size)
	if err := l.spool.Write(ctx, out); err != nil {
		return spoolError(ctx, err)
	}
	return nil
}

// drop is n more bytes of a dropped command, as no-ops. Some bytes are owed
// until its end, so that it ends in a no-op that is a command: a replica does not
// count newlines at the end in its offset, see resp.FillNoop.
func (e *editing) drop(n int, last bool) []byte {
	n += e.owed
	e.owed = 0
	if !last {
		e.owed = min(n, resp.MinNoop)
	}
	n -= e.owed
	if cap(e.noop) < n {
		e.noop = make([]byte, headSize+resp.MinNoop)
	}
	b := e.noop[:n]
	resp.FillNoop(b)
	return b
}
