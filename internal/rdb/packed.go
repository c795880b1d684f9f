package rdb

import "math"

// packed is one entry of a listpack or ziplist: text, or an integer that stands
// for its decimal digits.
type packed struct {
	text    []byte
	integer int64
	isInt   bool
}

// packs reads the entries of a listpack or a ziplist one after another. It
// checks everything that the servers check with sanitize-dump-payload yes.
type packs struct {
	blob    []byte
	at      int // of the next entry
	count   int // of those read
	ziplist bool
	last    int // size of the entry before, of a ziplist
}

// openPacks checks the header of a listpack or ziplist.
func openPacks(blob []byte, ziplist bool) (packs, error) {
	if ziplist {
		return openZiplist(blob)
	}
	return openListpack(blob)
}

// next returns the next entry, ok false after the last one.
func (p *packs) next() (e packed, ok bool, err error) {
	if p.ziplist {
		return p.nextZiplist()
	}
	return p.nextListpack()
}

// left is an upper limit of how many more entries there are: each has two bytes.
func (p *packs) left() int { return (len(p.blob) - p.at) / 2 }

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
