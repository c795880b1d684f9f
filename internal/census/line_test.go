package census

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestParse(t *testing.T) {
	for _, test := range []struct {
		line, client string
		db           int
		cut          bool
		args         []string
		unescaped    bool
	}{
		{line: `1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`, client: "127.0.0.1:60866", args: []string{"keys", "*"}},
		{line: `+1339518083.107412 [15 [::1]:6] "get" ""`, client: "[::1]:6", db: 15, args: []string{"get", ""}},
		{line: `1339518083.107412 [3 lua] "set" "k" "\x00\xff\n\r\t\a\b\"\\ é"`, db: 3, args: []string{"set", "k", "\x00\xff\n\r\t\a\b\"\\ é"}},
		{line: `1339518083.107412 [0 unix:/run/re dis.sock] "PING"`, client: "unix:/run/re dis.sock", args: []string{"PING"}},
		{line: `1.000000 [0 a:1] "set" "k" "long`, cut: true, client: "a:1", args: []string{"set", "k"}},
		{line: `1.000000 [0 a:1] "set" "k\"" "long\`, cut: true, client: "a:1", args: []string{"set", `k"`}},
		{line: `1.000000 [0 a:1] "set" "k\"" "long\x0`, cut: true, client: "a:1", args: []string{"set", `k"`}},
		{line: `1.000000 [0 a:1] "set" "k\"" `, cut: true, client: "a:1", args: []string{"set", `k"`}},
		// As Valkey 8.1 writes it.
		{line: `1.000000 [0 a:1] "set" "a"b\c\n\x00" "{"d": "e"}"`, client: "a:1", args: []string{"set", "a\"b\\c\n\x00", `{"d": "e"}`}, unescaped: true},
		{line: `1.000000 [0 a:1] "set" "a\"`, client: "a:1", args: []string{"set", `a\`}, unescaped: true},
	} {
		var p Parser
		l, err := p.Parse([]byte(test.line), test.cut)
		if err != nil {
			t.Errorf("%s: %v", test.line, err)
			continue
		}
		if got := strings.Join(texts(l.Args), "|"); got != strings.Join(test.args, "|") || string(l.Client) != test.client || l.DB != test.db ||
			l.Cut != test.cut || l.Unescaped != test.unescaped || l.Script() != (test.client == "") {
			t.Errorf("%s: %q %+v", test.line, texts(l.Args), l)
		}
	}
	for line, want := range map[string]string{
		"":                                    "column 1: no time and no [ after it",
		"Error: Server closed the connection": "column 1: no time and no [ after it",
		`x [0 a:1] "get" "k"`:                 "column 1: no time of seconds and microseconds",
		`1.5 [0 a:1] "get" "k"`:               "column 1: no time of seconds and microseconds",
		`1.000000 [0 a:1] get k`:              "column 11: no ] before a command",
		`1.000000 [-1 a:1] "get"`:             "column 11: no db and client in brackets",
		`1.000000 [a:1] "get"`:                "column 11: no db and client in brackets",
		`1.000000 [0 a:1] "get" "k`:           "column 19: no end of the quotes",
	} {
		var p Parser
		if _, err := p.Parse([]byte(line), false); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", line, err, want)
		}
	}
}

func texts(args [][]byte) []string {
	list := make([]string, len(args))
	for i, a := range args {
		list[i] = string(a)
	}
	return list
}

// TestLinesAreWhatWasSent sends random bytes over TCP, over a Unix socket and from a
// script, and finds the very same in what MONITOR shows.
func TestLinesAreWhatWasSent(t *testing.T) {
	t.Parallel()
	atOnce(t, func(t *testing.T, name string) {
		path := filepath.Join(t.TempDir(), "s")
		s := sandboxtest.Start(t, name, sandbox.Options{Args: []string{"--unixsocket " + path}})
		monitor, tcp := record(t, s), sandboxtest.Client(t, s)
		unix, err := server.Dial(t.Context(), server.Endpoint{Network: "unix", Address: path}, "")
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close()
		monitor.until(unix, "begin")
		random := rand.New(rand.NewPCG(1, 2))
		for i := range 300 {
			key, value := randomBytes(random), randomBytes(random)
			if name == "valkey-8.1" { // it does not escape these
				drop := func(b []byte) []byte {
					return bytes.Map(func(r rune) rune { return map[bool]rune{true: '_', false: r}[r == '"' || r == '\\'] }, bytes.ToValidUTF8(b, []byte("\x01")))
				}
				key, value = drop(key), drop(value)
			}
			client, args, where := tcp, []string{"SET", string(key), string(value)}, "127.0.0.1:"
			switch i % 3 {
			case 1:
				client, where = unix, "unix:"+path
			case 2:
				args = []string{"EVAL", "return redis.call('SET', KEYS[1], ARGV[1])", "1", string(key), string(value)}
			}
			if err := do(t.Context(), client, args...); err != nil {
				t.Fatal(err)
			}
			lines := monitor.until(unix, "end")
			var p Parser
			for j, line := range lines {
				l, err := p.Parse(line, false)
				if err != nil {
					t.Fatal(err)
				}
				want := args
				if j == 1 {
					want, where = []string{"SET", string(key), string(value)}, ""
				}
				if got := texts(l.Args); fmt.Sprintf("%q", got) != fmt.Sprintf("%q", want) || !strings.HasPrefix(string(l.Client), where) || l.Unescaped || l.Script() != (j == 1) {
					t.Fatalf("%q: %q from %s, want %q from %s", line, got, l.Client, want, where)
				}
				if d := time.Since(l.Time); d < -time.Second || d > time.Minute {
					t.Errorf("%s is not the time", l.Time)
				}
			}
			if want := 1 + i%3/2; len(lines) != want {
				t.Fatalf("%d lines, want %d: %q", len(lines), want, lines)
			}
		}
	})
}

func randomBytes(r *rand.Rand) []byte {
	b := make([]byte, 1+r.IntN(40))
	for i := range b {
		b[i] = byte(r.IntN(256))
		if r.IntN(2) == 0 {
			b[i] = "ab\"\\ \n\r\t\a\b]x0"[r.IntN(13)]
		}
	}
	return b
}

// FuzzParse holds that whatever the line is it is read or refused, and that what is
// quoted as the servers do is read back.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`), []byte("k"), false)
	f.Add([]byte(`1.000000 [0 lua] "set" "a\"`), []byte("\x00\"\\"), true)
	f.Fuzz(func(t *testing.T, line, key []byte, cut bool) {
		var p Parser
		l, err := p.Parse(line, cut)
		var wrong *LineError
		if err != nil && (!errors.As(err, &wrong) || wrong.Column < 1 || wrong.Column > len(line)+1) {
			t.Fatalf("%v", err)
		}
		if err == nil && (len(l.Args) == 0 || l.DB < 0) {
			t.Fatalf("%+v", l)
		}
		if err == nil {
			New(tables()).Add(l)
		}
		l, err = p.Parse([]byte(`1.000000 [0 a:1] `+repr([]byte("GET"))+" "+repr(key)), false)
		if err != nil || len(l.Args) != 2 || !bytes.Equal(l.Args[1], key) || l.Unescaped {
			t.Fatalf("%q: %+v, %v", key, l, err)
		}
	})
}

// repr quotes as sdscatrepr does (sds.c).
func repr(b []byte) string {
	var out strings.Builder
	out.WriteByte('"')
	for _, c := range b {
		switch c {
		case '\\', '"':
			out.WriteByte('\\')
			out.WriteByte(c)
		case '\n':
			out.WriteString(`\n`)
		case '\r':
			out.WriteString(`\r`)
		case '\t':
			out.WriteString(`\t`)
		case '\a':
			out.WriteString(`\a`)
		case '\b':
			out.WriteString(`\b`)
		default:
			if c >= ' ' && c <= '~' {
				out.WriteByte(c)
			} else {
				fmt.Fprintf(&out, `\x%02x`, c)
			}
		}
	}
	return out.String() + `"`
}

// TestLinesOfAnyLength reads lines in pieces of any size.
func TestLinesOfAnyLength(t *testing.T) {
	long := strings.Repeat("x", 3*maxLine+7)
	text := "a\r\n" + long + "\nb\n\n" + long + "\nlast"
	for _, size := range []int{1 << 20, 4096, 7777} {
		l := newLineReader(&trickle{[]byte(text), size})
		var got []string
		for {
			line, cut, err := l.next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if cut {
				got = append(got, fmt.Sprintf("cut %d", len(line)))
				continue
			}
			got = append(got, string(line))
		}
		want := []string{"a", fmt.Sprintf("cut %d", maxLine), "b", "", fmt.Sprintf("cut %d", maxLine), "last"}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%d bytes at a time: %.200q", size, got)
		}
	}
}

type trickle struct {
	rest []byte
	size int
}

func (r *trickle) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p[:min(len(p), r.size)], r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
