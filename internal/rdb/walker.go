package rdb

import (
	"encoding/binary"
	"fmt"
)

// walker goes through one element after another and finds their ends. It keeps
// its place between calls, so that the bytes may come in pieces of any size.
type walker struct {
	layouts *layouts
	wanted  Set // codes to look out for

	layout string  // of the code read last
	at     int     // the place in layout
	loops  [3]loop // those entered in layout
	depth  int     // how many of them
	skip   uint64  // bytes to pass by
	code   byte    // read last
	found  bool    // the element has a wanted code
	size   int64   // of the element, as far as it has been walked through
	value  int64   // where in the element the key's value begins; 0 before it is reached
}

// loop is a repeated part of a layout.
type loop struct {
	start int    // in the layout
	left  uint64 // turns, the present one included
}

// maxAtom is the largest piece that walk needs to see as a whole, in bytes: an
// opcode within a module's data and the beginning of an LZF string.
const maxAtom = 9 + 1 + 9 + 9

// begin makes the walker ready for the next element.
func (w *walker) begin() {
	w.layout, w.at = layoutElement, 0
	w.size, w.value = 0, 0
	w.found = false
}

// beginPart makes it ready for a part of an element.
func (w *walker) beginPart(layout string) {
	w.begin()
	w.layout = layout
}

// walk goes on in b, and returns how many of its bytes it has walked through
// and whether the element ends there. If it does not, walk is to be called with
// what comes after those n bytes, at least maxAtom bytes of it. On an error n is
// where in b it is.
func (w *walker) walk(b []byte) (n int, done bool, err error) {
	for {
		if w.skip > 0 {
			step := min(w.skip, uint64(len(b)-n))
			n += int(step)
			w.skip -= step
			if w.skip > 0 {
				break
			}
		}
		if w.at == len(w.layout) {
			w.size += int64(n)
			return n, true, nil
		}
		if w.layout[w.at] == 's' && n < len(b) && b[n]>>6 == len6Bits && len(b)-n > int(b[n]) {
			n += 1 + int(b[n]) // a short string: the most frequent part, without detours
			w.at++
			continue
		}
		step, err := w.step(b[n:], n)
		if err != nil {
			return n, false, err
		}
		if step < 0 {
			break
		}
		n += step
	}
	w.size += int64(n)
	return n, false, nil
}

// step takes one part of the layout, and returns how many bytes it has, or -1
// if they are not all in b. before is what walk has gone through already.
func (w *walker) step(b []byte, before int) (int, error) {
	switch part := w.layout[w.at]; part {
	case 's':
		head, body, err := stringExtent(b)
		if head < 0 || err != nil {
			return -1, err
		}
		w.skip = body
		w.at++
		return head, nil
	case '=':
		w.value = w.size + int64(before)
		w.at++
		return 0, nil
	case 'c':
		if len(b) == 0 {
			return -1, nil
		}
		w.code = b[0]
		w.layout, w.at = w.layouts[w.code], 0
		if w.layout == "" {
			return 0, fmt.Errorf("unknown type or opcode %d", w.code)
		}
		w.found = w.found || w.wanted.has(w.code)
		return 1, nil
	case '8':
		w.skip = 8
		w.at++
		return 0, nil
	case '[':
		count, size, err := length(b)
		if size < 0 || err != nil {
			return -1, err
		}
		w.at++
		if count == 0 {
			w.at = afterLoop(w.layout, w.at)
			return size, nil
		}
		w.loops[w.depth] = loop{start: w.at, left: count}
		w.depth++
		return size, nil
	case ']':
		l := &w.loops[w.depth-1]
		if l.left--; l.left > 0 {
			w.at = l.start
			return 0, nil
		}
		w.depth--
		w.at++
		return 0, nil
	case 'n':
		_, size, err := length(b)
		if size >= 0 {
			w.at++
		}
		return size, err
	case 'd':
		if len(b) == 0 {
			return -1, nil
		}
		if b[0] < scoreNaN {
			w.skip = uint64(b[0])
		}
		w.at++
		return 1, nil
	case 'm':
		return w.stepModule(b)
	case 'f':
		w.skip = 16
		w.at++
		return 0, nil
	default:
		w.skip = uint64(part - '0')
		w.at++
		return 0, nil
	}
}

