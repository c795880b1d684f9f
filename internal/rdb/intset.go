package rdb

import (
	"encoding/binary"
	"math"
)

// An intset (intset.c) is the size of a number in bytes (32 bits), how many
// there are (32 bits), and the numbers, ascending.
const intsetHeader = 4 + 4

// newIntset makes an intset of numbers that ascend.
func newIntset(numbers []int64) []byte {
	width := 2
	for _, n := range numbers {
		switch {
		case n < math.MinInt32 || n > math.MaxInt32:
			width = 8
		case n < math.MinInt16 || n > math.MaxInt16:
			width = max(width, 4)
		}
	}
	blob := make([]byte, intsetHeader, intsetHeader+width*len(numbers))
	binary.LittleEndian.PutUint32(blob, uint32(width))
	binary.LittleEndian.PutUint32(blob[4:], uint32(len(numbers)))
	for _, n := range numbers {
		for i := range width {
			blob = append(blob, byte(n>>(8*i)))
		}
	}
	return blob
}

// Intset reads the numbers of an intset in place.
type Intset struct {
	in    Reader // of the string
	own   []byte
	width int
	left  uint64
	last  int64 // the number before
	begun bool  // there is one
}

// Intset reads the beginning of a string that holds an intset.
func (r *Reader) Intset() *Intset {
	if r.ints == nil {
		r.ints = new(Intset)
	}
	s := r.ints
	size := r.within(&s.in, &s.own)
	s.left, s.begun = 0, false
	if !s.in.need(intsetHeader) {
		return s
	}
	head := s.in.buf[s.in.at:]
	s.in.at += intsetHeader
	width, count := uint64(binary.LittleEndian.Uint32(head)), uint64(binary.LittleEndian.Uint32(head[4:]))
	switch {
	case width != 2 && width != 4 && width != 8:
		s.in.Failf("an intset with numbers of %d bytes", width)
	case intsetHeader+count*width != size:
		s.in.Failf("an intset of %d numbers in %d bytes", count, size)
	default:
		s.width, s.left = int(width), count
	}
	return s
}

// Len is how many numbers are still to be read.
func (s *Intset) Len() uint64 { return s.left }

// Next returns the next number, ok false after the last one and after an error.
func (s *Intset) Next() (n int64, ok bool) {
	if s.left == 0 {
		if s.in.err == nil {
			s.in.End()
		}
		return 0, false
	}
	if !s.in.need(s.width) {
		return 0, false
	}
	b := s.in.buf[s.in.at:]
	switch s.width {
	case 2:
		n = int64(int16(binary.LittleEndian.Uint16(b)))
	case 4:
		n = int64(int32(binary.LittleEndian.Uint32(b)))
	default:
		n = int64(binary.LittleEndian.Uint64(b))
	}
	if s.begun && n <= s.last {
		s.in.Failf("an intset's numbers do not ascend")
		return 0, false
	}
	s.in.at += s.width
	s.left--
	s.last, s.begun = n, true
	return n, true
}
