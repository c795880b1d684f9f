package relay

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"godwit/internal/resp"
)

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
	h := held{link: l, buf: make([]byte, headSize)}
	for {
		n, err := u.stream.Read(h.buf[h.end:])
		if n > 0 {
			l.heard.Store(time.Now().UnixNano())
			h.end += n
			// What stays as it is before a command that ends the link is passed on yet.
			stop := h.judge(ctx)
			if err := h.pass(ctx); err != nil {
				return err
			}
			if stop != nil {
				return stop
			}
			h.shift()
		}
		if err != nil {
			return eof(err)
		}
	}
}

// held is what was read of the source's stream and is still to be passed on.
type held struct {
	link *Link
	buf  []byte
	// buf has been passed on up to passed, stays as it is up to judged, and holds
	// what is still to be judged up to end.
	passed, judged, end int
	args                [][]byte // scratch

	// whole is how a command goes on, after the seen bytes of buf, that is judged
	// only with all of its arguments. It begins where buf does.
	whole *resp.Body
	seen  int
}

// judge has every command judged that has come, as far as it must have come.
// What is to change is passed on changed, the rest is left to pass.
func (h *held) judge(ctx context.Context) error {
	edit := &h.link.edit
	for h.judged < h.end {
		if edit.body != nil {
			n, done, err := edit.body.Advance(h.buf[h.judged:h.end])
			if err != nil {
				return h.broken(err)
			}
			if err := h.take(ctx, n, done); err != nil {
				return err
			}
			if done {
				edit.body = nil
			}
			continue
		}
		if h.whole != nil {
			n, done, err := h.whole.Advance(h.buf[h.seen:h.end])
			if err != nil {
				return h.broken(err)
			}
			h.seen += n
			if !done {
				h.grow()
				return nil
			}
			h.whole = nil
		}
		e, err := resp.Scan(h.buf[h.judged:h.end], h.args)
		h.args = e.Args
		incomplete := errors.Is(err, resp.ErrIncomplete)
		switch {
		case incomplete && (h.judged > 0 || h.end < len(h.buf)):
			return nil // there is room for the rest
		case incomplete && len(e.Args) == 0:
			return h.broken(fmt.Errorf("a command's name is longer than %d bytes", headSize))
		case err != nil && !incomplete:
			return h.broken(err)
		}
		if err := h.command(ctx, e, incomplete); err != nil {
			return err
		}
	}
	return nil
}

// command has one command judged and carries the verdict out.
func (h *held) command(ctx context.Context, e resp.Extent, incomplete bool) (err error) {
	edit, editor := &h.link.edit, h.link.cfg.Editor
	edit.verdict = Keep
	db := editor.DB()
	if len(e.Args) > 0 {
		edit.out, edit.verdict, err = editor.Edit(edit.out[:0], e.Args, e.Total)
	}
	switch {
	case err != nil:
		return h.broken(err)
	case edit.verdict == Replace:
		return h.replace(ctx, e)
	case edit.verdict == Whole && incomplete:
		h.whole, h.seen = e.Rest(), e.Size
		return nil
	case incomplete:
		edit.body = e.Rest()
	case editor.DB() != db:
		h.link.offsets.changed(h.at(), e.Size, e.Size, editor.DB())
	}
	return h.take(ctx, e.Size, edit.body == nil)
}

// take carries out the verdict on n bytes of the command at hand, which ends
// with them if last.
func (h *held) take(ctx context.Context, n int, last bool) error {
	if h.link.edit.verdict != Drop {
		h.judged += n
		return nil
	}
	if err := h.pass(ctx); err != nil {
		return err
	}
	h.skip(n)
	return h.link.write(ctx, h.link.edit.drop(n, last))
}

// replace writes what takes the place of a command.
func (h *held) replace(ctx context.Context, e resp.Extent) error {
	if err := h.pass(ctx); err != nil {
		return err
	}
	l, out := h.link, h.link.edit.out
	if cap(out) > headSize {
		l.edit.out = nil // it was made for a large command
	}
	if len(out) != e.Size {
		l.offsets.changed(h.at(), e.Size, max(e.Size, len(out)), l.cfg.Editor.DB())
	}
	switch grown := len(out) - e.Size; {
	case grown < 0:
		// In front, so that bare newlines, if that is all there is room for, are
		// followed by a command and count.
		if err := l.write(ctx, l.edit.drop(-grown, true)); err != nil {
			return err
		}
	case grown > 0 && !l.cfg.OwnReplID:
		return h.broken(fmt.Errorf("%.60q becomes %d bytes longer, and offsets would not be the source's any more", e.Args[0], grown))
	}
	h.skip(e.Size)
	for _, left := range l.cfg.Editor.LeftOut() {
		if l.drops.ofStream(left.Feature, l.end.Load()) && !slices.Contains(l.cfg.Told, left.Feature) {
			l.tellDropped("the stream", left)
		}
	}
	return l.write(ctx, out)
}

// pass writes what stays as it is, many commands at once.
func (h *held) pass(ctx context.Context) error {
	b := h.buf[h.passed:h.judged]
	if len(b) == 0 {
		return nil
	}
	h.passed = h.judged
	h.link.arrived(len(b))
	return h.link.write(ctx, b)
}

// skip counts n bytes that something else was written for.
func (h *held) skip(n int) {
	h.judged += n
	h.passed = h.judged
	h.link.arrived(n)
}

// shift makes room for more.
func (h *held) shift() {
	h.end = copy(h.buf, h.buf[h.judged:h.end])
	h.passed, h.judged = 0, 0
	if len(h.buf) > headSize && h.end < headSize { // a large command is through
		h.buf = append(make([]byte, 0, headSize), h.buf[:h.end]...)[:headSize]
		h.args = nil
	}
}

// grow makes room for more of a command that is wanted as a whole.
func (h *held) grow() {
	if h.end == len(h.buf) {
		h.buf = append(h.buf, make([]byte, len(h.buf))...)
	}
}

// broken says at which offset the stream cannot go on.
func (h *held) broken(err error) error {
	return &FatalError{Err: fmt.Errorf("stream at offset %d: %w", h.at(), err)}
}

// at is the source's offset up to which commands have been judged.
func (h *held) at() int64 { return h.link.end.Load() + int64(h.judged-h.passed) }

// write writes to the spool.
func (l *Link) write(ctx context.Context, b []byte) error {
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
