package census

import (
	"bytes"
	"strings"
)

// piece is a part of a key: letters or digits, or what stands between such parts.
type piece struct {
	text      string
	separator bool
	variable  bool // an ID rather than a word, see lexicon
}

// keyParts is a key in pieces.
type keyParts struct {
	pieces  []piece
	tag     string // the hash tag that it has, empty if none
	pattern string // its pieces with * for variable ones
}

// pieces cuts a key at everything that is neither letter nor digit, and between letters
// and digits where a word ends in a number (user1001). A UUID stays whole.
func pieces(key string) []piece {
	var all []piece
	for i := 0; i < len(key); {
		if n := uuid(key[i:]); n > 0 {
			all = append(all, piece{text: key[i : i+n]})
			i += n
			continue
		}
		j := i + 1
		word := isWord(key[i])
		for j < len(key) && isWord(key[j]) == word && (word || uuid(key[j:]) == 0) {
			j++
		}
		if !word {
			all = append(all, piece{text: key[i:j], separator: true})
		} else if d := trailingNumber(key[i:j]); d > 0 {
			all = append(all, piece{text: key[i : i+d]}, piece{text: key[i+d : j]})
		} else {
			all = append(all, piece{text: key[i:j]})
		}
		i = j
	}
	return all
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isWord(c byte) bool {
	return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'z' || c >= 0x80
}

func isHex(c byte) bool { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

// trailingNumber is where the digits at the end of letters begin, if there are two at
// least: 0 if there are other digits before them, or none.
func trailingNumber(word string) int {
	n := len(strings.TrimRight(word, "0123456789"))
	if n == 0 || len(word)-n < 2 || strings.ContainsAny(word[:n], "0123456789") {
		return 0
	}
	return n
}

// uuid is the length of one that a text begins with, 0 if it does not.
func uuid(s string) int {
	const form = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"
	if len(s) < len(form) {
		return 0
	}
	for i := range len(form) {
		if form[i] == 'x' != isHex(s[i]) || form[i] == '-' && s[i] != '-' {
			return 0
		}
	}
	return len(form)
}

// looksLikeID tells of a number, a UUID, a hash, or letters mixed with digits.
func looksLikeID(s string) (certain, likely bool) {
	count := 0
	hex := true
	for i := range len(s) {
		if isDigit(s[i]) {
			count++
		}
		hex = hex && isHex(s[i])
	}
	switch {
	case count == len(s), uuid(s) == len(s), hex && len(s) >= 8 && count > 0, len(s) >= 16 && count > 1:
		return true, true
	}
	return false, count > 0
}

// lexicon tells words from IDs by how often they occur where they stand.
type lexicon struct {
	places map[string]map[string]int // of a skeleton and a place in it, each text
	totals map[string]int
}

// lexiconLimit is how many texts are counted at each place: with more of them than
// that it is one for IDs.
const lexiconLimit = 1024

// skeleton is what keys of the same build have in common: separators and places.
func skeleton(all []piece) string {
	var b strings.Builder
	for _, p := range all {
		if p.separator {
			b.WriteString(p.text)
		} else {
			b.WriteByte('x')
		}
	}
	return b.String()
}

func place(skeleton string, i int) string {
	return skeleton + "\x00" + string(rune(i))
}

func (l *lexicon) learn(all []piece) {
	s := skeleton(all)
	for i, p := range all {
		if p.separator {
			continue
		}
		at := place(s, i)
		texts := l.places[at]
		if texts == nil {
			texts = make(map[string]int)
			l.places[at] = texts
		}
		if _, known := texts[p.text]; known || len(texts) < lexiconLimit {
			texts[p.text]++
		}
		l.totals[at]++
	}
}

// isID tells whether a text at its place is an ID. What looks like one is, unless it
// is a word with a digit that is there in a fifth of the keys (v2, eu1). Other words
// are if there are many at that place, and none of them often.
func (l *lexicon) isID(s string, i int, text string) bool {
	certain, likely := looksLikeID(text)
	if certain {
		return true
	}
	at := place(s, i)
	n, total, different := l.places[at][text], l.totals[at], len(l.places[at])
	if likely {
		return n*5 < total || different > 16
	}
	return different > 32 && n*20 < total
}

// parts takes a key to pieces and tells its pattern.
func (l *lexicon) parts(key []byte) keyParts {
	k := keyParts{pieces: pieces(string(key)), tag: tagOf(key)}
	s := skeleton(k.pieces)
	var b strings.Builder
	for i := range k.pieces {
		p := &k.pieces[i]
		p.variable = !p.separator && l.isID(s, i, p.text)
		b.WriteString(p.shown())
	}
	k.pattern = b.String()
	return k
}

// shown is * for what varies.
func (p piece) shown() string {
	if p.variable {
		return "*"
	}
	return p.text
}

// tagOf is a key's hash tag, empty if it has none (see slot.Of).
func tagOf(key []byte) string {
	if open := bytes.IndexByte(key, '{'); open >= 0 {
		if size := bytes.IndexByte(key[open+1:], '}'); size > 0 {
			return string(key[open+1 : open+1+size])
		}
	}
	return ""
}
