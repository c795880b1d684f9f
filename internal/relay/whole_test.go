package relay

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"testing"
	"time"

	"godwit/internal/resp"
)

// wanting wants all arguments of every command, and counts what it gets.
type wanting struct{ args []int }

func (w *wanting) Edit(dst []byte, args [][]byte, total int) ([]byte, Verdict, error) {
	if len(args) < total {
		return dst, Whole, nil
	}
	w.args = append(w.args, total)
	return dst, Keep, nil
}

func (*wanting) Reset(int) {}

func (*wanting) DB() int { return 0 }

// A large command of many arguments is not looked through again at each read,
// which would take minutes.
func TestWholeCommandOfManyArguments(t *testing.T) {
	list := []string{"ZADD", "key", "GT"}
	for i := range 300_000 {
		list = append(list, fmt.Sprint(i), fmt.Sprint("member:", i))
	}
	var stream []byte
	for range 2 {
		stream = resp.AppendCommand(stream, list...)
		stream = resp.AppendCommand(stream, "SET", "key", "value")
	}
	began := time.Now()
	if _, err := resp.Scan(stream, nil); err != nil {
		t.Fatal(err)
	}
	once := 2 * time.Since(began)
	editor := &wanting{}
	l := testLink(t, editor)
	l.streamAt.Store(0)
	began = time.Now()
	l.startUpstream(t.Context(), feed(t, "+CONTINUE\r\n", func(w io.Writer, r *bufio.Reader) error {
		go func() { _, _ = io.Copy(io.Discard, r) }() // ACKs
		return pieces(w, stream, func() int { return 2 << 10 })
	}), false)
	<-l.up.done
	l.stopUpstream()
	if got := spooled(t, l); !bytes.Equal(got, stream) {
		t.Errorf("%d bytes became %d", len(stream), len(got))
	}
	if want := fmt.Sprint([]int{len(list), 3, len(list), 3}); fmt.Sprint(editor.args) != want {
		t.Errorf("judged %v, want %s", editor.args, want)
	}
	took := time.Since(began)
	t.Logf("%d bytes in %v, looked through once in %v", len(stream), took, once)
	if took > time.Second+30*once {
		t.Errorf("it took %v", took)
	}
}
