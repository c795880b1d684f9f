package rdb

import "strconv"

// PlainString is the content of a string value that is not compressed: a part of value as
// it is, or digits with the decimal number appended that was saved as an integer (rdb.c
// rdbEncodeInteger). ok is false for a compressed string, and for what is no string as a
// whole.
func PlainString(value, digits []byte) (content []byte, ok bool) {
	r := Reader{buf: value}
	if n, ok := r.integer(); ok {
		return strconv.AppendInt(digits, n, 10), r.at == len(value)
	}
	head, size, err := stringExtent(value)
	if err != nil || head <= 0 || value[0]>>6 == lenEncVal || uint64(len(value)-head) != size {
		return nil, false
	}
	return value[head:], true
}
