package census

import (
	"bytes"
	"fmt"
	"strconv"
	"time"
)

// Line is one command as MONITOR shows it.
type Line struct {
	Time   time.Time // by the server's clock
	DB     int
	Client []byte   // the address, such as 127.0.0.1:46320 or unix:/run/redis.sock; nil in a script
	Args   [][]byte // the command's name first, at least that

	Cut       bool // the line was cut off: of Args the last ones are missing
	Unescaped bool // quotes and backslashes were found as they are, see Parser.Parse
}

// Script tells that the command was called by the script or function whose own line
// came before.
func (l Line) Script() bool { return l.Client == nil }

// Unix tells that the client came over a Unix socket: all such have the same address.
func (l Line) Unix() bool { return bytes.HasPrefix(l.Client, []byte("unix:")) }

// LineError is a line that MONITOR does not write.
type LineError struct {
	Column int // of what was not understood, from 1 on
	Text   string
}

func (e *LineError) Error() string { return fmt.Sprintf("column %d: %s", e.Column, e.Text) }

// Parser reads lines of MONITOR's output. What it returns is valid until the next call.
type Parser struct {
	buf  []byte
	ends []int
	args [][]byte
}

// Parse reads one line without its end, as the server sends it or as redis-cli prints
// it (replication.c replicationFeedMonitors). cut says that it is but the beginning of
// a line. Arguments are quoted as sdscatrepr does (sds.c); Valkey 8.1 does not escape
// quotes and backslashes: then an argument ends where a quote, a space and a quote
// follow each other. The error is a *LineError.
func (p *Parser) Parse(line []byte, cut bool) (Line, error) {
	rest := bytes.TrimPrefix(line, []byte("+"))
	column := func() int { return len(line) - len(rest) + 1 }
	var l Line
	stamp, after, ok := bytes.Cut(rest, []byte(" ["))
	if !ok {
		return l, &LineError{column(), "no time and no [ after it"}
	}
	if l.Time, ok = parseStamp(stamp); !ok {
		return l, &LineError{column(), "no time of seconds and microseconds"}
	}
	rest = after
	origin, after, ok := bytes.Cut(rest, []byte(`] "`))
	if !ok {
		return l, &LineError{column(), "no ] before a command"}
	}
	db, client, ok := bytes.Cut(origin, []byte(" "))
	n, err := strconv.Atoi(string(db))
	if !ok || err != nil || n < 0 || len(client) == 0 {
		return l, &LineError{column(), "no db and client in brackets"}
	}
	rest = after
	l.DB = n
	if string(client) != "lua" { // so it is for functions, too
		l.Client = client
	}
	// An argument never becomes longer by reading, so buf stays where it is.
	p.buf, p.ends = grown(p.buf[:0], len(rest)), p.ends[:0]
	switch proper, complete := p.quoted(rest); {
	case proper && (complete || cut):
	default:
		p.buf, p.ends = p.buf[:0], p.ends[:0]
		if complete := p.unescaped(rest); !complete && !cut {
			return Line{}, &LineError{column(), "no end of the quotes"}
		}
		l.Unescaped = true
	}
	l.Cut = cut
	p.args = p.args[:0]
	from := 0
	for _, to := range p.ends {
		p.args = append(p.args, p.buf[from:to])
		from = to
	}
	if len(p.args) == 0 {
		return Line{}, &LineError{column(), "no command"}
	}
	l.Args = p.args
	return l, nil
}

func grown(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, 0, n)
	}
	return b
}

// parseStamp reads seconds and microseconds.
func parseStamp(b []byte) (time.Time, bool) {
	seconds, micros, ok := bytes.Cut(b, []byte("."))
	if !ok || len(seconds) == 0 || len(seconds) > 12 || len(micros) != 6 {
		return time.Time{}, false
	}
	s, ok1 := digits(seconds)
	us, ok2 := digits(micros)
	return time.Unix(s, us*int64(time.Microsecond)), ok1 && ok2
}

func digits(b []byte) (n int64, ok bool) {
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}

// quoted reads arguments, the first quote already taken off, and tells whether they
// are properly quoted, and whether the last one has an end. One without is left out.
func (p *Parser) quoted(b []byte) (proper, complete bool) {
	for i := 0; i < len(b); i++ {
		switch c := b[i]; c {
		case '"':
			p.ends = append(p.ends, len(p.buf))
			if i+1 == len(b) {
				return true, true
			}
			if b[i+1] != ' ' || i+2 < len(b) && b[i+2] != '"' {
				return false, false
			}
			i += 2
		case '\\':
			char, size := escape(b[i:])
			if size == 0 {
				return i+len(`\x00`) > len(b), false
			}
			p.buf = append(p.buf, char)
			i += size - 1
		default:
			p.buf = append(p.buf, c)
		}
	}
	return true, false
}

// escape reads an escape; size is 0 if it is none.
func escape(b []byte) (c byte, size int) {
	if len(b) < 2 {
		return 0, 0
	}
	switch b[1] {
	case '\\', '"':
		return b[1], 2
	case 'n':
		return '\n', 2
	case 'r':
		return '\r', 2
	case 't':
		return '\t', 2
	case 'a':
		return '\a', 2
	case 'b':
		return '\b', 2
	case 'x':
		if len(b) < 4 {
			return 0, 0
		}
		n, err := strconv.ParseUint(string(b[2:4]), 16, 8)
		if err != nil {
			return 0, 0
		}
		return byte(n), 4
	}
	return 0, 0
}

// unescaped reads arguments in which quotes and backslashes may stand for themselves,
// and tells whether the last one has an end. One without an end is left out.
func (p *Parser) unescaped(b []byte) bool {
	for {
		arg, rest, more := bytes.Cut(b, []byte(`" "`))
		complete := more
		if !more {
			arg, complete = bytes.CutSuffix(arg, []byte(`"`))
		}
		if !complete {
			return false
		}
		for i := 0; i < len(arg); i++ {
			char, size := arg[i], 1
			if char == '\\' {
				if c, n := escape(arg[i:]); n > 0 && c != '\\' && c != '"' {
					char, size = c, n
				}
			}
			p.buf = append(p.buf, char)
			i += size - 1
		}
		p.ends = append(p.ends, len(p.buf))
		if !more {
			return true
		}
		b = rest
	}
}
