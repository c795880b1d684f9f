package resp

import "strconv"

// minPing is the size of PING with an empty argument, the shortest command
// without effect that can be made longer byte by byte.
const minPing = len("*2\r\n$4\r\nPING\r\n$0\r\n\r\n")

// FillNoop overwrites b with commands that change nothing and take exactly
// len(b) bytes of the replication stream: PING with an argument, and single
// newlines where that does not fit (a replica counts them in its offset and
// skips them: networking.c processInlineBuffer).
func FillNoop(b []byte) {
	const maxFill = 16 << 10 // longer than this, several: a replica parses each in one piece
	for len(b) > 0 {
		n := min(len(b), maxFill)
		ping := fillPing(b[:n])
		if ping == 0 {
			b[0] = '\n'
			ping = 1
		}
		b = b[ping:]
	}
}

// fillPing writes one PING of exactly len(b) bytes, or of one byte less where
// the number of digits of its length makes that size impossible. It returns
// the bytes written, 0 when b is too short.
func fillPing(b []byte) int {
	size := len(b)
	for _, total := range []int{size, size - 1} {
		arg := total - minPing
		if arg < 0 {
			return 0
		}
		// The length's own digits beyond the first come out of the argument.
		for digits := 1; digits <= 6; digits++ {
			n := arg - (digits - 1)
			if n < 0 || len(strconv.Itoa(n)) != digits {
				continue
			}
			out := append(b[:0], "*2\r\n$4\r\nPING\r\n$"...)
			out = strconv.AppendInt(out, int64(n), 10)
			out = append(out, '\r', '\n')
			for range n {
				out = append(out, '.')
			}
			out = append(out, '\r', '\n')
			return len(out)
		}
	}
	return 0
}
