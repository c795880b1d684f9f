package rdb

import "io"

const (
	lzfReach  = 1 << 13      // how far back a reference may be, in bytes
	lzfWindow = 8 * lzfReach // what is decompressed and not yet overwritten
	lzfStep   = 1 + 1<<5     // the most that one step reads
	lzfMost   = 264          // the most that one step makes
)

// lzfStream decompresses a string of any size in a window.
type lzfStream struct {
	r          *Reader // the string is what it is at
	start      int64
	left, want uint64 // bytes to be read, and to be made
	window     []byte
	at         int // of the next byte to be returned
	out        Reader
}

func (z *lzfStream) begin(r *Reader, h stringHead) {
	if z.window == nil {
		z.window = make([]byte, 0, lzfWindow)
	}
	z.r, z.start, z.left, z.want = r, h.start, h.size, h.want
	z.window, z.at = z.window[:0], 0
}

// Read returns decompressed bytes.
func (z *lzfStream) Read(p []byte) (int, error) {
	if z.at == len(z.window) {
		if len(z.window) > lzfWindow-lzfMost {
			kept := copy(z.window, z.window[len(z.window)-lzfReach:])
			z.window, z.at = z.window[:kept], kept
		}
		for len(z.window) <= lzfWindow-lzfMost && z.left > 0 {
			if !z.step() {
				return 0, z.r.err
			}
		}
		if z.at == len(z.window) {
			if z.want > 0 {
				return 0, z.fail()
			}
			return 0, io.EOF
		}
	}
	n := copy(p, z.window[z.at:])
	z.at += n
	return n, nil
}

func (z *lzfStream) fail() error {
	z.r.Fail(&SyntaxError{Offset: z.start, Reason: errLZF.Error()})
	return z.r.err
}

// step takes one run of literal bytes or one reference, as in appendLZF.
func (z *lzfStream) step() bool {
	n := int(min(z.left, lzfStep))
	if !z.r.need(n) {
		return false
	}
	src := z.r.buf[z.r.at : z.r.at+n]
	control, used, size := int(src[0]), 1, 0
	if control < 1<<5 {
		size = control + 1
		used += size
		if used > n || uint64(size) > z.want {
			z.fail() //nolint:errcheck // it is the reader's now
			return false
		}
		z.window = append(z.window, src[1:used]...)
	} else {
		size = control >> 5
		if size == 7 {
			used++
			if used < n {
				size += int(src[1])
			}
		}
		size += 2
		if used >= n || uint64(size) > z.want {
			z.fail() //nolint:errcheck // likewise
			return false
		}
		from := len(z.window) - (control&0x1f<<8 | int(src[used])) - 1
		used++
		if from < 0 {
			z.fail() //nolint:errcheck // likewise
			return false
		}
		for left := size; left > 0; {
			step := min(left, len(z.window)-from)
			z.window = append(z.window, z.window[from:from+step]...)
			left -= step
			from += step
		}
	}
	z.r.at += used
	z.left -= uint64(used)
	z.want -= uint64(size)
	return true
}
