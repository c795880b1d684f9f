package rdb

import (
	"encoding/binary"
	"fmt"
	"math"
)

// An intset (intset.c) is the size of a number in bytes (32 bits), how many
// there are (32 bits), and the numbers, ascending.
const intsetHeader = 4 + 4

// eachInteger calls f with each number of an intset.
func eachInteger(blob []byte, f func(int64) error) error {
	if len(blob) < intsetHeader {
		return fmt.Errorf("an intset of %d bytes", len(blob))
	}
	width, count := uint64(binary.LittleEndian.Uint32(blob)), uint64(binary.LittleEndian.Uint32(blob[4:]))
	if width != 2 && width != 4 && width != 8 {
		return fmt.Errorf("an intset with numbers of %d bytes", width)
	}
	if intsetHeader+count*width != uint64(len(blob)) {
		return fmt.Errorf("an intset of %d numbers in %d bytes", count, len(blob))
	}
	numbers := blob[intsetHeader:]
	last := int64(math.MinInt64)
	for i := range count {
		n := signed(numbers[i*width : (i+1)*width])
		if i > 0 && n <= last {
			return fmt.Errorf("an intset's number %d does not ascend", i)
		}
		if err := f(n); err != nil {
			return err
		}
		last = n
	}
	return nil
}

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
