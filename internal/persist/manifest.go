package persist

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// manifestLine is the size of the longest line of a manifest, its newline included
// (aof.c MANIFEST_MAX_LINE).
const manifestLine = 1024

// fileTypes are the values of "type" (aof.c AOF_FILE_TYPE_*).
const (
	typeBase    = 'b'
	typeHistory = 'h'
	typeIncr    = 'i'
)

// listed is a file that a manifest names.
type listed struct {
	name string
	seq  int64
	kind byte // typeBase, typeHistory or typeIncr
}

// manifest is what a manifest says, the files in the order of their loading. History
// files are waiting to be deleted and hold nothing that counts.
type manifest struct {
	files   []listed // the base, if there is one, and the incr files
	history []listed
}

// parseManifest reads a manifest (aof.c aofLoadManifestFromFile). The error says in
// which line it is wrong.
func parseManifest(text []byte) (manifest, error) {
	var m manifest
	var base, incr []listed
	if len(text) == 0 {
		return m, errors.New("the manifest is empty")
	}
	for number := 1; len(text) > 0; number++ {
		line, rest, ended := bytes.Cut(text, []byte("\n"))
		text = rest
		if len(line) > 0 && line[0] == '#' {
			continue
		}
		f, err := parseListed(line, ended)
		if err != nil {
			return m, fmt.Errorf("line %d: %w", number, err)
		}
		switch f.kind {
		case typeBase:
			if len(base) > 0 {
				return m, fmt.Errorf("line %d: a second base file, after %q", number, base[0].name)
			}
			base = append(base, f)
		case typeIncr:
			if n := len(incr); n > 0 && f.seq <= incr[n-1].seq {
				return m, fmt.Errorf("line %d: seq %d after seq %d: incr files have growing numbers", number, f.seq, incr[n-1].seq)
			}
			incr = append(incr, f)
		case typeHistory:
			m.history = append(m.history, f)
		}
	}
	if m.files = append(base, incr...); len(m.files) == 0 {
		return m, errors.New("the manifest names no base file and no incr file")
	}
	return m, nil
}

// parseListed reads a line: pairs of a key and a value, of which those that are not
// known here are left alone, as by the servers (Redis 8.6 adds startoffset).
func parseListed(line []byte, ended bool) (listed, error) {
	var f listed
	switch {
	case !ended:
		return f, errors.New("the line does not end: the manifest was cut")
	case len(line)+1 > manifestLine:
		return f, fmt.Errorf("a line of %d bytes, longer than the servers write", len(line))
	}
	words, ok := splitArgs(bytes.Trim(line, " \t\r"))
	if !ok {
		return f, errors.New("quotes that do not end, or that no space follows")
	}
	if len(words) < 6 || len(words)%2 != 0 {
		return f, fmt.Errorf("%d words: expected file NAME seq NUMBER type TYPE", len(words))
	}
	for i := 0; i < len(words); i += 2 {
		value := string(words[i+1])
		switch strings.ToLower(string(words[i])) {
		case "file":
			if f.name = value; strings.ContainsAny(value, "/\\\x00") {
				return f, fmt.Errorf("file %q: expected a name without a path", value)
			}
		case "seq":
			var err error
			if f.seq, err = strconv.ParseInt(value, 10, 64); err != nil || f.seq <= 0 {
				return f, fmt.Errorf("seq %q: expected a number above 0", value)
			}
		case "type":
			if len(value) != 1 || !strings.Contains("bhi", value) {
				return f, fmt.Errorf("type %q: expected b, i or h", value)
			}
			f.kind = value[0]
		}
	}
	if f.name == "" || f.seq == 0 || f.kind == 0 {
		return f, errors.New("expected file NAME seq NUMBER type TYPE")
	}
	return f, nil
}

// splitArgs splits a line into words, which may be quoted (sds.c sdssplitargs). It is
// not ok if quotes are left open, or if something else than a space follows them.
func splitArgs(line []byte) (words [][]byte, ok bool) {
	for {
		line = bytes.TrimLeft(line, " \t\n\v\f\r")
		if len(line) == 0 {
			return words, true
		}
		var word []byte
		if word, line, ok = cutWord(line); !ok {
			return nil, false
		}
		words = append(words, word)
	}
}

// cutWord takes the word off that a line begins with. Quotes may also begin within it.
func cutWord(line []byte) (word, rest []byte, ok bool) {
	word = []byte{}
	for at := 0; at < len(line); at++ {
		switch c := line[at]; {
		case isSpace(c):
			return word, line[at:], true
		case c == '"' || c == '\'':
			var size int
			if word, size, ok = appendQuoted(word, line[at+1:], c); !ok {
				return nil, nil, false
			}
			at += size + 1
			if at+1 < len(line) && !isSpace(line[at+1]) {
				return nil, nil, false
			}
		default:
			word = append(word, c)
		}
	}
	return word, nil, true
}

// appendQuoted appends what is before the closing quote, and tells how many bytes of
// the text that is. Within ' only the quote itself can be escaped.
func appendQuoted(dst, text []byte, quote byte) (out []byte, size int, ok bool) {
	for at := 0; at < len(text); at++ {
		c := text[at]
		switch {
		case c == quote:
			return dst, at, true
		case c != '\\' || at+1 == len(text):
			dst = append(dst, c)
		case quote == '\'':
			if text[at+1] == quote {
				at++
				c = quote
			}
			dst = append(dst, c)
		default:
			var step int
			c, step = unescape(text[at+1:])
			at += step
			dst = append(dst, c)
		}
	}
	return dst, 0, false
}

// unescape gives the byte that is meant by what follows a backslash, and how many
// bytes say so.
func unescape(text []byte) (byte, int) {
	if len(text) > 2 && text[0] == 'x' {
		if n, err := strconv.ParseUint(string(text[1:3]), 16, 8); err == nil {
			return byte(n), 3
		}
	}
	switch text[0] {
	case 'n':
		return '\n', 1
	case 'r':
		return '\r', 1
	case 't':
		return '\t', 1
	case 'b':
		return '\b', 1
	case 'a':
		return '\a', 1
	default:
		return text[0], 1
	}
}

func isSpace(c byte) bool {
	return c == ' ' || c >= '\t' && c <= '\r'
}
