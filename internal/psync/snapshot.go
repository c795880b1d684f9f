package psync

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"godwit/internal/server"
)

// SnapshotHeader is the line that announces a snapshot.
type SnapshotHeader struct {
	Length int64  // bytes of a disk-based snapshot, at least 1; -1 for one that ends in Mark
	Mark   []byte // the 40 bytes after a diskless snapshot
	Raw    []byte // the line as received, with its CRLF
}

// SnapshotHeader reads the header after a +FULLRESYNC, skipping keepalive newlines.
func (s *Stream) SnapshotHeader(keepalive func()) (SnapshotHeader, error) {
	line, err := s.line(SilenceTimeout, keepalive)
	if err != nil {
		return SnapshotHeader{}, fmt.Errorf("%s: snapshot header: %w", s.peer(), err)
	}
	if err := s.conn.SetDeadline(time.Time{}); err != nil {
		return SnapshotHeader{}, err
	}
	h := SnapshotHeader{Length: -1, Raw: append(append([]byte(nil), line...), '\r', '\n')}
	switch {
	case bytes.HasPrefix(line, []byte("$EOF:")) && len(line) == len("$EOF:")+40:
		h.Mark = append([]byte(nil), line[len("$EOF:"):]...)
		return h, nil
	case line[0] == '$':
		if h.Length, err = strconv.ParseInt(string(line[1:]), 10, 64); err == nil && h.Length > 0 {
			return h, nil
		}
	case line[0] == '-':
		return h, server.NewError(s.peer(), "PSYNC", string(line[1:]))
	}
	return h, fmt.Errorf("%s: snapshot header: unexpected %.80q", s.peer(), line)
}

// Extent follows a snapshot to its end, by its length or by its mark.
type Extent struct {
	remaining int64
	mark      []byte
	tail      []byte // the last bytes that were read, up to the length of the mark
}

// Extent begins before the snapshot's first byte.
func (h SnapshotHeader) Extent() *Extent { return &Extent{remaining: h.Length, mark: h.Mark} }

// Fit cuts p to what may be read into it: nothing after a snapshot of known length.
func (e *Extent) Fit(p []byte) []byte {
	if e.mark == nil && int64(len(p)) > e.remaining {
		return p[:e.remaining]
	}
	return p
}

// Ends takes what was read next, and tells whether the snapshot ends there, its
// mark included. A primary sends nothing after the mark before it has an ACK, so the
// mark is always the last that was read (replication.c readSyncBulkPayload relies
// on the same).
func (e *Extent) Ends(read []byte) bool {
	if e.mark == nil {
		e.remaining -= int64(len(read))
		return e.remaining <= 0
	}
	if len(read) >= len(e.mark) {
		e.tail = append(e.tail[:0], read[len(read)-len(e.mark):]...)
	} else {
		e.tail = append(e.tail, read...)
		e.tail = append(e.tail[:0], e.tail[max(0, len(e.tail)-len(e.mark)):]...)
	}
	return bytes.Equal(e.tail, e.mark)
}

// Snapshot reads the snapshot that the header has announced, and io.EOF at its very
// end; its mark is not part of it. A connection that ends before is
// io.ErrUnexpectedEOF, and one that is silent for SilenceTimeout has ended.
func (s *Stream) Snapshot(h SnapshotHeader) io.Reader {
	return &snapshotReader{stream: s, extent: h.Extent(), held: len(h.Mark)}
}

// snapshotReader keeps back as many bytes as the mark has, until it knows that they
// are not the mark.
type snapshotReader struct {
	stream *Stream
	extent *Extent
	held   int
	buf    []byte
	at     int // what of buf has been handed out
	ended  bool
	err    error // of the stream, from now on
}

const snapshotBuffer = 64 << 10

func (r *snapshotReader) Read(p []byte) (int, error) {
	if r.held == 0 {
		return r.readLength(p)
	}
	for len(r.buf)-r.at <= r.held {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.buf[r.at:len(r.buf)-r.held])
	r.at += n
	return n, nil
}

// readLength reads a snapshot of known length, which needs no buffer.
func (r *snapshotReader) readLength(p []byte) (int, error) {
	if r.ended {
		return 0, io.EOF
	}
	return r.receive(r.extent.Fit(p))
}

// fill reads more, at least one byte.
func (r *snapshotReader) fill() error {
	if r.buf == nil {
		r.buf = make([]byte, 0, snapshotBuffer)
	}
	r.buf = append(r.buf[:0], r.buf[r.at:]...)
	r.at = 0
	n, err := r.receive(r.buf[len(r.buf):cap(r.buf)])
	r.buf = r.buf[:len(r.buf)+n]
	return err
}

// receive reads from the connection; an error comes without bytes.
func (r *snapshotReader) receive(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	_ = r.stream.conn.SetReadDeadline(time.Now().Add(SilenceTimeout)) // of a connection that has ended the read tells
	n, err := r.stream.Read(p)
	switch {
	case n > 0 && r.extent.Ends(p[:n]):
		r.ended = true
		_ = r.stream.conn.SetReadDeadline(time.Time{}) // likewise; the stream may rest
		return n, nil
	case errors.Is(err, io.EOF):
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		r.err = fmt.Errorf("%s: within the snapshot: %w", r.stream.peer(), err)
	}
	if n > 0 {
		return n, nil
	}
	return 0, r.err
}
