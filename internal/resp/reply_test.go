package resp_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"godwit/internal/resp"
)

// text is a reply as the tests write it down.
func text(t testing.TB, r *resp.ReplyReader, body []byte) (string, error) {
	reply, err := r.Next()
	if err != nil {
		return "", err
	}
	switch {
	case reply.Null:
		return fmt.Sprintf("%c nil", reply.Kind), nil
	case reply.Kind == resp.Bulk:
		body, err := r.Body(body[:0])
		if err == nil && int64(len(body)) != reply.N {
			t.Errorf("a body of %d bytes, %d were announced", len(body), reply.N)
		}
		return fmt.Sprintf("$%.40q", body), err
	case reply.Kind == resp.Array, reply.Kind == resp.Map, reply.Kind == resp.Push:
		all := make([]string, 0, min(reply.N, 100))
		for range reply.N {
			element, err := text(t, r, body)
			if err != nil {
				return "", err
			}
			all = append(all, element)
		}
		return "[" + strings.Join(all, " ") + "]", nil
	case reply.Kind == resp.Integer:
		return fmt.Sprintf(":%d", reply.N), nil
	}
	return fmt.Sprintf("%c%s", reply.Kind, reply.Line), nil
}

func TestReplies(t *testing.T) {
	tests := []struct{ in, want string }{
		{"+OK\r\n", "+OK"},
		{"+\r\n", "+"},
		{"-ERR no\r\n", "-ERR no"},
		{":0\r\n", ":0"},
		{":-9223372036854775808\r\n", fmt.Sprint(":", math.MinInt64)},
		{"$-1\r\n", "$ nil"},
		{"*-1\r\n", "* nil"},
		{"$0\r\n\r\n", `$""`},
		{"$4\r\na\r\nb\r\n", `$"a\r\nb"`},
		{"*0\r\n", "[]"},
		{"*3\r\n*2\r\n$1\r\na\r\n:1\r\n-ERR x\r\n*-1\r\n", `[[$"a" :1] -ERR x * nil]`},
		{"%1\r\n$1\r\na\r\n:1\r\n", `[$"a" :1]`},
		{">2\r\n$1\r\na\r\n_\r\n", `[$"a" _ nil]`},
	}
	for _, tt := range tests {
		for name, in := range map[string]io.Reader{
			"whole": strings.NewReader(tt.in + "+next\r\n"), "by bytes": iotest.OneByteReader(strings.NewReader(tt.in + "+next\r\n")),
		} {
			r := resp.NewReplyReader(in)
			got, err := text(t, r, nil)
			if err != nil || got != tt.want {
				t.Errorf("%q %s: %s, %v; want %s", tt.in, name, got, err, tt.want)
			}
			if next, err := text(t, r, nil); next != "+next" || err != nil {
				t.Errorf("%q %s: then %q, %v", tt.in, name, next, err)
			}
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("%q %s: in the end %v", tt.in, name, err)
			}
		}
		for end := 1; end < len(tt.in); end++ { // what is cut off is no end
			_, err := text(t, resp.NewReplyReader(strings.NewReader(tt.in[:end])), nil)
			if err == nil {
				t.Errorf("%q: %v", tt.in[:end], err)
			}
		}
	}
}

func TestMalformedReplies(t *testing.T) {
	for _, in := range []string{
		"\r\n", "+OK\n", "OK\r\n", "$\r\n", "$-2\r\n", "$+1\r\na\r\n", "$1x\r\n", ":\r\n", ":1.5\r\n", ":9223372036854775808\r\n",
		"$1099511627777\r\n", "*2147483649\r\n", "*-2\r\n", "$1\r\nab\r\n", "$1\r\na\n\n", "~1\r\n", "%-2\r\n", ">x\r\n",
		"+" + strings.Repeat("x", 64<<10) + "\r\n",
	} {
		r := resp.NewReplyReader(strings.NewReader(in + "+next\r\n"))
		if got, err := text(t, r, nil); err == nil || errors.Is(err, io.EOF) {
			t.Errorf("%.40q: %s, %v", in, got, err)
		}
	}
}

