package rdb

import (
	"encoding/binary"
	"errors"
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

var errListpack = errors.New("a listpack's entry is malformed")

// listEntry reads an entry of a listpack, of which b has at least the beginning.
func (p *Pack) listEntry(b []byte) (Text, bool) {
	switch first := b[0]; {
	case first < 0x80: // 7 bits
		if len(b) < 2 || b[1] != 1 {
			return p.malformed(errListpack)
		}
		p.in.at += 2
		return Text{Integer: int64(first), IsInt: true}, true
	case first < 0xc0: // up to 63 bytes of text
		end := 1 + int(first&0x3f)
		if len(b) <= end || b[end] != byte(end) {
			return p.malformed(errListpack)
		}
		p.in.at += end + 1
		return Text{Bytes: b[1:end]}, true
	case first >= 0xe0 && first <= 0xf0:
		return p.longText(b)
	default:
		return p.listInteger(b)
	}
}

// listInteger reads an integer of more than 7 bits.
func (p *Pack) listInteger(b []byte) (Text, bool) {
	end := 2
	first := b[0]
	if first >= 0xe0 {
		if first > 0xf4 {
			return p.malformed(errListpack)
		}
		end = 1 + [...]int{2, 3, 4, 8}[first-0xf1]
	}
	if len(b) <= end || b[end] != byte(end) {
		return p.malformed(errListpack)
	}
	p.in.at += end + 1
	if first < 0xe0 { // 13 bits
		n := int64(first&0x1f)<<8 | int64(b[1])
		return Text{Integer: n << 51 >> 51, IsInt: true}, true
	}
	return Text{Integer: signed(b[1:end]), IsInt: true}, true
}

// longText reads a text of more than 63 bytes.
func (p *Pack) longText(b []byte) (Text, bool) {
	head, body := uint64(2), uint64(0)
	if b[0] == 0xf0 {
		head = 5
	}
	if uint64(len(b)) < head {
		return p.malformed(errListpack)
	}
	if head == 2 {
		body = uint64(b[0]&0xf)<<8 | uint64(b[1])
	} else {
		body = uint64(binary.LittleEndian.Uint32(b[1:]))
	}
	var own [maxBacklen]byte
	back := appendBacklen(own[:0], head+body)
	size := head + body + uint64(len(back))
	if int64(size) > p.end-p.in.base-int64(p.in.at) {
		return p.malformed(errListpack)
	}
	if entry, ok := p.whole(b, size); ok {
		if string(entry[head+body:]) != string(back) {
			return p.malformed(errListpack)
		}
		p.in.at += int(size)
		return Text{Bytes: entry[head : head+body]}, true
	}
	p.late = int(head + body)
	return p.large(head, body)
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
