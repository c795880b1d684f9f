package rdb

import (
	"encoding/binary"
	"io"
	"strconv"
)

// Text is a string: bytes, or an integer that stands for its decimal digits.
type Text struct {
	Bytes   []byte // of a Large one the first of its bytes
	Integer int64
	IsInt   bool
	more    *Reader // nil if this is all
}

// Large tells whether there are more bytes, to be read with Next.
func (t *Text) Large() bool { return t.more != nil }

// Next returns the next bytes of a Large text, none at its end. It is to be read
// to its end before anything else is.
func (t *Text) Next() []byte { return t.more.piece() }

// appendText appends a text as a whole.
func appendText(dst []byte, t Text) []byte {
	if t.IsInt {
		return strconv.AppendInt(dst, t.Integer, 10)
	}
	dst = append(dst, t.Bytes...)
	if t.Large() {
		for p := t.Next(); len(p) > 0; p = t.Next() {
			dst = append(dst, p...)
		}
	}
	return dst
}

// stringHead is what a string begins with.
type stringHead struct {
	start      int64  // its offset
	size, want uint64 // bytes that follow, and that they are when decompressed
	bytes      int    // of the head
	code       byte   // encInt8 and so on, or encPlain
}

const encPlain = 0xff // no encoding of the servers'

// String reads a string.
func (r *Reader) String() Text {
	if b, ok := r.plain(); ok {
		return Text{Bytes: b}
	}
	return r.anyString()
}

// plain reads a string that is in the buffer as it is, if it is not a long one.
func (r *Reader) plain() ([]byte, bool) {
	if r.at >= len(r.buf) {
		return nil, false
	}
	start, end := r.at+1, r.at+1
	switch first := r.buf[r.at]; {
	case first>>6 == len6Bits:
		end += int(first)
	case first>>6 == len14Bits && start < len(r.buf):
		start++
		end += 1 + (int(first&0x3f)<<8 | int(r.buf[r.at+1]))
	default:
		return nil, false
	}
	if end > len(r.buf) {
		return nil, false
	}
	r.at = end
	return r.buf[start:end], true
}

// integer reads a string that is saved as an integer and in the buffer.
func (r *Reader) integer() (int64, bool) {
	switch b := r.buf[r.at:]; {
	case len(b) >= 2 && b[0] == lenEncVal<<6|encInt8:
		r.at += 2
		return int64(int8(b[1])), true
	case len(b) >= 3 && b[0] == lenEncVal<<6|encInt16:
		r.at += 3
		return int64(int16(binary.LittleEndian.Uint16(b[1:]))), true
	case len(b) >= 5 && b[0] == lenEncVal<<6|encInt32:
		r.at += 5
		return int64(int32(binary.LittleEndian.Uint32(b[1:]))), true
	default:
		return 0, false
	}
}

// anyString reads a string of any kind.
func (r *Reader) anyString() Text {
	if n, ok := r.integer(); ok {
		return Text{Integer: n, IsInt: true}
	}
	h, ok := r.stringHead()
	switch {
	case !ok:
		return Text{}
	case h.code == encPlain:
		return r.bytes(h.size)
	case h.code != encLZF:
		return Text{Integer: r.Signed(int(h.size)), IsInt: true}
	case r.fits(h):
		return Text{Bytes: r.decompress(h)}
	default:
		if r.lzf == nil {
			r.lzf = new(lzfStream)
		}
		out := &r.lzf.out
		*out = Reader{src: r.lzf, buf: out.buf[:0], size: r.innerSize(), parent: r, origin: h.start, rest: h.want, whole: true}
		r.lzf.begin(r, h)
		return Text{Bytes: out.piece(), more: out}
	}
}

func (r *Reader) stringHead() (stringHead, bool) {
	h := stringHead{start: r.Offset(), code: encPlain}
	for n := 1; r.need(n); n = len(r.buf) - r.at + 1 {
		raw := r.buf[r.at:]
		head, size, err := stringExtent(raw)
		if err == nil && size > 1<<62 {
			r.Failf("a string of %d bytes", size)
		}
		if err != nil {
			r.Failf("%v", err)
		}
		if head < 0 || r.err != nil {
			continue
		}
		h.size, h.want, h.bytes = size, size, head
		if raw[0]>>6 == lenEncVal {
			h.code = raw[0] & 0x3f
		}
		if h.code == encLZF {
			_, n, _ := length(raw[1:]) // read before, by stringExtent
			h.want, _, _ = length(raw[1+n:])
			if h.want > maxLZFRatio*h.size {
				r.Failf("LZF string of %d bytes cannot hold %d", h.size, h.want)
				return h, false
			}
		}
		r.at += head
		return h, true
	}
	return h, false
}

// appendRaw appends a string as it is encoded.
func (r *Reader) appendRaw(dst []byte) []byte {
	start := r.at
	if _, ok := r.plain(); ok {
		return append(dst, r.buf[start:r.at]...)
	}
	h, ok := r.stringHead()
	if !ok {
		return dst
	}
	return appendText(append(dst, r.buf[r.at-h.bytes:r.at]...), r.bytes(h.size))
}

// fits tells whether a string can be had as a whole.
func (r *Reader) fits(h stringHead) bool {
	if r.src == nil {
		return h.want <= defaultBuffer || h.code == encPlain
	}
	return max(h.want, h.size) <= uint64(r.size)
}

// innerBuffer is the size of the buffer for what is in a string that does not fit.
const innerBuffer = 64 << 10

func (r *Reader) innerSize() int {
	if r.src == nil {
		return innerBuffer
	}
	return min(innerBuffer, r.size)
}

// decompress returns a compressed string as a whole.
func (r *Reader) decompress(h stringHead) []byte {
	t := r.bytes(h.size)
	if r.err != nil {
		return nil
	}
	var err error
	if r.scratch, err = appendLZF(r.scratch[:0], t.Bytes, h.want); err != nil {
		r.Fail(&SyntaxError{Offset: h.start, Reason: err.Error()})
		return nil
	}
	return r.scratch
}

// bytes gives the next n bytes.
func (r *Reader) bytes(n uint64) Text {
	if n > uint64(len(r.buf)-r.at) {
		switch {
		case r.src == nil:
			r.need(len(r.buf) - r.at + 1) // fails
			return Text{}
		case n > uint64(r.size):
			r.rest = n
			return Text{Bytes: r.piece(), more: r}
		case !r.need(int(n)):
			return Text{}
		}
	}
	start := r.at
	r.at += int(n)
	return Text{Bytes: r.buf[start:r.at]}
}

// piece gives the next bytes of the present string.
func (r *Reader) piece() []byte {
	if r.rest == 0 && r.whole {
		r.End()
	}
	if r.rest == 0 || !r.need(1) {
		return nil
	}
	start := r.at
	r.at += int(min(r.rest, uint64(len(r.buf)-start)))
	r.rest -= uint64(r.at - start)
	return r.buf[start:r.at]
}

// pieces reads the string that a Reader is at, byte by byte as it is saved.
type pieces struct{ r *Reader }

func (p pieces) Read(b []byte) (int, error) {
	if p.r.rest == 0 {
		return 0, io.EOF
	}
	if !p.r.need(1) {
		return 0, p.r.err
	}
	n := copy(b[:min(uint64(len(b)), p.r.rest)], p.r.buf[p.r.at:])
	p.r.at += n
	p.r.rest -= uint64(n)
	return n, nil
}