// What nobody asks for is passed over, and the reply after it is the next.
func TestRepliesArePassedOver(t *testing.T) {
	in := "*3\r\n$5\r\nab\r\nc\r\n*1\r\n*2\r\n:1\r\n$1\r\nx\r\n+OK\r\n" + "$3\r\nabc\r\n" + "$70000\r\n" + strings.Repeat("y", 70000) + "\r\n+next\r\n"
	r := resp.NewReplyReader(iotest.HalfReader(strings.NewReader(in)))
	reply, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Skip(reply); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if reply, err = r.Next(); err != nil || reply.Kind != resp.Bulk { // without Skip, too
			t.Fatalf("%v, %v", reply, err)
		}
	}
	if next, err := text(t, r, nil); next != "+next" || err != nil {
		t.Errorf("%q, %v", next, err)
	}
}

// A length takes no memory: only bytes that come do.
func TestAnnouncedBytesTakeNoMemory(t *testing.T) {
	var before, after runtime.MemStats
	for _, in := range []string{"$1099511627776\r\nabc", "*2147483648\r\n$1\r\na\r\n"} {
		runtime.ReadMemStats(&before)
		r := resp.NewReplyReader(strings.NewReader(in))
		reply, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if reply.Kind == resp.Bulk {
			_, err = r.Body(nil)
		} else {
			err = r.Skip(reply)
		}
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%q: %v", in, err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 512<<10 {
			t.Errorf("%q took %d bytes of memory", in, took)
		}
	}
}

func TestRepliesDoNotAllocate(t *testing.T) {
	const some = "*3\r\n$5\r\nabcde\r\n:42\r\n$-1\r\n+OK\r\n"
	r := resp.NewReplyReader(&endless{text: []byte(some)})
	body := make([]byte, 0, 16)
	if n := testing.AllocsPerRun(1000, func() {
		for range 5 { // replies in some, elements included
			reply, err := r.Next()
			if err == nil && reply.Kind == resp.Bulk {
				body, err = r.Body(body[:0])
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// endless reads the same text again and again.
type endless struct {
	text []byte
	at   int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.text[e.at:])
	e.at = (e.at + n) % len(e.text)
	return n, nil
}

// FuzzReplies holds that a reader finds the same replies however the bytes come,
// that passing over one ends where reading it ends, and that it never takes more
// memory than has come.
func FuzzReplies(f *testing.F) {
	for _, in := range []string{
		"+OK\r\n", "*2\r\n$1\r\na\r\n*1\r\n:-5\r\n", "-ERR x\r\n$-1\r\n*-1\r\n", "$10\r\nabc", "*1000000\r\n", "$1099511627776\r\nx",
		"*3\r\n+QUEUED\r\n*0\r\n$0\r\n\r\n:1\r\n",
	} {
		f.Add([]byte(in))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole, first := flat(resp.NewReplyReader(bytes.NewReader(in)))
		pieces, second := flat(resp.NewReplyReader(iotest.OneByteReader(bytes.NewReader(in))))
		if whole != pieces || fmt.Sprint(first) != fmt.Sprint(second) {
			t.Fatalf("whole: %q, %v; in pieces: %q, %v", whole, first, pieces, second)
		}
		r := resp.NewReplyReader(bytes.NewReader(in))
		for {
			reply, err := r.Next()
			if err == nil {
				err = r.Skip(reply)
			}
			if err != nil {
				if errors.Is(err, io.EOF) != errors.Is(first, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("passed over: %v; read: %v", err, first)
				}
				break
			}
		}
	})
}

// flat reads all replies, elements like others.
func flat(r *resp.ReplyReader) (string, error) {
	var all strings.Builder
	var body []byte
	for {
		reply, err := r.Next()
		if err == nil && reply.Kind == resp.Bulk {
			body, err = r.Body(body[:0])
		}
		if err != nil {
			return all.String(), err
		}
		fmt.Fprintf(&all, "%c%v%s%d%s ", reply.Kind, reply.Null, reply.Line, reply.N, body)
		body = body[:0]
	}
}
