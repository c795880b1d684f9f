package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// A zipmap (zipmap.c) is the number of pairs (a byte, zipmapLarge if it does not
// tell), the pairs and zipmapEnd. A pair is a size, the name, a size, how many
// unused bytes follow the value (a byte), the value and those bytes.
const (
	zipmapLarge = 254 // as a size: it follows in 32 bits
	zipmapEnd   = 255
)

var errZipmap = errors.New("malformed zipmap")

// eachPair calls f with each name and value of a zipmap.
func eachPair(blob []byte, f func(name, value []byte) error) error {
	if len(blob) < 2 || blob[len(blob)-1] != zipmapEnd {
		return errZipmap
	}
	b, count := blob[1:len(blob)-1], 0
	for len(b) > 0 {
		size, head := zipmapSize(b)
		if head < 0 || uint64(len(b)-head) < size {
			return errZipmap
		}
		name := b[head : uint64(head)+size]
		b = b[uint64(head)+size:]

		size, head = zipmapSize(b)
		if head < 0 || len(b) == head {
			return errZipmap
		}
		unused := uint64(b[head])
		b = b[head+1:]
		if uint64(len(b)) < size+unused {
			return errZipmap
		}
		if err := f(name, b[:size]); err != nil {
			return err
		}
		b = b[size+unused:]
		count++
	}
	if n := int(blob[0]); n < zipmapLarge && n != count {
		return fmt.Errorf("a zipmap has %d pairs, not %d", count, n)
	}
	return nil
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
