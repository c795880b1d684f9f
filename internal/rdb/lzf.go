package rdb

import (
	"errors"
	"fmt"
)

// maxLZFRatio is how many bytes LZF makes of one at most: a reference of 3 bytes
// stands for 264.
const maxLZFRatio = 264 / 3

var errLZF = errors.New("malformed LZF string")

// appendLZF appends what was compressed into src, which is want bytes
// (lzf_d.c lzf_decompress).
func appendLZF(dst, src []byte, want uint64) ([]byte, error) {
	if want > maxLZFRatio*uint64(len(src)) {
		return dst, fmt.Errorf("LZF string of %d bytes cannot hold %d", len(src), want)
	}
	begin := len(dst)
	end := begin + int(want)
	if cap(dst) < end {
		dst = append(make([]byte, 0, end), dst...)
	}
	for i := 0; i < len(src); {
		control := int(src[i])
		i++
		if control < 1<<5 { // control+1 literal bytes
			n := control + 1
			if i+n > len(src) || len(dst)+n > end {
				return dst, errLZF
			}
			dst = append(dst, src[i:i+n]...)
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
		from := len(dst) - (control&0x1f<<8 | int(src[i])) - 1
		i++
		if from < begin || len(dst)+n > end {
			return dst, errLZF
		}
		for n > 0 { // the reference may overlap what it makes
			step := min(n, len(dst)-from)
			dst = append(dst, dst[from:from+step]...)
			n -= step
			from += step
		}
	}
	if len(dst) != end {
		return dst, errLZF
	}
	return dst, nil
}
