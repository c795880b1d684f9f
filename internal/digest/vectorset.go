package digest

import "godwit/internal/rdb"

// vectorSet reads the items of a vector set as VectorSetRdbSave of Redis' vset.c
// saves them: the vectors' dimension, the number of elements, settings, flags; the
// projection matrix after the dimension it is for; and each element with its
// attributes, its vector and how it is linked to others, which counts for nothing:
// it depends on chance.
type vectorSet struct {
	sum, count uint64

	state     vectorState
	broken    bool // this is another way to save it
	head      uint64
	quantised uint64
	flags     uint64
	left      uint64 // elements to come
	element   uint64 // the present one
	links     uint64 // of the present one, to come
}

type vectorState uint8

const (
	vectorDimension vectorState = iota
	vectorElements
	vectorSettings
	vectorFlags
	vectorInput
	vectorMatrix
	vectorElement
	vectorAttributes
	vectorItself
	vectorLinks
	vectorLink
)

const (
	vectorHasMatrix     = 1 << 0
	vectorHasAttributes = 1 << 1

	vectorDefaultM = 16 // links of a node where they are saved as 0
	vectorInt8     = 1  // the quantisation that keeps a range with each vector
)

// item takes the next item of the module's data.
func (v *vectorSet) item(h *hasher, opcode, item uint64) {
	isString := v.state == vectorMatrix || v.state == vectorElement || v.state == vectorAttributes || v.state == vectorItself
	want := uint64(rdb.ModuleOpcodeUInt)
	if isString {
		want = rdb.ModuleOpcodeString
	}
	if opcode != want || v.state >= vectorElement && v.left == 0 {
		v.broken = true
		return
	}
	switch v.state {
	case vectorDimension:
		v.head = item
	case vectorElements:
		v.left, v.count = item, item
	case vectorSettings:
		v.quantised = item & 0xff
		m := item >> 8
		if m == 0 {
			m = vectorDefaultM
		}
		v.head = h.two(isVector, v.head, m<<8|v.quantised)
	case vectorFlags:
		v.flags = item
	case vectorInput:
		v.head = h.next(v.head, item)
	case vectorElement:
		v.element = h.two(isVector, item, 0)
		if v.flags&vectorHasAttributes == 0 {
			v.element = h.next(v.element, h.bytes(nil)) // as if it had none
		}
	case vectorAttributes, vectorItself:
		v.element = h.next(v.element, item)
	case vectorLinks:
		v.links = item
	case vectorLink:
		if v.links--; v.links == 0 {
			v.last(h, item)
		}
	}
	v.advance()
}

// last takes the last number of an element, which is about its vector: the length
// that it had before it was normalised, and the range of what was quantised, two
// 32-bit floats (hnsw.c hnsw_serialize_node).
func (v *vectorSet) last(h *hasher, item uint64) {
	if v.quantised != vectorInt8 {
		item &= 1<<32 - 1
	}
	v.sum += h.two(isVector, v.element, item)
	v.left--
}

// advance goes on to the state of the next item.
func (v *vectorSet) advance() {
	switch {
	case v.state == vectorFlags && v.flags&vectorHasMatrix == 0:
		v.state = vectorElement
	case v.state == vectorElement && v.flags&vectorHasAttributes == 0:
		v.state = vectorItself
	case v.state == vectorLinks && v.links == 0:
		v.broken = true
	case v.state < vectorLink:
		v.state++
	case v.links == 0:
		v.state = vectorElement
	}
}

// complete tells whether everything was as expected, and ends the sum.
func (v *vectorSet) complete(h *hasher) bool {
	if v.broken || v.state != vectorElement || v.left > 0 {
		return false
	}
	v.sum += h.two(isVector, v.head, v.count)
	return true
}
