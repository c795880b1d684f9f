package command

import "strconv"

// maxName is how much of a name is looked at where it is not known, in bytes.
const maxName = 64

// upper appends a name in capitals.
func upper(dst, name []byte) []byte {
	for _, c := range name {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}

// is compares an argument with a word in capitals, whatever the argument's case.
func is(arg []byte, word string) bool {
	if len(arg) != len(word) {
		return false
	}
	for i, c := range arg {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		if c != word[i] {
			return false
		}
	}
	return true
}

func isOneOf(arg []byte, words ...string) bool {
	for _, word := range words {
		if is(arg, word) {
			return true
		}
	}
	return false
}

// integer reads a decimal number as a server does (util.c string2ll, roughly).
func integer(arg []byte) (int64, bool) {
	n, err := strconv.ParseInt(string(arg), 10, 64)
	return n, err == nil
}

func decimal(n int64) []byte { return strconv.AppendInt(nil, n, 10) }
