package persist

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"

	"godwit/internal/resp"
)

const (
	readerBuffer = 256 << 10 // bytes, of a reader as a rule
	keptBuffer   = 4 << 20   // the most that it keeps after a large command

	// annotationLine is the size of the longest annotation, its newline included, that
	// fgets reads as one line (aof.c AOF_ANNOTATION_LINE_MAX_LEN).
	annotationLine = 1023
)

// errCut says that a file ends within a command.
var errCut = errors.New("the file ends within a command")

// reader reads the commands of one file as aof.c loadSingleAppendOnlyFile does. Its
// memory is its buffer, which grows with a command that is larger.
type reader struct {
	path string
	file io.ReaderAt
	end  int64 // of the file

	// passesBy is for those who want nothing but the names of commands: what does not
	// fit the buffer is passed by, and has no arguments.
	passesBy bool

	buf       []byte
	at        int   // what is before has been read
	base      int64 // offset of buf[0] in the file
	args      [][]byte
	timestamp int64 // of the last annotation that told the time, in seconds since 1970; 0 before
}

// reset makes the reader begin at that offset of a file. It keeps the buffer, and what
// is in it if it is of the same file.
func (r *reader) reset(path string, file io.ReaderAt, offset, end int64) {
	if r.file == file && offset >= r.base && offset <= r.base+int64(len(r.buf)) {
		r.at = int(offset - r.base)
		return
	}
	r.path, r.file, r.end = path, file, end
	r.buf, r.at, r.base = r.buf[:0], 0, offset
}

// offset is that of the next byte to be read.
func (r *reader) offset() int64 { return r.base + int64(r.at) }

// next reads a command, which is valid until the next call. Its offset is that of its
// first byte. After the last one comes io.EOF, or errCut if there is the beginning of
// another. Other errors are an *Error.
func (r *reader) next() (e resp.Extent, offset int64, err error) {
	for {
		b := r.buf[r.at:]
		switch {
		case len(b) == 0:
			if r.offset() == r.end {
				return e, r.end, io.EOF
			}
			if err := r.fill(1); err != nil {
				return e, 0, err
			}
			continue
		case b[0] == '#':
			if err := r.annotation(); err != nil {
				return e, 0, err
			}
			continue
		case b[0] != '*':
			return e, 0, r.damaged(0, "a command")
		}
		e, err = resp.Scan(b, r.args)
		r.args = e.Args
		if err == nil {
			offset = r.offset()
			err = r.check(e)
			r.at += e.Size
			return e, offset, err
		}
		if !errors.Is(err, resp.ErrIncomplete) {
			return e, 0, r.damaged(e.Size, "a length")
		}
		need := max(e.Need, int64(len(b))+1)
		offset = r.offset()
		switch {
		case offset+need > r.end && e.Need == 0 && !beginsLine(b[e.Size:], e.Total == 0):
			return e, 0, r.damaged(e.Size, "a length")
		case offset+need > r.end:
			return e, offset, errCut
		case r.passesBy && e.Total > 0 && need > readerBuffer:
			return resp.Extent{}, offset, r.passBy(e)
		}
		if err := r.fill(need); err != nil {
			return e, 0, err
		}
	}
}

// beginsLine tells whether more of the file could make a line of b that announces a
// command, or an argument. What it cannot have been no server takes for cut.
func beginsLine(b []byte, command bool) bool {
	if len(b) == 0 {
		return true
	}
	digits, ended := bytes.CutSuffix(b[1:], []byte("\r"))
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	if len(digits) == 0 {
		return !ended
	}
	return !command || digits[0] != '0'
}

// check sees that a command has a name, and that each argument ends in CRLF. Servers
// take any two bytes; redis-check-aof does not.
func (r *reader) check(e resp.Extent) error {
	if e.Total == 0 {
		return r.damaged(0, "a command of one argument or more")
	}
	for _, arg := range e.Args {
		if end := arg[len(arg) : len(arg)+2]; end[0] != '\r' || end[1] != '\n' {
			// Where the argument is in the buffer, its capacity tells.
			return r.damaged(cap(r.buf)-cap(arg)+len(arg)-r.at, "the end of an argument")
		}
	}
	return nil
}

// passBy goes on to the end of a command of which e is the beginning.
func (r *reader) passBy(e resp.Extent) error {
	body := e.Rest()
	r.at += e.Size
	for {
		n, done, err := body.Advance(r.buf[r.at:])
		if err != nil {
			return r.damaged(n, "a length")
		}
		r.at += n
		switch {
		case done:
			return nil
		case r.base+int64(len(r.buf)) == r.end:
			return errCut
		}
		if err := r.fill(1); err != nil {
			return err
		}
	}
}

// annotation reads a line that begins with #, and is no command: the time, where the
// server is set to aof-timestamp-enabled yes. One that is cut short is no loss: the
// server, too, takes the file for complete.
func (r *reader) annotation() error {
	for {
		b := r.buf[r.at:]
		line, _, found := bytes.Cut(b, []byte("\n"))
		switch {
		case len(line) > annotationLine || found && len(line) == annotationLine:
			return r.damaged(0, "an annotation that ends")
		case !found && r.offset()+int64(len(b)) == r.end:
			r.at += len(b)
			return nil
		case !found:
			if err := r.fill(int64(len(b)) + 1); err != nil {
				return err
			}
			continue
		}
		r.at += len(line) + 1
		if text, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\r")), []byte("#TS:")); ok {
			if seconds, err := strconv.ParseInt(string(text), 10, 64); err == nil {
				r.timestamp = seconds
			}
		}
		return nil
	}
}

// fill makes that many bytes available from at on. The file is known to have them.
func (r *reader) fill(need int64) error {
	rest := r.buf[r.at:]
	size := int64(cap(r.buf))
	switch {
	case need > size:
		size = max(need, 2*size, readerBuffer)
	case size > keptBuffer && need <= readerBuffer:
		size = readerBuffer
	}
	if size == int64(cap(r.buf)) {
		r.buf = r.buf[:copy(r.buf[:cap(r.buf)], rest)]
	} else {
		r.buf = append(make([]byte, 0, size), rest...)
	}
	r.base += int64(r.at)
	r.at = 0
	from := r.base + int64(len(r.buf))
	room := r.buf[len(r.buf):min(size, r.end-r.base)]
	n, err := r.file.ReadAt(room, from)
	r.buf = r.buf[:len(r.buf)+n]
	switch {
	case n == len(room):
		return nil
	case errors.Is(err, io.EOF):
		return changed(r.path)
	default:
		return failed(r.path, err)
	}
}

// damaged is an error about the byte at that distance from the present place, where
// something else was expected.
func (r *reader) damaged(distance int, expected string) error {
	found := r.buf[min(r.at+distance, len(r.buf)):]
	return damagedAOF(r.path, r.offset()+int64(distance), fmt.Errorf("expected %s, found %q", expected, found[:min(len(found), 20)]))
}
