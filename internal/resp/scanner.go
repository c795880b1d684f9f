package resp

import (
	"bytes"
	"errors"
	"fmt"
)

// ErrIncomplete is returned by Scan for a command that goes on after buf.
var ErrIncomplete = errors.New("resp: incomplete command")

// MaxStreamArg is the largest argument a replication stream can hold: the
// largest proto-max-bulk-len, in bytes.
const MaxStreamArg = 1 << 40

// Extent is a command of the replication stream, as far as it lies in a buffer.
type Extent struct {
	Args  [][]byte // those wholly in the buffer, pointing into it
	Total int      // arguments that the command has
	Size  int      // bytes up to its end, or, when incomplete, up to the end of Args
	Need  int64    // when incomplete within an argument: bytes up to that one's end; else 0
}

// Scan finds the first command in buf without copying. args is reused for
// Extent.Args. A newline by itself is a command without arguments. With
// ErrIncomplete the extent holds what lies in the buffer already; any other
// error says at which byte of buf the protocol is broken.
func Scan(buf []byte, args [][]byte) (Extent, error) {
	e := Extent{Args: args[:0]}
	if len(buf) == 0 {
		return e, ErrIncomplete
	}
	if buf[0] == '\n' {
		e.Size = 1
		return e, nil
	}
	if buf[0] == '\r' {
		if len(buf) < 2 {
			return e, ErrIncomplete
		}
		if buf[1] != '\n' {
			return e, fmt.Errorf("resp: byte 1: expected a newline, got %q", buf[1])
		}
		e.Size = 2
		return e, nil
	}
	total, at, err := scanLength(buf, 0, '*', MaxStreamArgs)
	if err != nil {
		return e, err
	}
	e.Total, e.Size = int(total), at
	for range total {
		size, start, err := scanLength(buf, at, '$', MaxStreamArg)
		if err != nil {
			return e, err
		}
		if int64(len(buf)-start) < size+2 {
			e.Need = int64(start) + size + 2
			return e, ErrIncomplete
		}
		e.Args = append(e.Args, buf[start:start+int(size)])
		at = start + int(size) + 2
		e.Size = at
	}
	return e, nil
}

// MaxStreamArgs is the largest number of arguments of a command (networking.c
// processMultibulkBuffer takes no more for a client that is not a primary).
const MaxStreamArgs = 1 << 31

// maxDigits is how many digits a length may have: those of any int64.
const maxDigits = 19

// scanLength reads kind, a number and CRLF at position at; next is what follows.
func scanLength(buf []byte, at int, kind byte, limit int64) (n int64, next int, err error) {
	line := buf[at:]
	if len(line) == 0 {
		return 0, at, ErrIncomplete
	}
	if line[0] != kind {
		return 0, at, fmt.Errorf("resp: byte %d: expected %q, got %q", at, kind, line[0])
	}
	i := 1
	for ; i < len(line) && line[i] >= '0' && line[i] <= '9'; i++ {
		n = n*10 + int64(line[i]-'0')
		if n > limit || i > maxDigits {
			return 0, at, fmt.Errorf("resp: byte %d: length beyond %d", at, limit)
		}
	}
	if i+1 >= len(line) {
		return 0, at, ErrIncomplete
	}
	if i == 1 || line[i] != '\r' || line[i+1] != '\n' {
		return 0, at, fmt.Errorf("resp: byte %d: bad length %q", at, line[:min(i+2, len(line))])
	}
	return n, at + i + 2, nil
}

// Body walks through the rest of a command whose beginning was scanned, for
// commands larger than any buffer. Start it with Rest.
type Body struct {
	args   int   // arguments still to begin
	skip   int64 // bytes of the present one still to come, CRLF included
	header []byte
}

// maxHeader is the size of the longest line that announces an argument.
const maxHeader = len("$") + maxDigits + len("\r\n")

// Rest is the part of the command that comes after the extent.
func (e Extent) Rest() *Body { return &Body{args: e.Total - len(e.Args)} }

// Advance goes through buf and returns how many of its bytes belong to the
// command, and whether it ends there.
func (b *Body) Advance(buf []byte) (n int, done bool, err error) {
	for {
		if b.skip > 0 {
			step := min(b.skip, int64(len(buf)-n))
			n += int(step)
			b.skip -= step
			if b.skip > 0 {
				return n, false, nil
			}
		}
		if b.args == 0 {
			return n, true, nil
		}
		end := bytes.IndexByte(buf[n:], '\n') + 1
		if end == 0 {
			end = len(buf) - n
		}
		if len(b.header)+end > maxHeader {
			return n, false, fmt.Errorf("resp: bad length %.32q", append(b.header, buf[n:n+min(end, maxHeader)]...))
		}
		b.header = append(b.header, buf[n:n+end]...)
		n += end
		if end == 0 || b.header[len(b.header)-1] != '\n' {
			return n, false, nil // the rest is still to come
		}
		size, _, err := scanLength(b.header, 0, '$', MaxStreamArg)
		if err != nil {
			return n, false, fmt.Errorf("resp: bad length %.32q", b.header)
		}
		b.header = b.header[:0]
		b.args--
		b.skip = size + 2
	}
}
