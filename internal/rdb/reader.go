package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Reader reads a snapshot or a value one part after another, in place: what its
// methods return lies in its buffer and is valid until the next call. A string
// that is larger than the buffer comes in pieces, so that the memory does not
// depend on what is read.
//
// It is for those who go through everything and keep nothing, and what a Decoder
// stands on: no part is copied, and no method of anybody is called for it. After an error every method returns
// zero values; Err tells which it was, and has to be asked in loops whose number
// of turns was read. It is not safe for concurrent use.
type Reader struct {
	buf  []byte // what was read: buf[at:] is still to be returned
	at   int
	base int64     // offset of buf[0]
	src  io.Reader // nil if buf is all there is
	size int       // of buf, where src is not nil
	one  bool      // src gives one value: that it ends too early is the value's mistake
	err  error

	parent *Reader // whose string this one reads; errors go there too
	origin int64   // where in parent the string begins

	crc    *CRC64 // nil without a checksum
	sum    uint64 // of what came before buf[summed]
	summed int

	rest    uint64 // bytes of the present string that are still to come
	whole   bool   // src has nothing but that string
	scratch []byte // what was compressed
	lzf     *lzfStream
	pack    *Pack
	ints    *Intset
	scores  *scores
	walker  walker
}

// atOnce is the most that is looked at as a whole, in bytes: the beginning of an
// entry of a listpack or ziplist, a step of LZF, what a walker wants to see.
const atOnce = 80

// NewReader prepares to read from src, with a buffer of that many bytes, 256 KiB
// if 0. If crc is not nil it computes the checksum of a snapshot.
func NewReader(src io.Reader, crc *CRC64, size int) *Reader {
	if size == 0 {
		size = defaultBuffer
	}
	return &Reader{src: src, crc: crc, size: max(size, 2*atOnce)}
}

// Reset has the reader read value, which is all there is.
func (r *Reader) Reset(value []byte) {
	r.buf, r.at, r.base, r.src = value, 0, 0, nil
	r.err, r.rest = nil, 0
}

// resetReader has the reader read a value from src, of which no more than size
// bytes are in buf at a time.
func (r *Reader) resetReader(src io.Reader, buf []byte, size int) {
	r.buf, r.at, r.base, r.src = buf[:0], 0, 0, src
	r.size, r.one = size, true
	r.err, r.rest = nil, 0
}

// Err is the first error there was: a *SyntaxError, *ReadError or
// *ChecksumError, or what Fail was given.
func (r *Reader) Err() error { return r.err }

// Fail sets the error, if there is none yet.
func (r *Reader) Fail(err error) {
	if r.err != nil || err == nil {
		return
	}
	r.err = err
	r.at, r.rest = len(r.buf), 0 // nothing more is read
	if r.parent != nil {
		r.parent.Fail(err)
	}
}

// Failf fails with a *SyntaxError at the present place.
func (r *Reader) Failf(format string, args ...any) {
	r.Fail(&SyntaxError{Offset: r.Offset(), Reason: fmt.Sprintf(format, args...)})
}

// Offset is that of the next byte; within a string, that of the string.
func (r *Reader) Offset() int64 {
	if r.parent != nil {
		return r.origin
	}
	return r.base + int64(r.at)
}

// End fails unless everything has been read.
func (r *Reader) End() {
	if r.err == nil && (r.at < len(r.buf) || r.src != nil && r.try(1)) {
		r.Failf("the value should end here")
	}
}

// need makes n bytes, at most atOnce or size, available in buf from at on.
func (r *Reader) need(n int) bool {
	if len(r.buf)-r.at >= n {
		return true
	}
	if r.try(n) {
		return true
	}
	switch {
	case r.err != nil:
	case r.src == nil || r.parent != nil || r.one:
		r.at = len(r.buf)
		r.Failf("the value is cut short")
	default:
		err := fmt.Errorf("the snapshot goes on: %w", io.ErrUnexpectedEOF)
		r.Fail(&ReadError{Offset: r.base + int64(len(r.buf)), Err: err})
	}
	return false
}

// try is need, and no error if the source ends before.
func (r *Reader) try(n int) bool {
	if r.err != nil || r.src == nil {
		return len(r.buf)-r.at >= n && r.err == nil
	}
	r.addSum()
	if cap(r.buf) < r.size {
		r.buf = append(make([]byte, 0, r.size), r.buf[r.at:]...)
	} else {
		r.buf = r.buf[:copy(r.buf[:cap(r.buf)], r.buf[r.at:])]
	}
	r.base += int64(r.at)
	r.at, r.summed = 0, 0
	for len(r.buf) < n {
		m, err := readSome(r.src, r.buf[len(r.buf):cap(r.buf)])
		r.buf = r.buf[:len(r.buf)+m]
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return false
		case r.parent != nil:
			r.Fail(r.parent.err)
			return false
		default:
			r.Fail(&ReadError{Offset: r.base + int64(len(r.buf)), Err: err})
			return false
		}
	}
	return true
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

// addSum takes all that has been read into the checksum.
func (r *Reader) addSum() {
	if r.crc != nil {
		r.sum = r.crc.Update(r.sum, r.buf[r.summed:r.at])
		r.summed = r.at
	}
}

// Checksum reads what follows OpcodeEOF and compares it. Zero means that the
// server computed none (rdb.c rdbLoadRioWithLoadingCtx).
func (r *Reader) Checksum() {
	r.addSum()
	got := r.sum
	want := r.Uint64()
	if r.err == nil && r.crc != nil && want != 0 && want != got {
		r.Fail(&ChecksumError{Want: want, Got: got})
	}
}

