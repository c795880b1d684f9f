package rdb

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Set is a set of types and opcodes.
type Set [4]uint64

// AllCodes has every type and opcode.
func AllCodes() Set { return Set{^uint64(0), ^uint64(0), ^uint64(0), ^uint64(0)} }

// AddType adds types.
func (s *Set) AddType(types ...Type) {
	for _, t := range types {
		s[t>>6] |= 1 << (t & 63)
	}
}

// AddOpcode adds opcodes.
func (s *Set) AddOpcode(opcodes ...Opcode) {
	for _, o := range opcodes {
		s.AddType(Type(o))
	}
}

// HasType tells whether a type is in the set.
func (s *Set) HasType(t Type) bool { return s.has(byte(t)) }

// MarshalJSON lists the names of its types.
func (s Set) MarshalJSON() ([]byte, error) {
	names := []string{}
	for _, t := range s.Types() {
		names = append(names, t.String())
	}
	return json.Marshal(names)
}

// Types are the types and opcodes of the set, in their order.
func (s *Set) Types() []Type {
	var types []Type
	for code := range 256 {
		if s.has(byte(code)) {
			types = append(types, Type(code))
		}
	}
	return types
}

func (s *Set) has(code byte) bool { return s[code>>6]>>(code&63)&1 == 1 }

// ScannerOptions tune a Scanner. The zero value verifies the checksum and hands
// out all elements in runs.
type ScannerOptions struct {
	Single     Set    // types and opcodes; elements with one of them are handed out one by one
	CRC        *CRC64 // to share its tables
	NoChecksum bool   // do not verify the checksum
	BufferSize int    // bytes; default 256 KiB
}

const (
	defaultBuffer = 256 << 10
	leastBuffer   = 4 * maxAtom
)

// ErrNeedMore is returned by Next of a scanner without a reader when it is to be
// fed.
var ErrNeedMore = errors.New("rdb: more of the snapshot is needed")

// Scanner goes through a snapshot and finds its elements, without decoding them.
// It hands out the snapshot's bytes in order and unchanged, in spans, so that
// the caller can pass them on or put others in their place. Its memory is its
// buffer: a larger value comes in several spans. Only a key's name, with what
// precedes it, is always in one span, whatever its size.
//
// It is not safe for concurrent use.
type Scanner struct {
	r      io.Reader // nil if it is fed
	single Set
	size   int // of the buffer as a rule
	crc    *CRC64

	format  Format
	layouts *layouts
	walker  walker

	buf      []byte // read and not yet handed out: buf[start:]
	base     int64  // offset of buf[0] in the snapshot
	start    int
	element  int  // where the present element begins in buf, or start if it began before
	at       int  // how far the walker is
	limit    int  // how many bytes may wait to be handed out
	complete bool // the present element ends at at, and is to be handed out by itself
	partial  bool // a part of the present element has been handed out by itself

	sum    uint64 // checksum of the snapshot up to buf[summed]
	summed int    // as late as possible: many bytes at once are faster
	db     int
	keys   int64
	span   Span
	names  Decoder // of names that are compressed or integers
	err    error   // of Next, from now on
}

// NewScanner prepares to read a snapshot from r, or, if that is nil, from what
// Feed is given.
func NewScanner(r io.Reader, o ScannerOptions) *Scanner {
	s := &Scanner{r: r, single: o.Single, crc: o.CRC, size: o.BufferSize}
	if s.size == 0 {
		s.size = defaultBuffer
	}
	s.size = max(s.size, leastBuffer)
	s.limit = s.size
	switch {
	case o.NoChecksum:
		s.crc = nil
	case s.crc == nil:
		s.crc = NewCRC64()
	}
	s.single.AddOpcode(OpcodeEOF)
	return s
}

// Single sets which elements are handed out one by one, from the next one on. It
// is for those who must know the format first.
func (s *Scanner) Single(codes Set) {
	codes.AddOpcode(OpcodeEOF)
	s.single, s.walker.wanted = codes, codes
}

