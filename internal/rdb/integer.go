package rdb

import "math"

// ParseInteger reads text that is exactly what a 64-bit integer is printed as, which
// is the text that may be saved as an integer (util.c string2ll).
func ParseInteger(text []byte) (int64, bool) {
	digits := text
	if len(text) > 0 && text[0] == '-' {
		digits = text[1:]
	}
	const most = len("9223372036854775808")
	if len(digits) == 0 || len(digits) > most || digits[0] == '0' && len(text) > 1 {
		return 0, false
	}
	var n uint64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + uint64(c-'0')
	}
	if len(text) > len(digits) {
		return -int64(n), n <= 1<<63 // -(1<<63) is itself
	}
	return int64(n), n <= math.MaxInt64
}

// signed reads a little-endian integer of 1, 2, 3, 4 or 8 bytes.
func signed(b []byte) int64 {
	var n uint64
	for i, c := range b {
		n |= uint64(c) << (8 * i)
	}
	unused := 64 - 8*len(b)
	return int64(n<<unused) >> unused // its upper bit is the sign
}
