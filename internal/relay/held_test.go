package relay

import (
	"bytes"
	"fmt"
	"testing"

	"godwit/internal/rdb"
	"godwit/internal/resp"
)

// keeper keeps everything, but wants commands of that name as a whole.
type keeper struct {
	whole string
	saw   int // arguments of the last one
}

func (k *keeper) Edit(dst []byte, args [][]byte, total int) ([]byte, Verdict, error) {
	if k.whole == string(args[0]) && len(args) < total {
		return dst, Whole, nil
	}
	k.saw = len(args)
	return dst, Keep, nil
}

func (k *keeper) LeftOut() []rdb.LeftOut { return nil }

func (k *keeper) Reset(int) {}

func (k *keeper) DB() int { return 0 }

// A command with many arguments that is wanted as a whole, and that comes in
// small pieces, is not scanned from its beginning at each of them.
func TestWholeIsScannedOnce(t *testing.T) {
	e := &keeper{whole: "HMSET"}
	l := testLink(t, e)
	const fields = 100_000
	args := [][]byte{[]byte("HMSET"), []byte("key")}
	for i := range fields {
		args = append(args, fmt.Appendf(nil, "f%d", i), []byte("v"))
	}
	before, after := resp.AppendCommand(nil, "SET", "a", "1"), resp.AppendCommand(nil, "SET", "b", "2")
	stream := bytes.Join([][]byte{before, resp.AppendArgs(nil, args...), after}, nil)
	h := held{link: l, buf: make([]byte, headSize)}
	r := bytes.NewReader(stream)
	scans := 0
	for r.Len() > 0 {
		n, err := r.Read(h.buf[h.end:min(h.end+1000, len(h.buf))])
		if err != nil {
			t.Fatal(err)
		}
		h.end += n
		wanted := h.whole != nil
		if err := h.judge(t.Context()); err != nil {
			t.Fatal(err)
		}
		if wanted && h.whole == nil {
			scans++
		}
		if err := h.pass(t.Context()); err != nil {
			t.Fatal(err)
		}
		h.shift()
	}
	if got := spooled(t, l); !bytes.Equal(got, stream) {
		t.Errorf("%d bytes were passed on, not the %d that came", len(got), len(stream))
	}
	if scans != 1 || e.saw != 3 || len(h.buf) != headSize {
		t.Errorf("%d scans of the whole, %d arguments of the last command, a buffer of %d bytes", scans, e.saw, len(h.buf))
	}
}

func BenchmarkHeld(b *testing.B) {
	l := testLink(b, &keeper{})
	var stream []byte
	const commands = 1000
	for i := range commands {
		stream = resp.AppendCommand(stream, "SET", fmt.Sprintf("key:%012d", i), "value")
	}
	h := held{link: l, buf: make([]byte, headSize)}
	for b.Loop() {
		h.end += copy(h.buf[h.end:], stream)
		if err := h.judge(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := h.pass(b.Context()); err != nil {
			b.Fatal(err)
		}
		h.shift()
		_, end := l.spool.Range()
		l.spool.Release(end)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/commands, "ns/command")
}
