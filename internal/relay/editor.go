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
	Keep Verdict = iota // passes as it is
	Drop                // replaced by no-ops of the same length, so that offsets stay the source's own
)

// Editor judges the commands of a stream, in order. A link without one passes
// bytes on without looking at them.
type Editor interface {
	// Judge is given a command's arguments, valid during the call. total is how
	// many it has; args may be fewer when the command is larger than headSize,
	// but hold at least its name. An error ends the link; it should name the
	// command and the key.
	Judge(args [][]byte, total int) (Verdict, error)
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
}

// readEdited is readStream with an Editor: bytes are held back until the
// command they belong to is judged.
func (l *Link) readEdited(ctx context.Context, u *upstream) error {
	buf := make([]byte, headSize)
	held := 0
	var args [][]byte
	edit := &l.edit
	for {
		n, err := u.stream.Read(buf[held:])
		if n > 0 {
			l.heard.Store(time.Now().UnixNano())
			held += n
			from := 0
			for from < held {
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
				e, err := resp.Scan(buf[from:held], args)
				args = e.Args
				if errors.Is(err, resp.ErrIncomplete) {
					if from > 0 || held < len(buf) {
						break // the rest is still to come
					}
					if len(e.Args) == 0 {
						return &FatalError{Err: fmt.Errorf("stream at offset %d: a command's name is longer than %d bytes", l.end.Load(), headSize)}
					}
					edit.body = e.Rest()
				} else if err != nil {
					return &FatalError{Err: fmt.Errorf("stream at offset %d: %w", l.end.Load(), err)}
				}
				edit.verdict = Keep
				if len(e.Args) > 0 {
					if edit.verdict, err = l.cfg.Editor.Judge(e.Args, e.Total); err != nil {
						return &FatalError{Err: fmt.Errorf("stream at offset %d: %w", l.end.Load(), err)}
					}
				}
				if err := l.pass(ctx, buf[from:from+e.Size], edit.verdict, edit.body == nil); err != nil {
					return err
				}
				from += e.Size
			}
			held = copy(buf, buf[from:held])
		}
		if err != nil {
			return eof(err)
		}
	}
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
