package relay

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"godwit/internal/psync"
	"godwit/internal/rdb"
)

// readSnapshot carries the header and the snapshot into the spool: as they are
// if the target loads that format, and has the modules, else rewritten for it.
func (l *Link) readSnapshot(ctx context.Context, u *upstream) error {
	// Newlines mean that the source is alive and still forking; the target gets
	// them too, as it would from the source.
	header, err := u.stream.SnapshotHeader(func() {
		l.heard.Store(time.Now().UnixNano())
		_ = l.spool.Write(ctx, []byte("\n")) // fails only when the link stops
	})
	if err != nil {
		return err
	}
	if header.Length >= 0 {
		l.total.Store(header.Length)
	}
	if l.cfg.Snapshot == nil {
		return l.copySnapshot(ctx, u, header)
	}
	begin, err := u.stream.Peek(rdb.HeaderSize)
	if err != nil {
		return fmt.Errorf("within the snapshot: %w", eof(err))
	}
	format, err := rdb.ParseHeader(begin)
	switch {
	case err != nil:
		return &FatalError{Err: fmt.Errorf("the source's snapshot: %w", err)}
	case l.cfg.Snapshot.To.Loads(format) && !l.cfg.EverySnapshot:
		return l.copySnapshot(ctx, u, header)
	default:
		return l.convertSnapshot(ctx, u, header)
	}
}

// snapshotReader counts what is read of a snapshot.
type snapshotReader struct {
	link *Link
	from io.Reader
}

func (r *snapshotReader) Read(p []byte) (int, error) {
	n, err := r.from.Read(p)
	if n > 0 {
		r.link.heard.Store(time.Now().UnixNano())
		r.link.copied.Add(int64(n))
	}
	return n, err
}

// copySnapshot passes a snapshot on as it is, its mark included.
func (l *Link) copySnapshot(ctx context.Context, u *upstream, header psync.SnapshotHeader) error {
	if err := l.spool.Write(ctx, header.Raw); err != nil {
		return spoolError(ctx, err)
	}
	source, extent := &snapshotReader{l, u.stream}, header.Extent()
	for {
		space, err := l.spool.Reserve(ctx)
		if err != nil {
			return spoolError(ctx, err)
		}
		n, err := source.Read(extent.Fit(space))
		if n > 0 {
			ended := extent.Ends(space[:n])
			if ended {
				l.snapshotEnds(u, n)
			}
			l.spool.Commit(n)
			if ended {
				return nil
			}
		}
		if err != nil {
			return fmt.Errorf("within the snapshot: %w", eof(err))
		}
	}
}

// snapshotEnds is called before its last n bytes are committed.
func (l *Link) snapshotEnds(u *upstream, n int) {
	_, end := l.spool.Range()
	l.streamAt.Store(end + int64(n))
	u.sent.Store(time.Now().UnixNano())
	l.signalAck()
}

// convertSnapshot rewrites a snapshot for the target. Its size is known only at
// its end, so the target gets it with a marker whatever the source sent.
func (l *Link) convertSnapshot(ctx context.Context, u *upstream, header psync.SnapshotHeader) error {
	if !l.targetEOF {
		return &FatalError{Err: errors.New("the target takes no snapshot that ends in a marker"),
			Hint: "a snapshot that is rewritten on the way has no size beforehand"}
	}
	mark := header.Mark
	if mark == nil {
		mark = []byte(rand.Text() + rand.Text())[:markSize]
	}
	if err := l.spool.Write(ctx, fmt.Appendf(nil, "$EOF:%s\r\n", mark)); err != nil {
		return spoolError(ctx, err)
	}
	source := &snapshotReader{l, u.stream.Snapshot(header)}
	options := *l.cfg.Snapshot
	options.Dropped = func(left rdb.LeftOut) {
		if l.drops.ofCopy(left.Feature) {
			l.tellDropped("the copy", left)
		}
	}
	c := rdb.NewConverter(&spoolWriter{ctx, l}, source, options)
	err := c.Run()
	l.mu.Lock()
	l.rewritten = c.Rewritten()
	l.mu.Unlock()
	if err != nil {
		return l.conversionError(ctx, err)
	}
	n, err := io.Copy(io.Discard, io.MultiReader(bytes.NewReader(c.Buffered()), source))
	switch {
	case n > 0:
		return &FatalError{Err: fmt.Errorf("the source's snapshot: %d bytes follow its end", n)}
	case err != nil:
		return err
	}
	l.snapshotEnds(u, len(mark))
	if err := l.spool.Write(ctx, mark); err != nil {
		return spoolError(ctx, err)
	}
	return nil
}

// markSize is CONFIG_RUN_ID_SIZE of server.h.
const markSize = 40

// spoolWriter is the spool as an io.Writer.
type spoolWriter struct {
	ctx  context.Context //nolint:containedctx // that of the one call it is made for
	link *Link
}

func (w *spoolWriter) Write(p []byte) (int, error) {
	if err := w.link.spool.Write(w.ctx, p); err != nil {
		return 0, &spoolWriteError{err}
	}
	return len(p), nil
}

// spoolWriteError tells a failure of the spool from one of the conversion.
type spoolWriteError struct{ err error }

func (e *spoolWriteError) Error() string { return e.err.Error() }
func (e *spoolWriteError) Unwrap() error { return e.err }

// conversionError tells what trying again may mend from what it cannot.
func (l *Link) conversionError(ctx context.Context, err error) error {
	var read *rdb.ReadError
	var write *spoolWriteError
	var noEqual *rdb.NoEqualError
	switch {
	case errors.As(err, &write):
		return spoolError(ctx, write.err)
	case errors.As(err, &read):
		return fmt.Errorf("within the snapshot: %w", err)
	case errors.As(err, &noEqual):
		return &FatalError{Err: fmt.Errorf("the copy: %w", err)}
	default:
		return &FatalError{Err: fmt.Errorf("the source's snapshot: %w", err)}
	}
}