// Header reads what a snapshot begins with.
func (r *Reader) Header() Format {
	if !r.need(HeaderSize) {
		return Format{}
	}
	format, err := ParseHeader(r.buf[r.at:])
	r.at += HeaderSize
	r.Fail(err)
	return format
}

// Byte reads a byte.
func (r *Reader) Byte() byte {
	if r.at < len(r.buf) || r.need(1) {
		r.at++
		return r.buf[r.at-1]
	}
	return 0
}

// Uint64 reads 8 bytes, little endian.
func (r *Reader) Uint64() uint64 {
	if len(r.buf)-r.at >= 8 || r.need(8) {
		r.at += 8
		return binary.LittleEndian.Uint64(r.buf[r.at-8:])
	}
	return 0
}

// Signed reads an integer of 1, 2, 4 or 8 bytes, little endian.
func (r *Reader) Signed(size int) int64 {
	if !r.need(size) {
		return 0
	}
	r.at += size
	return signed(r.buf[r.at-size : r.at])
}

// lengthID reads an ID saved as two lengths.
func (r *Reader) lengthID() StreamID {
	ms := r.Length()
	return StreamID{Ms: ms, Seq: r.Length()}
}

// StreamID reads an ID as it is in a radix tree, 128 bits, big endian.
func (r *Reader) StreamID() StreamID {
	if !r.need(16) {
		return StreamID{}
	}
	r.at += 16
	return rawID(r.buf[r.at-16:])
}

func rawID(b []byte) StreamID {
	return StreamID{Ms: binary.BigEndian.Uint64(b), Seq: binary.BigEndian.Uint64(b[8:])}
}

// Length reads a length, or a number saved as one.
func (r *Reader) Length() uint64 {
	if r.at < len(r.buf) && r.buf[r.at]>>6 == len6Bits {
		r.at++
		return uint64(r.buf[r.at-1])
	}
	return r.longLength()
}

func (r *Reader) longLength() uint64 {
	for n := 1; r.need(n); n = len(r.buf) - r.at + 1 {
		value, size, err := length(r.buf[r.at:])
		if err != nil {
			r.Failf("%v", err)
			return 0
		}
		if size > 0 {
			r.at += size
			return value
		}
	}
	return 0
}

// TextScore reads a score as it was saved before version 8.
func (r *Reader) TextScore() float64 {
	switch size := r.Byte(); size {
	case scoreInf:
		return math.Inf(1)
	case scoreNegInf:
		return math.Inf(-1)
	case scoreNaN:
		r.Failf("a score that is no number")
		return 0
	default:
		if !r.need(int(size)) {
			return 0
		}
		r.at += int(size)
		return r.score(r.buf[r.at-int(size) : r.at])
	}
}

// Score reads a score in binary.
func (r *Reader) Score() float64 {
	score := math.Float64frombits(r.Uint64())
	if math.IsNaN(score) {
		r.Failf("a score that is no number")
		return 0
	}
	return score
}

// Skip passes by what follows the code of an opcode, or of a type if its key has
// been read already.
func (r *Reader) Skip(f Format, code byte) {
	layout := layoutOf(f, code)
	if layout == "" {
		r.Failf("%s does not have the type or opcode %d", f, code)
		return
	}
	if len(layout) > len(layoutKey) && layout[:len(layoutKey)] == layoutKey {
		layout = layout[len(layoutKey):]
	}
	if last := len(layout) - 1; layout[last] == 'c' { // what it belongs to is not passed by
		layout = layout[:last]
	}
	r.walker.beginPart(layout)
	for r.err == nil {
		n, done, err := r.walker.walk(r.buf[r.at:])
		r.at += n
		if err != nil {
			r.Failf("%v", err)
		}
		if done || !r.need(min(len(r.buf)-r.at+1, atOnce)) {
			return
		}
	}
}

// NodeID reads the name of a stream's node, an ID.
func (r *Reader) NodeID() StreamID {
	start := r.Offset()
	t := r.String()
	if t.IsInt || t.Large() || len(t.Bytes) != 16 {
		r.Fail(&SyntaxError{Offset: start, Reason: "a stream's node is not named by an ID"})
		return StreamID{}
	}
	return rawID(t.Bytes)
}

// maxFieldTTL is the last time at which a field may expire in Redis, in
// milliseconds since 1970 (ebuckets.h EB_EXPIRE_TIME_MAX).
const maxFieldTTL = 1<<48 - 1

// LeastTTL reads what the TTLs of TypeHashMetadata count from.
func (r *Reader) LeastTTL() uint64 {
	least := r.Uint64()
	if least > maxFieldTTL+1 { // that itself says that no field has any
		r.Failf("%d is no time at which a field may expire", least)
	}
	return least
}

// RelativeTTL reads when a field expires, counted from least, 1 being least itself.
func (r *Reader) RelativeTTL(least uint64) int64 {
	ttl := r.Length()
	if ttl == 0 {
		return None
	}
	if ttl > maxFieldTTL || ttl+least-1 > maxFieldTTL {
		r.Failf("a field expires %d milliseconds after %d", ttl-1, least)
		return None
	}
	return int64(ttl + least - 1) // at most maxFieldTTL
}

// AbsoluteTTL reads when a field expires as Valkey saves it, None if never.
func (r *Reader) AbsoluteTTL() int64 {
	expireAt := int64(r.Uint64())
	if expireAt < None {
		r.Failf("%d is no time at which a field may expire", expireAt)
		return None
	}
	return expireAt
}
