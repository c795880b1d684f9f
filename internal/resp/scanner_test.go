package resp_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"godwit/internal/resp"
)

func TestScan(t *testing.T) {
	tests := []struct {
		name, in string
		args     []string
		total    int
		size     int
		err      string // "" for a whole command
	}{
		{"whole", "*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n*1", []string{"DEL", "k"}, 2, 20, ""},
		{"newline", "\n*1\r\n", nil, 0, 1, ""},
		{"carriage return and newline", "\r\n*1\r\n", nil, 0, 2, ""},
		{"of nothing", "*0\r\n*1", nil, 0, 4, ""},
		{"nothing", "", nil, 0, 0, "incomplete"},
		{"half a newline", "\r", nil, 0, 0, "incomplete"},
		{"half a header", "*2\r", nil, 0, 0, "incomplete"},
		{"one argument of two", "*2\r\n$3\r\nDEL\r\n", []string{"DEL"}, 2, 13, "incomplete"},
		{"one argument and a half", "*2\r\n$3\r\nDEL\r\n$1\r\nk\r", []string{"DEL"}, 2, 13, "incomplete"},
		{"not a newline", "\rX", nil, 0, 0, "byte 1: expected a newline"},
		{"not a command", "PING\r\n", nil, 0, 0, "byte 0: expected '*', got 'P'"},
		{"no length", "*1\r\n:1\r\n", nil, 1, 4, "byte 4: expected '$', got ':'"},
		{"negative length", "*1\r\n$-1\r\n", nil, 1, 4, "byte 4: bad length"},
		{"newline without carriage return", "*1\n$1\r\n", nil, 0, 0, "byte 0: bad length"},
		{"count beyond the limit", "*2147483649\r\n", nil, 0, 0, "length beyond 2147483648"},
		{"length beyond the limit", "*1\r\n$1099511627777\r\n", nil, 1, 4, "length beyond 1099511627776"},
		{"too many digits", "*00000000000000000001\r\n", nil, 0, 0, "length beyond"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e, err := resp.Scan([]byte(tt.in), nil)
			if got := texts(e.Args); len(got)+len(tt.args) > 0 && !reflect.DeepEqual(got, tt.args) {
				t.Errorf("args %q, want %q", got, tt.args)
			}
			if e.Total != tt.total || e.Size != tt.size {
				t.Errorf("total %d, size %d; want %d, %d", e.Total, e.Size, tt.total, tt.size)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("error %v, want %q", err, tt.err)
			}
			if (tt.err == "incomplete") != errors.Is(err, resp.ErrIncomplete) {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestScanDoesNotAllocate(t *testing.T) {
	in := resp.AppendCommand(nil, "SET", "key", strings.Repeat("x", 1000))
	args := make([][]byte, 0, 8)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := resp.Scan(in, args); err != nil {
			t.Error(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// Within an argument, Scan tells where it ends.
func TestScanTellsWhatItNeeds(t *testing.T) {
	in := []byte("*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n")
	for size := range in {
		want := int64(0)
		switch {
		case size >= 8 && size < 13:
			want = 13
		case size >= 17:
			want = 20
		}
		if e, err := resp.Scan(in[:size], nil); !errors.Is(err, resp.ErrIncomplete) || e.Need != want {
			t.Errorf("%q: %d bytes needed, %v; want %d", in[:size], e.Need, err, want)
		}
	}
	if e, err := resp.Scan(in, nil); err != nil || e.Need != 0 {
		t.Errorf("the whole command: %d bytes needed, %v", e.Need, err)
	}
}

func TestBodyRefuses(t *testing.T) {
	head, err := resp.Scan([]byte("*3\r\n$3\r\nSET\r\n"), nil)
	if !errors.Is(err, resp.ErrIncomplete) {
		t.Fatal(err)
	}
	for _, in := range []string{"\r\n", "\n", "$\r\n", "$-1\r\n", "$+1\r\n", "$1\n", "$1x\r\n", "*1\r\n", "$1099511627777\r\n", strings.Repeat("$", 100), "$" + strings.Repeat("0", 30) + "1\r\n"} {
		body := head.Rest()
		if _, done, err := body.Advance([]byte(in)); err == nil || done {
			t.Errorf("%q: done %v, error %v", in, done, err)
		}
	}
}

// FuzzScan holds that Scan finds the same command in a buffer however much
// comes after it, and none in less.
func FuzzScan(f *testing.F) {
	seedStreams(f, func(in []byte) { f.Add(in, uint(len(in)/2)) })
	f.Fuzz(func(t *testing.T, in []byte, cut uint) {
		for rest := in; ; {
			e, err := resp.Scan(rest, nil)
			checkExtent(t, rest, e)
			split := int(cut % uint(len(rest)+1))
			part, partErr := resp.Scan(rest[:split], nil)
			checkExtent(t, rest[:split], part)
			switch {
			case err == nil && split >= e.Size:
				if partErr != nil || part.Size != e.Size || !reflect.DeepEqual(part.Args, e.Args) {
					t.Fatalf("in %d bytes %+v, in %d bytes %+v %v", len(rest), e, split, part, partErr)
				}
			case err == nil || errors.Is(err, resp.ErrIncomplete):
				if !errors.Is(partErr, resp.ErrIncomplete) {
					t.Fatalf("%d bytes of %d: %+v %v, though the whole is %+v %v", split, len(rest), part, partErr, e, err)
				}
			case partErr == nil:
				t.Fatalf("whole %v, %d bytes of it without an error", err, split)
			}
			if err != nil {
				return
			}
			rest = rest[e.Size:]
		}
	})
}

func checkExtent(t *testing.T, in []byte, e resp.Extent) {
	t.Helper()
	if e.Size > len(in) || len(e.Args) > e.Total {
		t.Fatalf("%+v out of %d bytes", e, len(in))
	}
	size := 0
	for _, a := range e.Args {
		size += len(a)
	}
	if size > e.Size || cap(e.Args) > len(in)+8 {
		t.Fatalf("%d bytes in arguments, room for %d, out of %d", size, cap(e.Args), len(in))
	}
}

// FuzzBody holds that a command walked through in pieces from any point on
// ends where Scan says that it ends.
func FuzzBody(f *testing.F) {
	seedStreams(f, func(in []byte) { f.Add(in, uint(len(in)/3), uint64(1)) })
	f.Fuzz(func(t *testing.T, in []byte, cut uint, seed uint64) {
		split := int(cut % uint(len(in)+1))
		head, err := resp.Scan(in[:split], nil)
		if !errors.Is(err, resp.ErrIncomplete) || len(head.Args) == 0 {
			return
		}
		whole, wholeErr := resp.Scan(in, nil)
		rng := rand.New(rand.NewPCG(seed, 0))
		at, done, walkErr := walk(head.Rest(), in, head.Size, rng)
		switch {
		case wholeErr == nil:
			if walkErr != nil || !done || at != whole.Size {
				t.Fatalf("walked to %d of %d, done %v, error %v", at, whole.Size, done, walkErr)
			}
		case errors.Is(wholeErr, resp.ErrIncomplete):
			if done {
				t.Fatalf("done at %d, though the command goes on", at)
			}
		case done:
			t.Fatalf("done at %d, though the command is broken: %v", at, wholeErr)
		}
	})
}

// walk takes a body through in[at:] in pieces of random size.
func walk(body *resp.Body, in []byte, at int, rng *rand.Rand) (end int, done bool, err error) {
	for at < len(in) {
		piece := in[at:min(len(in), at+1+rng.IntN(40))]
		n, done, err := body.Advance(piece)
		at += n
		if err != nil || done {
			return at, done, err
		}
		if n != len(piece) {
			return at, false, fmt.Errorf("took %d bytes of %d and is not done", n, len(piece))
		}
	}
	return at, false, nil
}

func TestBodyEndsWhereTheCommandEnds(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		args := make([]string, 2+rng.IntN(5))
		for i := range args {
			args[i] = strings.Repeat("\r\n$1*"[rng.IntN(5):][:1], rng.IntN(200))
		}
		in := resp.AppendCommand(nil, args...)
		size := len(in)
		in = append(in, "*1\r\n$4\r\nPING\r\n"...)
		cut := 5 + len(args[0]) + 6 + rng.IntN(size)
		head, err := resp.Scan(in[:min(cut, size-1)], nil)
		if !errors.Is(err, resp.ErrIncomplete) {
			t.Fatal(err)
		}
		at, done, err := walk(head.Rest(), in, head.Size, rng)
		if err != nil || !done || at != size {
			t.Fatalf("%q cut at %d: ended at %d of %d, done %v, error %v", in, cut, at, size, done, err)
		}
	}
}

func seedStreams(f *testing.F, add func([]byte)) {
	f.Helper()
	var b bytes.Buffer
	b.Write(resp.AppendCommand(nil, "SELECT", "0"))
	b.WriteString("\n\r\n")
	b.Write(resp.AppendCommand(nil, "SET", "key", strings.Repeat("v", 300)))
	b.Write(resp.AppendCommand(nil, "MSET", "a", "", "b", "\r\n$5\r\n*"))
	add(b.Bytes())
	for _, s := range []string{"", "\r", "\rX", "*0\r\n", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$-1\r\n", "*2\r\n$3\r\nDEL\r\n$99999999999999\r\n", "*9999999999999\r\n", "*00000000000000000000000000000001\r\n"} {
		add([]byte(s))
	}
}
