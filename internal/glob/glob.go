// Package glob matches key names as the servers do for KEYS and SCAN … MATCH
// (util.c stringmatchlen, with its oddities: it is to choose the same keys):
//
//   - any bytes, also none, but see below
//     ?      any byte
//     [ab]   one of these; [^ab] none of these; [a-c] and [c-a] a range
//     \x     x itself, also within brackets
//
// Brackets that are not closed end with the pattern. A range compares bytes as
// signed ones, takes any byte for its end, ']' too, and needs three bytes before
// the end of the pattern. Nothing but "" and "*" matches an empty name.
package glob

import "bytes"

// maxStars is how many times '*' may be followed by something else before nothing
// matches, the servers' protection against patterns that are made to take long.
const maxStars = 1000

// Match tells whether all of s matches the pattern. It takes at most as many steps
// as the product of their lengths.
func Match(pattern, s []byte) bool {
	if len(pattern) == 1 && pattern[0] == '*' { // what KEYS does not even ask of a name
		return true
	}
	if len(s) == 0 {
		return len(pattern) == 0
	}
	var p, i int                 // where in pattern and in s
	star, from, stars := 0, 0, 0 // what follows the last '*', and where in s that was tried
	for {
		switch {
		case i == len(s):
			// What follows a '*' needs no fewer bytes further on.
			return len(bytes.TrimLeft(pattern[p:], "*")) == 0
		case p < len(pattern) && pattern[p] == '*':
			for p < len(pattern) && pattern[p] == '*' {
				p++
			}
			if p == len(pattern) {
				return true
			}
			if stars++; stars > maxStars {
				return false
			}
			star, from = p, i
			continue
		case p < len(pattern):
			if next, ok := one(pattern, p, s[i]); ok {
				p = next
				i++
				continue
			}
		}
		// The pattern is at its end, or does not match here: it is enough to go back to
		// the last '*', as those before have matched what comes first.
		if star == 0 {
			return false
		}
		from++
		p, i = star, from
	}
}

// one matches a byte with what is at place p of the pattern, and returns what
// comes next.
func one(pattern []byte, p int, c byte) (next int, ok bool) {
	switch pattern[p] {
	case '?':
		return p + 1, true
	case '[':
		return class(pattern, p+1, c)
	case '\\':
		if p+1 < len(pattern) {
			p++
		}
	}
	return p + 1, pattern[p] == c
}

// class matches a byte with what is between brackets, of which the first is at
// place p.
func class(pattern []byte, p int, c byte) (next int, ok bool) {
	not := p < len(pattern) && pattern[p] == '^'
	if not {
		p++
	}
	found := false
	for p < len(pattern) && pattern[p] != ']' {
		switch left := len(pattern) - p; {
		case pattern[p] == '\\' && left >= 2:
			found = found || pattern[p+1] == c
			p += 2
		case left >= 3 && pattern[p+1] == '-':
			low, high := int8(pattern[p]), int8(pattern[p+2])
			if low > high {
				low, high = high, low
			}
			found = found || low <= int8(c) && int8(c) <= high
			p += 3
		default:
			found = found || pattern[p] == c
			p++
		}
	}
	return min(p+1, len(pattern)), found != not
}

// Pattern is a pattern that is matched with many names.
type Pattern struct {
	pattern []byte
	prefix  []byte // of all names that match
	rest    rest
}

// rest is what comes after the prefix.
type rest uint8

const (
	nothing rest = iota
	anything
	something
)

// New prepares to match a pattern.
func New(pattern string) Pattern {
	p := Pattern{pattern: []byte(pattern), rest: something}
	at := bytes.IndexAny(p.pattern, `*?[\`)
	switch {
	case at < 0:
		p.prefix, p.rest = p.pattern, nothing
	case at == len(pattern)-1 && pattern[at] == '*':
		p.prefix, p.rest = p.pattern[:at], anything
	default:
		p.prefix = p.pattern[:at]
	}
	return p
}

// Match tells whether a name matches.
func (p Pattern) Match(name []byte) bool {
	switch p.rest {
	case nothing:
		return bytes.Equal(name, p.prefix)
	case anything:
		return bytes.HasPrefix(name, p.prefix)
	default:
		return bytes.HasPrefix(name, p.prefix) && Match(p.pattern, name)
	}
}
