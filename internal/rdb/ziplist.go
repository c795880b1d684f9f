package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
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

func openZiplist(blob []byte) (packs, error) {
	if len(blob) < ziplistHeader+1 || uint64(binary.LittleEndian.Uint32(blob)) != uint64(len(blob)) ||
		blob[len(blob)-1] != ziplistEnd {
		return packs{}, fmt.Errorf("a ziplist of another size than its %d bytes", len(blob))
	}
	return packs{blob: blob, at: ziplistHeader, ziplist: true}, nil
}

var errZiplist = errors.New("a ziplist's entry is malformed")

func (p *packs) nextZiplist() (packed, bool, error) {
	b := p.blob[p.at : len(p.blob)-1]
	if len(b) == 0 {
		return packed{}, false, p.checkZiplist()
	}
	previous, head := uint64(b[0]), 1
	if b[0] == largePrevious {
		if len(b) < 5 {
			return packed{}, false, errZiplist
		}
		previous, head = uint64(binary.LittleEndian.Uint32(b[1:])), 5
	}
	if b[0] == ziplistEnd || previous != uint64(p.last) || len(b) == head {
		return packed{}, false, errZiplist
	}
	var (
		e    packed
		body uint64
	)
	b = b[head:]
	size := 1
	switch first := b[0]; first >> 6 {
	case 0:
		body = uint64(first)
	case 1:
		if len(b) < 2 {
			return e, false, errZiplist
		}
		size, body = 2, uint64(first&0x3f)<<8|uint64(b[1])
	case 2:
		if len(b) < 5 {
			return e, false, errZiplist
		}
		size, body = 5, uint64(binary.BigEndian.Uint32(b[1:]))
	default:
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
		case first < zipSmallest || first >= zipSmallest+zipSmallInts:
			return e, false, errZiplist
		}
		size += width
		if len(b) < size {
			return e, false, errZiplist
		}
		e = packed{integer: signed(b[1:size]), isInt: true}
		if width == 0 {
			e.integer = int64(first - zipSmallest)
		}
	}
	end := uint64(size) + body
	if uint64(len(b)) < end {
		return e, false, errZiplist
	}
	if !e.isInt {
		e.text = b[size:end:end]
	}
	p.last = head + int(end)
	p.at += p.last
	p.count++
	return e, true, nil
}

// checkZiplist compares the header with what was found.
func (p *packs) checkZiplist() error {
	if tail := binary.LittleEndian.Uint32(p.blob[4:]); p.count > 0 && uint64(tail) != uint64(p.at-p.last) {
		return fmt.Errorf("a ziplist's last entry is at byte %d, not %d", p.at-p.last, tail)
	}
	if n := int(binary.LittleEndian.Uint16(p.blob[8:])); n != countUnknown && n != p.count {
		return fmt.Errorf("a ziplist has %d entries, not %d", p.count, n)
	}
	return nil
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

// add appends an entry, text as an integer if it is one.
func (w *ziplistWriter) add(e packed) {
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
	if !e.isInt {
		e.integer, e.isInt = ParseInteger(e.text)
	}
	if e.isInt {
		w.addInteger(e.integer)
		return
	}
	switch n := len(e.text); {
	case n < 1<<6:
		w.blob = append(w.blob, byte(n))
	case n < 1<<14:
		w.blob = append(w.blob, 0x40|byte(n>>8), byte(n))
	default:
		w.blob = binary.BigEndian.AppendUint32(append(w.blob, 0x80), uint32(n))
	}
	w.blob = append(w.blob, e.text...)
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