// stepModule takes one item of a module's data (rdb.c rdbLoadCheckModuleValue).
func (w *walker) stepModule(b []byte) (int, error) {
	opcode, size, err := length(b)
	if size < 0 || err != nil {
		return -1, err
	}
	switch opcode {
	case ModuleOpcodeEOF:
		w.at++
	case ModuleOpcodeSInt, ModuleOpcodeUInt:
		_, more, err := length(b[size:])
		if more < 0 || err != nil {
			return -1, err
		}
		size += more
	case ModuleOpcodeFloat:
		w.skip = 4
	case ModuleOpcodeDouble:
		w.skip = 8
	case ModuleOpcodeString:
		head, body, err := stringExtent(b[size:])
		if head < 0 || err != nil {
			return -1, err
		}
		size += head
		w.skip = body
	default:
		return 0, fmt.Errorf("unknown opcode %d in a module's data", opcode)
	}
	return size, nil
}

// afterLoop is the place after the end of the loop whose inside begins at place at.
func afterLoop(layout string, at int) int {
	for depth := 1; depth > 0; at++ {
		switch layout[at] {
		case '[':
			depth++
		case ']':
			depth--
		}
	}
	return at
}

// Encodings of lengths and strings (rdb.h).
const (
	len6Bits  = 0 // the upper two bits of the first byte
	len14Bits = 1
	lenEncVal = 3
	len32Bits = 0x80 // the first byte
	len64Bits = 0x81

	encInt8  = 0 // the lower six bits
	encInt16 = 1
	encInt32 = 2
	encLZF   = 3
)

// Scores as text are preceded by their size, or are one of these (rdb.c
// rdbSaveDoubleValue).
const (
	scoreNaN    = 253
	scoreInf    = 254
	scoreNegInf = 255
)

// length reads a length. size is how many bytes it takes, -1 if b ends before.
func length(b []byte) (n uint64, size int, err error) {
	if len(b) == 0 {
		return 0, -1, nil
	}
	switch first := b[0]; {
	case first>>6 == len6Bits:
		return uint64(first), 1, nil
	case first>>6 == len14Bits:
		if len(b) < 2 {
			return 0, -1, nil
		}
		return uint64(first&0x3f)<<8 | uint64(b[1]), 2, nil
	case first == len32Bits:
		if len(b) < 5 {
			return 0, -1, nil
		}
		return uint64(binary.BigEndian.Uint32(b[1:])), 5, nil
	case first == len64Bits:
		if len(b) < 9 {
			return 0, -1, nil
		}
		return binary.BigEndian.Uint64(b[1:]), 9, nil
	default:
		return 0, 0, fmt.Errorf("byte %#x is no length", first)
	}
}

// stringExtent reads what a string begins with: head bytes, -1 if b ends before,
// after which come body bytes.
func stringExtent(b []byte) (head int, body uint64, err error) {
	if len(b) == 0 {
		return -1, 0, nil
	}
	if b[0]>>6 != lenEncVal {
		body, head, err = length(b)
		return head, body, err
	}
	switch b[0] & 0x3f {
	case encInt8:
		return 1, 1, nil
	case encInt16:
		return 1, 2, nil
	case encInt32:
		return 1, 4, nil
	case encLZF:
		body, size, err := length(b[1:])
		if size < 0 || err != nil {
			return -1, 0, err
		}
		_, more, err := length(b[1+size:])
		if more < 0 || err != nil {
			return -1, 0, err
		}
		return 1 + size + more, body, nil
	default:
		return 0, 0, fmt.Errorf("byte %#x begins no string", b[0])
	}
}
