package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// A listpack (listpack.c) is its size in bytes (32 bits), the number of entries
// (16 bits), the entries and listpackEnd. An entry ends with its own size, so
// that it can be read from behind.
const (
	listpackHeader = 4 + 2
	listpackEnd    = 0xff

	// countUnknown says that there are more entries than the header can tell, in
	// a listpack as in a ziplist.
	countUnknown = math.MaxUint16
)

func openListpack(blob []byte) (packs, error) {
	if len(blob) < listpackHeader+1 || uint64(binary.LittleEndian.Uint32(blob)) != uint64(len(blob)) ||
		blob[len(blob)-1] != listpackEnd {
		return packs{}, fmt.Errorf("a listpack of another size than its %d bytes", len(blob))
	}
	return packs{blob: blob, at: listpackHeader}, nil
}

var errListpack = errors.New("a listpack's entry is malformed")

func (p *packs) nextListpack() (packed, bool, error) {
	b := p.blob[p.at : len(p.blob)-1]
	if len(b) == 0 {
		if n := int(binary.LittleEndian.Uint16(p.blob[4:])); n != countUnknown && n != p.count {
			return packed{}, false, fmt.Errorf("a listpack has %d entries, not %d", p.count, n)
		}
		return packed{}, false, nil
	}
	var (
		e    packed
		head = 1
		body uint64
	)
	switch first := b[0]; {
	case first < 0x80: // 7 bits
		e = packed{integer: int64(first), isInt: true}
	case first < 0xc0: // up to 63 bytes of text
		body = uint64(first & 0x3f)
	case first < 0xe0: // 13 bits, signed
		if len(b) < 2 {
			return e, false, errListpack
		}
		n := int64(first&0x1f)<<8 | int64(b[1])
		e = packed{integer: n << 51 >> 51, isInt: true}
		head = 2
	case first < 0xf0: // up to 4095 bytes of text
		if len(b) < 2 {
			return e, false, errListpack
		}
		head, body = 2, uint64(first&0xf)<<8|uint64(b[1])
	case first == 0xf0:
		if len(b) < 5 {
			return e, false, errListpack
		}
		head, body = 5, uint64(binary.LittleEndian.Uint32(b[1:]))
	case first <= 0xf4: // 16, 24, 32 or 64 bits
		size := [...]int{2, 3, 4, 8}[first-0xf1]
		if len(b) < 1+size {
			return e, false, errListpack
		}
		e = packed{integer: signed(b[1 : 1+size]), isInt: true}
		head = 1 + size
	default:
		return e, false, errListpack
	}
	size := uint64(head) + body
	if uint64(len(b)) < size {
		return e, false, errListpack
	}
	if !e.isInt {
		e.text = b[head:size:size]
	}
	var own [maxBacklen]byte
	back := appendBacklen(own[:0], size)
	if rest := b[size:]; len(rest) < len(back) || string(rest[:len(back)]) != string(back) {
		return e, false, errListpack
	}
	p.at += int(size) + len(back)
	p.count++
	return e, true, nil
}

const maxBacklen = 5

// appendBacklen appends the size of an entry as it stands behind it: 7 bits a
// byte, to be read backwards until a byte without its upper bit. The limits are
// those of listpack.c lpEncodeBacklen, one less than would fit.
func appendBacklen(dst []byte, size uint64) []byte {
	n := 5
	switch {
	case size <= 127:
		n = 1
	case size < 16383:
		n = 2
	case size < 2097151:
		n = 3
	case size < 268435455:
		n = 4
	}
	dst = append(dst, byte(size>>(7*(n-1))))
	for n -= 2; n >= 0; n-- {
		dst = append(dst, byte(size>>(7*n))|0x80)
	}
	return dst
}

// listpackWriter makes a listpack.
type listpackWriter struct {
	blob  []byte
	count int
}

func (w *listpackWriter) reset() {
	w.blob = append(w.blob[:0], make([]byte, listpackHeader)...)
	w.count = 0
}

// add appends text, as an integer if it is one.
func (w *listpackWriter) add(text []byte) {
	if n, ok := ParseInteger(text); ok {
		w.addInteger(n)
		return
	}
	start := len(w.blob)
	switch n := len(text); {
	case n < 1<<6:
		w.blob = append(w.blob, 0x80|byte(n))
	case n < 1<<12:
		w.blob = append(w.blob, 0xe0|byte(n>>8), byte(n))
	default:
		w.blob = binary.LittleEndian.AppendUint32(append(w.blob, 0xf0), uint32(n)) // callers keep listpacks small
	}
	w.blob = append(w.blob, text...)
	w.endEntry(start)
}

func (w *listpackWriter) addInteger(n int64) {
	start := len(w.blob)
	switch {
	case n >= 0 && n < 1<<7:
		w.blob = append(w.blob, byte(n))
	case n >= -1<<12 && n < 1<<12:
		w.blob = append(w.blob, 0xc0|byte(n>>8)&0x1f, byte(n))
	case n >= math.MinInt16 && n <= math.MaxInt16:
		w.blob = append(w.blob, 0xf1, byte(n), byte(n>>8))
	case n >= -1<<23 && n < 1<<23:
		w.blob = append(w.blob, 0xf2, byte(n), byte(n>>8), byte(n>>16))
	case n >= math.MinInt32 && n <= math.MaxInt32:
		w.blob = binary.LittleEndian.AppendUint32(append(w.blob, 0xf3), uint32(n))
	default:
		w.blob = binary.LittleEndian.AppendUint64(append(w.blob, 0xf4), uint64(n))
	}
	w.endEntry(start)
}

func (w *listpackWriter) endEntry(start int) {
	w.blob = appendBacklen(w.blob, uint64(len(w.blob)-start))
	w.count++
}

// finish returns the listpack, valid until reset.
func (w *listpackWriter) finish() []byte {
	w.blob = append(w.blob, listpackEnd)
	binary.LittleEndian.PutUint32(w.blob, uint32(len(w.blob))) // callers keep listpacks small
	binary.LittleEndian.PutUint16(w.blob[4:], uint16(min(w.count, countUnknown)))
	return w.blob
}