// Format is what the header said; the zero value before Next has returned it.
func (s *Scanner) Format() Format { return s.format }

// Keys is how many keys have been walked through.
func (s *Scanner) Keys() int64 { return s.keys }

// Buffered is what has been read after the end of the snapshot, once Next has
// returned io.EOF.
func (s *Scanner) Buffered() []byte { return s.buf[s.start:] }

// Feed gives a scanner without a reader the next bytes of the snapshot. It makes
// a copy of them.
func (s *Scanner) Feed(p []byte) {
	s.compact()
	s.buf = append(s.buf, p...)
}

// Next returns the next span, and io.EOF after the one of KindEnd. Other errors
// are a *FormatError, *SyntaxError, *ChecksumError or *ReadError, and final;
// ErrNeedMore is not.
func (s *Scanner) Next() (*Span, error) {
	if s.err != nil {
		return nil, s.err
	}
	span, err := s.next()
	if err != nil && err != ErrNeedMore { //nolint:errorlint // our own, never wrapped
		s.err = err
	}
	return span, err
}

func (s *Scanner) next() (*Span, error) {
	if s.layouts == nil {
		return s.header()
	}
	if s.complete {
		return s.finish()
	}
	for {
		n, done, err := s.walker.walk(s.buf[s.at:])
		s.at += n
		if err != nil {
			return nil, &SyntaxError{Offset: s.base + int64(s.at), Reason: err.Error()}
		}
		switch {
		case done && s.walker.found:
			s.complete = true
			if s.element > s.start {
				return s.run(s.element), nil
			}
			return s.finish()
		case done:
			s.passed()
		case s.element > s.start:
			return s.run(s.element), nil
		case s.at > s.start && s.full() && s.divisible():
			return s.piece()
		default:
			if err := s.fill(); err != nil {
				return nil, err
			}
		}
	}
}

// header reads the magic and the version.
func (s *Scanner) header() (*Span, error) {
	for len(s.buf) < HeaderSize {
		if err := s.fill(); err != nil {
			return nil, err
		}
	}
	format, err := ParseHeader(s.buf)
	if err != nil {
		return nil, err
	}
	s.format, s.layouts = format, newLayouts(format)
	s.walker = walker{layouts: s.layouts, wanted: s.single}
	s.walker.begin()
	s.at, s.element = HeaderSize, HeaderSize
	return s.handOut(KindHeader, HeaderSize), nil
}

// passed goes on to the next element.
func (s *Scanner) passed() {
	switch {
	case s.walker.value > 0:
		s.keys++
	case s.walker.code == byte(OpcodeSelectDB):
		db, _, _ := length(s.buf[s.element+1:]) // the walker has read it already
		s.db = int(min(db, 1<<31))
	}
	s.element = s.at
	s.walker.begin()
}

// full tells whether as much waits to be handed out as may.
func (s *Scanner) full() bool { return len(s.buf)-s.start >= s.limit }

// divisible tells whether the present element may be handed out up to here: it
// must be known by then whether it is to be handed out by itself, and a key that
// is must come as a whole, with the beginning of its value (a module's data
// begins with its name).
func (s *Scanner) divisible() bool {
	w := &s.walker
	isKey, isAttribute := w.layout[:min(len(layoutKey), len(w.layout))] == layoutKey, w.layout[len(w.layout)-1] == 'c'
	switch {
	case isAttribute:
		return false
	case s.partial || !isKey || !w.found:
		return true
	default:
		return w.value > 0 && w.size-w.value >= maxAtom
	}
}

// piece hands out the present element up to here.
func (s *Scanner) piece() (*Span, error) {
	if !s.walker.found {
		return s.run(s.at), nil
	}
	return s.part(true)
}

// finish hands out the rest of the present element, which ends here.
func (s *Scanner) finish() (*Span, error) {
	s.complete = false
	if s.walker.code == byte(OpcodeEOF) {
		return s.end()
	}
	span, err := s.part(false)
	s.partial = false
	s.passed()
	return span, err
}

