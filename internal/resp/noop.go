package resp

import "strconv"

const (
	plainPing = "*1\r\n$4\r\nPING\r\n"
	// minPing is the size of PING with an empty argument, the shortest command
	// without effect that can be made longer byte by byte.
	minPing = len("*2\r\n$4\r\nPING\r\n$0\r\n\r\n")
	// maxFill is the size of the largest PING: longer than this, there are several.
	maxFill = 16 << 10
)

// FillNoop overwrites b with commands that change nothing and take exactly
// len(b) bytes of the replication stream: PING, with an argument where there is
// room for one, and before it single newlines where it cannot have that size.
// A replica skips newlines (networking.c processInlineBuffer) and counts them
// in its offset only with the command that comes next, so newlines at the end
// would leave it behind the source, and a switch waiting for it. Hence b ends in
// a command, unless it is shorter than MinNoop.
func FillNoop(b []byte) {
	for len(b) > 0 {
		n := min(len(b), maxFill)
		if rest := len(b) - n; rest > 0 && rest < MinNoop {
			n -= MinNoop // leaves enough for the last command
		}
		newlines := n - fillPing(b[:n])
		for i := range newlines {
			b[i] = '\n'
		}
		b = b[n:]
	}
}

// MinNoop is the size of the shortest command without effect, in bytes.
const MinNoop = len(plainPing)

// fillPing writes one PING, as long as possible, at the end of b and returns
// its size, 0 when b is too short for any.
func fillPing(b []byte) int {
	for size := len(b); size >= minPing; size-- {
		// The length's own digits beyond the first come out of the argument.
		for digits := 1; digits <= 6; digits++ {
			n := size - minPing - (digits - 1)
			if n < 0 || len(strconv.Itoa(n)) != digits {
				continue
			}
			start := len(b) - size
			out := append(b[start:start], "*2\r\n$4\r\nPING\r\n$"...)
			out = strconv.AppendInt(out, int64(n), 10)
			out = append(out, '\r', '\n')
			for range n {
				out = append(out, '.')
			}
			_ = append(out, '\r', '\n') // in place: b has room for exactly this
			return size
		}
	}
	if len(b) < len(plainPing) {
		return 0
	}
	return copy(b[len(b)-len(plainPing):], plainPing)
}
