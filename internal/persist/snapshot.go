package persist

import (
	"errors"
	"fmt"
	"io"

	"godwit/internal/rdb"
)

// snapshotReader gives out the bytes of a snapshot up to its end, which only its
// elements tell: in a file of Redis 4.0 to 6.2 commands may follow.
type snapshotReader struct {
	part    *part
	src     io.Reader
	scanner *rdb.Scanner
	rest    []byte // of the present span
	end     int64  // of the snapshot in the file, once it is known
	err     error  // of Read, from now on
}

func newSnapshotReader(p *part, src io.Reader) *snapshotReader {
	return &snapshotReader{part: p, src: src, scanner: rdb.NewScanner(src, rdb.ScannerOptions{})}
}

// Read reads the snapshot.
func (r *snapshotReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.err != nil {
			return 0, r.err
		}
		r.next()
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// read tells whether all of the snapshot has been given out.
func (r *snapshotReader) read() bool {
	return len(r.rest) == 0 && errors.Is(r.err, io.EOF)
}

// next takes the next span. What is wrong is said in place of the last one, so that
// nobody takes the snapshot for complete.
func (r *snapshotReader) next() {
	span, err := r.scanner.Next()
	if err != nil {
		r.err = damagedRDB(r.part.path, err)
		return
	}
	if span.Kind == rdb.KindEnd {
		r.end = span.Offset + int64(len(span.Bytes))
		if r.err = r.nothingFollows(); r.err != nil {
			return
		}
		r.err = io.EOF
	}
	r.rest = span.Bytes
}

// nothingFollows sees that the file ends with its snapshot, unless it is one that goes
// on with commands. Servers do not look at what comes after an RDB file's end.
func (r *snapshotReader) nothingFollows() error {
	if r.part.Content == SnapshotAndCommands {
		return nil
	}
	if len(r.scanner.Buffered()) == 0 {
		switch n, err := io.ReadFull(r.src, make([]byte, 1)); {
		case n > 0:
		case errors.Is(err, io.EOF):
			return nil
		default:
			return failed(r.part.path, err)
		}
	}
	return &Error{
		Path: r.part.path, Offset: r.end, Err: errors.New("the file goes on after the end of its snapshot"),
		Hint: fmt.Sprintf("no server writes such a file; if what follows does not belong to it, cut it off: head -c %d", r.end),
	}
}