// part hands out the present element up to here.
func (s *Scanner) part(more bool) (*Span, error) {
	kind := KindOpcode
	switch {
	case s.partial:
		kind = KindRest
	case s.walker.value > 0:
		kind = KindKey
	}
	s.partial = true
	valueAt := int(s.walker.value) // small enough: the buffer holds it if it is used
	span := s.handOut(kind, s.at)
	if span.More = more; more {
		s.element = s.start
	}
	switch kind {
	case KindKey:
		span.Type, span.DB, span.valueAt = Type(s.walker.code), s.db, valueAt
		if err := span.readKey(&s.names); err != nil {
			return nil, err
		}
	case KindOpcode:
		span.Opcode = Opcode(s.walker.code)
	}
	return span, nil
}

// run hands out elements up to place to, none of them by itself.
func (s *Scanner) run(to int) *Span {
	span := s.handOut(KindRun, to)
	span.More = to != s.element
	s.element = max(s.element, to)
	return span
}

func (s *Scanner) handOut(kind Kind, to int) *Span {
	s.span = Span{Kind: kind, Bytes: s.buf[s.start:to:to], Offset: s.base + int64(s.start)}
	s.start = to
	s.limit = s.size
	return &s.span
}

// addSum takes what comes before place to into the checksum.
func (s *Scanner) addSum(to int) {
	if s.crc != nil {
		s.sum = s.crc.Update(s.sum, s.buf[s.summed:to])
	}
	s.summed = to
}

// end verifies the checksum, which OpcodeEOF belongs to. Zero means that the
// server computed none (rdb.c rdbLoadRioWithLoadingCtx).
func (s *Scanner) end() (*Span, error) {
	s.addSum(s.start + 1)
	want := binary.LittleEndian.Uint64(s.buf[s.start+1:])
	if s.crc != nil && want != 0 && want != s.sum {
		return nil, &ChecksumError{Want: want, Got: s.sum}
	}
	span := s.handOut(KindEnd, s.at)
	s.err = io.EOF
	return span, nil
}

// fill reads more, at least one byte.
func (s *Scanner) fill() error {
	if s.r == nil {
		return ErrNeedMore
	}
	if s.full() {
		s.limit *= 2 // of an element that may not be divided here
	}
	s.compact()
	if cap(s.buf) < s.limit {
		s.buf = append(make([]byte, 0, s.limit), s.buf...)
	}
	n, err := readSome(s.r, s.buf[len(s.buf):cap(s.buf)])
	s.buf = s.buf[:len(s.buf)+n]
	if errors.Is(err, io.EOF) {
		err = fmt.Errorf("the snapshot goes on: %w", io.ErrUnexpectedEOF)
	}
	if err != nil {
		return &ReadError{Offset: s.base + int64(len(s.buf)), Err: err}
	}
	return nil
}

// compact moves what is still to be handed out to the buffer's beginning, and
// gives up a buffer that a large key has made grow.
func (s *Scanner) compact() {
	if s.start == 0 {
		return
	}
	s.addSum(s.start)
	s.summed = 0
	rest := s.buf[s.start:]
	if cap(s.buf) > 2*s.size && len(rest) < s.size {
		s.buf = make([]byte, 0, s.size)
	}
	s.buf = append(s.buf[:0], rest...)
	s.base += int64(s.start)
	s.at -= s.start
	s.element -= s.start
	s.start = 0
}

// Value reads the value of the key that Next has returned, to its end in later
// spans: it calls Next for them. The next call of Next ends its life.
func (s *Scanner) Value() io.Reader {
	return &valueReader{s: s, rest: s.span.Value(), more: s.span.More}
}

type valueReader struct {
	s    *Scanner
	rest []byte
	more bool
}

func (r *valueReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if !r.more {
			return 0, io.EOF
		}
		span, err := r.s.Next()
		if err != nil {
			return 0, err
		}
		r.rest, r.more = span.Bytes, span.More
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
