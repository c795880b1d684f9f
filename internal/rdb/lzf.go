package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxLZFRatio is how many bytes LZF makes of one at most: a reference of 3 bytes
// stands for 264.
const maxLZFRatio = 264 / 3

var errLZF = errors.New("malformed LZF string")

// lzfSlack is how many bytes may be written after the end of what is
// decompressed: copying more than is asked for, in one piece, is faster.
const lzfSlack = 32

// appendLZF appends what was compressed into src, which is want bytes
// (lzf_d.c lzf_decompress).
func appendLZF(dst, src []byte, want uint64) ([]byte, error) {
	if want > maxLZFRatio*uint64(len(src)) {
		return dst, fmt.Errorf("LZF string of %d bytes cannot hold %d", len(src), want)
	}
	begin := len(dst)
	end := begin + int(want)
	if cap(dst) < end+lzfSlack {
		dst = append(make([]byte, 0, end+lzfSlack), dst...)
	}
	out, at := dst[:end+lzfSlack], begin
	for i := 0; i < len(src); {
		control := int(src[i])
		i++
		if control < 1<<5 { // control+1 literal bytes
			n := control + 1
			if i+n > len(src) || at+n > end {
				return dst, errLZF
			}
			if len(src)-i >= lzfSlack {
				copySlack(out[at:], src[i:])
			} else {
				copy(out[at:], src[i:i+n])
			}
			at += n
			i += n
			continue
		}
		n := control >> 5
		if n == 7 {
			if i >= len(src) {
				return dst, errLZF
			}
			n += int(src[i])
			i++
		}
		n += 2
		if i >= len(src) {
			return dst, errLZF
		}
		distance := control&0x1f<<8 | int(src[i]) + 1
		i++
		if distance > at-begin || at+n > end {
			return dst, errLZF
		}
		if distance < lzfSlack {
			repeat(out, at, distance, n)
		} else {
			copySlack(out[at:], out[at-distance:])
			for done := lzfSlack; done < n; done += lzfSlack {
				copySlack(out[at+done:], out[at+done-distance:])
			}
		}
		at += n
	}
	if at != end {
		return dst, errLZF
	}
	return out[:end], nil
}

// copySlack copies lzfSlack bytes. An assignment of arrays would call memmove.
func copySlack(dst, src []byte) {
	d, s := dst[:lzfSlack], src[:lzfSlack]
	w0, w1 := binary.LittleEndian.Uint64(s), binary.LittleEndian.Uint64(s[8:])
	w2, w3 := binary.LittleEndian.Uint64(s[16:]), binary.LittleEndian.Uint64(s[24:])
	binary.LittleEndian.PutUint64(d, w0)
	binary.LittleEndian.PutUint64(d[8:], w1)
	binary.LittleEndian.PutUint64(d[16:], w2)
	binary.LittleEndian.PutUint64(d[24:], w3)
}

// repeat writes n bytes at place at that are those of fewer than lzfSlack bytes
// before, which may be some that it has written itself. It may write up to 7 more.
func repeat(out []byte, at, distance, n int) {
	from := at - distance
	switch {
	case distance >= 8:
		for done := 0; done < n; done += 8 {
			binary.LittleEndian.PutUint64(out[at+done:], binary.LittleEndian.Uint64(out[from+done:]))
		}
	case distance == 1:
		word := uint64(out[from]) * 0x0101010101010101
		for done := 0; done < n; done += 8 {
			binary.LittleEndian.PutUint64(out[at+done:], word)
		}
	default:
		for done := range n {
			out[at+done] = out[from+done]
		}
	}
}
