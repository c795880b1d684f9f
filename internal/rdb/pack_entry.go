package rdb

import "encoding/binary"

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

// large returns a text that comes in pieces.
func (p *Pack) large(head, body uint64) (Text, bool) {
	if p.in.err != nil {
		return Text{}, false
	}
	p.in.at += int(head)
	p.in.rest = body
	return Text{Bytes: p.in.piece(), more: &p.in}, true
}

// endLate looks at what follows a large text.
func (p *Pack) endLate() bool {
	if p.in.rest > 0 {
		p.Failf("an entry has not been read to its end") // a mistake of the caller
		return false
	}
	late := p.late
	p.late = 0
	if p.kind == zipmapKind {
		return p.unused(late)
	}
	var own [maxBacklen]byte
	back := appendBacklen(own[:0], uint64(late))
	if !p.in.need(len(back)) {
		return false
	}
	if string(p.in.buf[p.in.at:p.in.at+len(back)]) != string(back) {
		p.malformed(errListpack)
		return false
	}
	p.in.at += len(back)
	return true
}

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
