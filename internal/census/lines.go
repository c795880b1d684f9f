package census

import (
	"bytes"
	"errors"
	"io"
)

// maxLine is up to where a line is read, in bytes: ample for names of keys. Values
// may be of any size, and are not looked at.
const maxLine = 1 << 20

// lineReader reads lines of any length in a buffer that does not grow with them. After
// an error that is a timeout it can be read on.
type lineReader struct {
	r        io.Reader
	buf      []byte
	from, to int  // what is read and not returned
	scanned  int  // from where there may be an end of line
	skipping bool // the rest of a line that was cut
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: r, buf: make([]byte, maxLine)}
}

// next is the next line without its end, valid until the next call. cut says that it
// is but the beginning of one. A last line without an end is returned before io.EOF.
func (l *lineReader) next() (line []byte, cut bool, err error) {
	for {
		if i := bytes.IndexByte(l.buf[l.scanned:l.to], '\n'); i >= 0 {
			line = bytes.TrimSuffix(l.buf[l.from:l.scanned+i], []byte("\r"))
			l.from = l.scanned + i + 1
			l.scanned = l.from
			if !l.skipping {
				return line, false, nil
			}
			l.skipping = false
			continue
		}
		l.scanned = l.to
		switch {
		case l.skipping:
			l.from, l.to, l.scanned = 0, 0, 0
		case l.from > 0:
			l.to = copy(l.buf, l.buf[l.from:l.to])
			l.from, l.scanned = 0, l.to
		case l.to == len(l.buf):
			l.skipping = true
			l.to, l.scanned = 0, 0
			return l.buf, true, nil
		}
		n, err := l.r.Read(l.buf[l.to:])
		l.to += n
		if n > 0 {
			continue
		}
		if err != nil {
			if errors.Is(err, io.EOF) && l.to > l.from && !l.skipping {
				line, l.from = l.buf[l.from:l.to], l.to
				return line, false, nil
			}
			return nil, false, err
		}
	}
}
