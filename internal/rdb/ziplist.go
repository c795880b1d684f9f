package rdb

import (
	"encoding/binary"
	"errors"
	"math"
)

// A ziplist (ziplist.c) is its size in bytes (32 bits), where its last entry
// begins (32 bits), the number of entries (16 bits), the entries and ziplistEnd.
// An entry begins with the size of the one before it.
const (
	ziplistHeader = 4 + 4 + 2
	ziplistEnd    = 0xff
	largePrevious = 0xfe // the size of the entry before follows in 32 bits

	zipInt16     = 0xc0
	zipInt32     = 0xd0
	zipInt64     = 0xe0
	zipInt24     = 0xf0
	zipSmallest  = 0xf1 // 0, and so on up to 12
	zipInt8      = 0xfe
	zipSmallInts = 13
)

var errZiplist = errors.New("a ziplist's entry is malformed")

// zipEntry reads an entry of a ziplist, of which b has at least the beginning.
func (p *Pack) zipEntry(b []byte) (Text, bool) {
	at := p.in.base + int64(p.in.at)
	previous, head := int64(b[0]), 1
	if b[0] == largePrevious {
		if len(b) < 5 {
			return p.malformed(errZiplist)
		}
		previous, head = int64(binary.LittleEndian.Uint32(b[1:])), 5
	}
	expected := int64(0)
	if p.count > 1 {
		expected = at - p.last
	}
	if b[0] == ziplistEnd || previous != expected || len(b) == head {
		return p.malformed(errZiplist)
	}
	p.last = at
	switch first := b[head]; first >> 6 {
	case 0:
		return p.zipText(b, head+1, uint64(first))
	case 1:
		if len(b) < head+2 {
			return p.malformed(errZiplist)
		}
		return p.zipText(b, head+2, uint64(first&0x3f)<<8|uint64(b[head+1]))
	case 2:
		if len(b) < head+5 {
			return p.malformed(errZiplist)
		}
		return p.zipText(b, head+5, uint64(binary.BigEndian.Uint32(b[head+1:])))
	default:
		return p.zipInteger(b, head, first)
	}
}

func (p *Pack) zipInteger(b []byte, head int, first byte) (Text, bool) {
	width := 0
	switch {
	case first == zipInt16:
		width = 2
	case first == zipInt24:
		width = 3
	case first == zipInt32:
		width = 4
	case first == zipInt64:
		width = 8
	case first == zipInt8:
		width = 1
	case first >= zipSmallest && first < zipSmallest+zipSmallInts:
		p.in.at += head + 1
		return Text{Integer: int64(first - zipSmallest), IsInt: true}, true
	default:
		return p.malformed(errZiplist)
	}
	end := head + 1 + width
	if len(b) < end {
		return p.malformed(errZiplist)
	}
	p.in.at += end
	return Text{Integer: signed(b[head+1 : end]), IsInt: true}, true
}

func (p *Pack) zipText(b []byte, head int, body uint64) (Text, bool) {
	size := uint64(head) + body
	if int64(size) > p.end-p.in.base-int64(p.in.at) {
		return p.malformed(errZiplist)
	}
	if entry, ok := p.whole(b, size); ok {
		p.in.at += int(size)
		return Text{Bytes: entry[head:]}, true
	}
	return p.large(uint64(head), body)
}

// ziplistWriter makes a ziplist.
type ziplistWriter struct {
	blob  []byte
	count int
	last  int // where the last entry begins
}

func (w *ziplistWriter) reset() {
	w.blob = append(w.blob[:0], make([]byte, ziplistHeader)...)
	w.count, w.last = 0, ziplistHeader
}

// add appends an entry that is no Large one, text as an integer if it is one.
func (w *ziplistWriter) add(e Text) {
	previous := 0
	if w.count > 0 {
		previous = len(w.blob) - w.last
	}
	w.last = len(w.blob)
	w.count++
	if previous < largePrevious {
		w.blob = append(w.blob, byte(previous))
	} else {
		w.blob = binary.LittleEndian.AppendUint32(append(w.blob, largePrevious), uint32(previous)) // callers keep ziplists below 4 GiB
	}
	if !e.IsInt {
		e.Integer, e.IsInt = ParseInteger(e.Bytes)
	}
	if e.IsInt {
		w.addInteger(e.Integer)
		return
	}
	switch n := len(e.Bytes); {
	case n < 1<<6:
		w.blob = append(w.blob, byte(n))
	case n < 1<<14:
		w.blob = append(w.blob, 0x40|byte(n>>8), byte(n))
	default:
		w.blob = binary.BigEndian.AppendUint32(append(w.blob, 0x80), uint32(n))
	}
	w.blob = append(w.blob, e.Bytes...)
}

func (w *ziplistWriter) addInteger(n int64) {
	switch {
	case n >= 0 && n < zipSmallInts:
		w.blob = append(w.blob, zipSmallest+byte(n))
	case n >= math.MinInt8 && n <= math.MaxInt8:
		w.blob = append(w.blob, zipInt8, byte(n))
	case n >= math.MinInt16 && n <= math.MaxInt16:
		w.blob = append(w.blob, zipInt16, byte(n), byte(n>>8))
	case n >= -1<<23 && n < 1<<23:
		w.blob = append(w.blob, zipInt24, byte(n), byte(n>>8), byte(n>>16))
	case n >= math.MinInt32 && n <= math.MaxInt32:
		w.blob = binary.LittleEndian.AppendUint32(append(w.blob, zipInt32), uint32(n))
	default:
		w.blob = binary.LittleEndian.AppendUint64(append(w.blob, zipInt64), uint64(n))
	}
}

// finish returns the ziplist, valid until reset.
func (w *ziplistWriter) finish() []byte {
	w.blob = append(w.blob, ziplistEnd)
	binary.LittleEndian.PutUint32(w.blob, uint32(len(w.blob))) // callers keep ziplists below 4 GiB
	binary.LittleEndian.PutUint32(w.blob[4:], uint32(w.last))
	binary.LittleEndian.PutUint16(w.blob[8:], uint16(min(w.count, countUnknown)))
	return w.blob
}
