package rdb

import (
	"errors"
	"fmt"
	"io"
	"strconv"
)

// input is what a value is decoded from: a slice, or a reader that is read into
// a buffer as needed. Slices that its methods return stay valid until release.
type input struct {
	buf     []byte
	at      int       // of the next byte in buf
	base    int64     // offset of buf[0] in the value
	r       io.Reader // nil if buf is all there is
	scratch []byte    // strings that are not in buf as they are
}

const inputBuffer = 64 << 10

// offset of the next byte in the value.
func (in *input) offset() int64 { return in.base + int64(in.at) }

// errorf is a *SyntaxError here.
func (in *input) errorf(format string, args ...any) error {
	return &SyntaxError{Offset: in.offset(), Reason: fmt.Sprintf(format, args...)}
}

// positioned makes an error of a method count from the beginning of the snapshot.
func positioned(offset int64, err error) error {
	var syntax *SyntaxError
	if errors.As(err, &syntax) {
		return &SyntaxError{Offset: offset + syntax.Offset, Reason: syntax.Reason}
	}
	return err
}

// release ends the life of what the other methods have returned.
func (in *input) release() {
	in.scratch = in.scratch[:0]
	if in.r != nil && in.at > cap(in.buf)/2 {
		in.base += int64(in.at)
		in.buf = append(in.buf[:0], in.buf[in.at:]...)
		in.at = 0
	}
}

// fill makes n bytes available if there are as many. It never moves those that
// are in the buffer, which somebody may hold, but takes another buffer, and
// never one much larger than what really comes.
func (in *input) fill(n uint64) error {
	for uint64(len(in.buf)-in.at) < n {
		if in.r == nil {
			return in.truncated()
		}
		if len(in.buf) == cap(in.buf) {
			rest := in.buf[in.at:]
			in.base += int64(in.at)
			in.at = 0
			in.buf = append(make([]byte, 0, max(inputBuffer, 2*len(rest))), rest...)
		}
		m, err := readSome(in.r, in.buf[len(in.buf):cap(in.buf)])
		in.buf = in.buf[:len(in.buf)+m]
		if errors.Is(err, io.EOF) {
			return in.truncated()
		}
		if err != nil {
			return &ReadError{Offset: in.base + int64(len(in.buf)), Err: err}
		}
	}
	return nil
}

// readSome reads at least one byte, or returns why there is none.
func readSome(r io.Reader, p []byte) (int, error) {
	for range 100 {
		n, err := r.Read(p)
		if n > 0 {
			return n, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, io.ErrNoProgress
}

func (in *input) truncated() error {
	return &SyntaxError{Offset: in.base + int64(len(in.buf)), Reason: "the value is cut short"}
}

// take returns the next n bytes.
func (in *input) take(n uint64) ([]byte, error) {
	if uint64(len(in.buf)-in.at) < n {
		if err := in.fill(n); err != nil {
			return nil, err
		}
	}
	b := in.buf[in.at : in.at+int(n) : in.at+int(n)] // it is in memory, so it fits
	in.at += int(n)
	return b, nil
}

// end fails unless everything has been read.
func (in *input) end() error {
	if in.at < len(in.buf) {
		return in.errorf("the value should end here")
	}
	if in.r == nil {
		return nil
	}
	switch _, err := readSome(in.r, make([]byte, 1)); {
	case err == nil:
		return in.errorf("the value should end here")
	case errors.Is(err, io.EOF):
		return nil
	default:
		return &ReadError{Offset: in.offset(), Err: err}
	}
}

// length reads a length, or a number saved as one.
func (in *input) length() (uint64, error) {
	for {
		n, size, err := length(in.buf[in.at:])
		if err != nil {
			return 0, in.errorf("%v", err)
		}
		if size > 0 {
			in.at += size
			return n, nil
		}
		if err := in.fill(uint64(len(in.buf)-in.at) + 1); err != nil {
			return 0, err
		}
	}
}

// rawString reads a string as it is encoded. head is the size of what precedes
// its body.
func (in *input) rawString() (raw []byte, head int, err error) {
	for {
		head, body, err := stringExtent(in.buf[in.at:])
		if err != nil {
			return nil, 0, in.errorf("%v", err)
		}
		if head < 0 {
			if err := in.fill(uint64(len(in.buf)-in.at) + 1); err != nil {
				return nil, 0, err
			}
			continue
		}
		if body > 1<<62 {
			return nil, 0, in.errorf("a string of %d bytes", body)
		}
		raw, err := in.take(uint64(head) + body)
		return raw, head, err
	}
}

// string reads a string and undoes its encoding.
func (in *input) string() ([]byte, error) {
	start := in.offset()
	raw, head, err := in.rawString()
	if err != nil {
		return nil, err
	}
	if raw[0]>>6 != lenEncVal {
		return raw[head:], nil
	}
	old := len(in.scratch)
	switch body := raw[head:]; len(body) {
	case 1, 2, 4:
		if raw[0]&0x3f != encLZF {
			in.scratch = strconv.AppendInt(in.scratch, signed(body), 10)
			return in.scratch[old:], nil
		}
	}
	_, size, _ := length(raw[1:]) // read before, by stringExtent
	want, _, _ := length(raw[1+size:])
	in.scratch, err = appendLZF(in.scratch, raw[head:], want)
	if err != nil {
		return nil, &SyntaxError{Offset: start, Reason: err.Error()}
	}
	return in.scratch[old:], nil
}

// signed reads a little-endian integer of 1, 2, 3, 4 or 8 bytes.
func signed(b []byte) int64 {
	var n uint64
	for i, c := range b {
		n |= uint64(c) << (8 * i)
	}
	unused := 64 - 8*len(b)
	return int64(n<<unused) >> unused // its upper bit is the sign
}

// rest returns all that comes before the end.
func (in *input) rest() ([]byte, error) {
	for in.r != nil {
		err := in.fill(uint64(len(in.buf)-in.at) + 1)
		var syntax *SyntaxError
		if errors.As(err, &syntax) { // the end
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return in.take(uint64(len(in.buf) - in.at))
}
