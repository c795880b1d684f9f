package rdb

import (
	"encoding/binary"
	"errors"
)

// A zipmap (zipmap.c) is the number of pairs (a byte, zipmapLarge if it does not
// tell), the pairs and zipmapEnd. A pair is a size, the name, a size, how many
// unused bytes follow the value (a byte), the value and those bytes.
const (
	zipmapLarge = 254 // as a size: it follows in 32 bits
	zipmapEnd   = 255
)

var errZipmap = errors.New("malformed zipmap")

// mapEntry reads a name or a value of a zipmap.
func (p *Pack) mapEntry(b []byte) (Text, bool) {
	body, head := zipmapSize(b)
	if head < 0 {
		return p.malformed(errZipmap)
	}
	unused := 0
	if p.count%2 == 0 { // a value
		if len(b) == head {
			return p.malformed(errZipmap)
		}
		unused = int(b[head])
		head++
	}
	size := uint64(head) + body
	if int64(size)+int64(unused) > p.end-p.in.base-int64(p.in.at) {
		return p.malformed(errZipmap)
	}
	p.late = unused
	if entry, ok := p.whole(b, size); ok {
		p.in.at += int(size)
		return Text{Bytes: entry[head:]}, true
	}
	return p.large(uint64(head), body)
}

// unused passes by what a zipmap has kept free, at most 255 bytes.
func (p *Pack) unused(n int) bool {
	if !p.in.need(n) {
		return false
	}
	p.in.at += n
	return true
}

// zipmapSize reads a size. head is how many bytes it takes, -1 if there is none.
func zipmapSize(b []byte) (size uint64, head int) {
	switch {
	case len(b) > 0 && b[0] < zipmapLarge:
		return uint64(b[0]), 1
	case len(b) >= 5 && b[0] == zipmapLarge:
		return uint64(binary.LittleEndian.Uint32(b[1:])), 5
	default:
		return 0, -1
	}
}
