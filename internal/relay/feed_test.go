package relay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"time"

	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/spool"
)

// These tests feed a link byte by byte, where a real server sends as it likes.

const (
	testID   = "0123456789012345678901234567890123456789"
	testMark = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMN"
)

// feed is the source's end of a connection: after the handshake it answers
// PSYNC and runs send, with what the link says back in r.
func feed(t *testing.T, answer string, send func(w io.Writer, r *bufio.Reader) error) *psync.Stream {
	t.Helper()
	ours, theirs := net.Pipe()
	done := make(chan error, 1)
	go func() {
		defer theirs.Close()
		r := bufio.NewReader(theirs)
		for _, reply := range []string{"+PONG\r\n", "+OK\r\n", answer} {
			if _, _, err := resp.ReadCommand(r); err != nil {
				done <- err
				return
			}
			if _, err := io.WriteString(theirs, reply); err != nil {
				done <- err
				return
			}
		}
		done <- send(theirs, r)
	}()
	t.Cleanup(func() {
		ours.Close()
		if err := <-done; err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("source: %v", err)
		}
	})
	stream, _, err := psync.Attach(t.Context(), ours, psync.Hello{}, "?", psync.NoOffset, nil)
	if err != nil {
		t.Fatal(err)
	}
	return stream
}

// pieces writes b in pieces of the sizes that size gives.
func pieces(w io.Writer, b []byte, size func() int) error {
	for len(b) > 0 {
		n, err := w.Write(b[:min(len(b), max(1, size()))])
		if err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

func testLink(t testing.TB, e Editor) *Link {
	t.Helper()
	l := NewLink(Config{Editor: e, Spool: spool.Options{Dir: t.TempDir(), MemoryLimit: 64 << 20, DiskLimit: 1 << 30}})
	t.Cleanup(func() {
		l.stopUpstream()
		if err := l.spool.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

// spooled is all that the spool holds.
func spooled(t *testing.T, l *Link) []byte {
	t.Helper()
	var all []byte
	for from, to := l.spool.Range(); from < to; {
		b, err := l.spool.Next(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, b...)
		from += int64(len(b))
	}
	return all
}

func TestSnapshotEndsWhereItEnds(t *testing.T) {
	const stream = "*1\r\n$4\r\nPING\r\n"
	body := "REDIS0011" + strings.Repeat("x", 300) + testMark[:39] + "y" + testMark[1:] + testMark[:20] // no marker, though much like it
	for _, form := range []struct{ name, header, body string }{
		{"diskless", "$EOF:" + testMark + "\r\n", body + testMark},
		{"disk-based", fmt.Sprintf("$%d\r\n", len(body)), body},
		{"disk-based, one byte", "$1\r\n", "R"},
		{"diskless, nothing but the marker", "$EOF:" + testMark + "\r\n", testMark},
	} {
		for _, size := range []int{1, 2, 7, 39, 40, 41, 64, 1 << 20} {
			t.Run(fmt.Sprintf("%s in pieces of %d", form.name, size), func(t *testing.T) {
				l := testLink(t, nil)
				l.end.Store(99)
				s := feed(t, "+FULLRESYNC "+testID+" 99\r\n\n\n", func(w io.Writer, r *bufio.Reader) error {
					if err := pieces(w, []byte(form.header+form.body), func() int { return size }); err != nil {
						return err
					}
					if form.header[1] == 'E' { // a diskless source waits for the first ACK
						if cmd, _, err := resp.ReadCommand(r); err != nil || string(bytes.Join(cmd.Args, []byte(" "))) != "REPLCONF ACK 0" {
							return fmt.Errorf("%q, %w", cmd.Args, err)
						}
					}
					return pieces(w, []byte(stream), func() int { return size })
				})
				l.startUpstream(t.Context(), s, true)
				signal := time.NewTicker(time.Millisecond)
				defer signal.Stop()
				for l.end.Load() < 99+int64(len(stream)) {
					select {
					case err := <-l.up.done:
						if l.end.Load() < 99+int64(len(stream)) {
							t.Fatal(err)
						}
					case <-signal.C:
						select {
						case l.ackSignal <- struct{}{}: // not only once a second
						default:
						}
					}
				}
				l.stopUpstream()
				want := "\n\n" + form.header + form.body + stream
				if got := spooled(t, l); string(got) != want {
					t.Errorf("spooled %q, want %q", got, want)
				}
				if at, want := l.streamAt.Load(), int64(len(want)-len(stream)); at != want {
					t.Errorf("the stream begins at %d, want %d", at, want)
				}
				if copied := l.copied.Load(); copied != int64(len(form.body)) {
					t.Errorf("%d bytes copied of %d", copied, len(form.body))
				}
			})
		}
	}
}

func TestSnapshotTruncated(t *testing.T) {
	for _, in := range []string{
		"$EOF:" + testMark + "\r\n" + "REDIS" + testMark[:39],
		"$100\r\n" + strings.Repeat("x", 99),
		"$EOF:" + testMark + "\r\n",
		"$EOF:" + testMark[:10],
		"\n\n",
	} {
		l := testLink(t, nil)
		l.startUpstream(t.Context(), feed(t, "+FULLRESYNC "+testID+" 99\r\n", func(w io.Writer, _ *bufio.Reader) error {
			return pieces(w, []byte(in), func() int { return 11 })
		}), true)
		err := <-l.up.done
		if !errors.Is(err, io.ErrClosedPipe) && (err == nil || !strings.Contains(err.Error(), "snapshot") || !strings.Contains(err.Error(), "EOF")) {
			t.Errorf("%.60q: %v", in, err)
		}
		if at := l.streamAt.Load(); at != -1 {
			t.Errorf("%.60q: the stream begins at %d", in, at)
		}
	}
}

// dropper drops the keys that begin with drop.
type dropper struct{ judged int }

func (d *dropper) Edit(dst []byte, args [][]byte, _ int) ([]byte, Verdict, error) {
	d.judged++
	if len(args) > 1 && bytes.HasPrefix(args[1], []byte("drop")) {
		return dst, Drop, nil
	}
	return dst, Keep, nil
}

func (*dropper) Reset(int) {}

func (*dropper) DB() int { return 0 }

func (*dropper) LeftOut() []rdb.LeftOut { return nil }

// randomStream is commands of all sizes, some far larger than headSize, with
// newlines between them.
func randomStream(rng *rand.Rand) (stream []byte, commands int) {
	add := func(args ...string) {
		stream = resp.AppendCommand(stream, args...)
		commands++
	}
	for range 30 {
		key := [...]string{"keep", "drop"}[rng.IntN(2)]
		switch rng.IntN(10) {
		case 0:
			stream = append(stream, '\n')
		case 1:
			add([...]string{"MULTI", "EXEC", "PING"}[rng.IntN(3)])
		case 2:
			add("SET", key, strings.Repeat("\r\n$3*"[rng.IntN(5):][:1], headSize-60+rng.IntN(120)))
		case 3:
			add("SET", key, strings.Repeat("v", rng.IntN(3*headSize)))
		case 4:
			args := []string{"RPUSH", key}
			for range rng.IntN(200) {
				args = append(args, strings.Repeat("e", rng.IntN(5000)))
			}
			add(args...)
		case 5:
			add("DEL", key, strings.Repeat("x", headSize-40-rng.IntN(20)), "y") // a short rest
		default:
			add("SET", key, strings.Repeat("v", rng.IntN(300)))
		}
	}
	return stream, commands
}

// However the stream is cut into pieces, and wherever the source's connection
// ends, each command is judged once and its bytes arrive as they are, or as
// no-ops of the same length that end in a command.
func TestEditedStreamOverCuts(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			rng := rand.New(rand.NewPCG(seed, 1))
			stream, commands := randomStream(rng)
			editor := &dropper{}
			l := testLink(t, editor)
			const offset = 1000
			l.start.Store(offset + 1)
			l.end.Store(offset)
			l.streamAt.Store(0)
			for connections := 0; l.end.Load() < offset+int64(len(stream)); connections++ {
				rest := stream[l.end.Load()-offset:]
				if connections < 10 {
					rest = rest[:rng.IntN(len(rest)+1)]
				}
				largest := []int{50, 5000, 200_000, 1 << 20}[rng.IntN(4)]
				l.startUpstream(t.Context(), feed(t, "+CONTINUE\r\n", func(w io.Writer, r *bufio.Reader) error {
					go func() { _, _ = io.Copy(io.Discard, r) }() // ACKs
					return pieces(w, rest, func() int { return max(rng.IntN(largest), len(rest)/500) })
				}), false)
				if err := <-l.up.done; !errors.Is(err, io.ErrUnexpectedEOF) && !errors.Is(err, io.ErrClosedPipe) {
					t.Fatal(err)
				}
				l.stopUpstream()
				if _, spooled := l.spool.Range(); spooled > l.end.Load()-offset || spooled < l.end.Load()-offset-int64(resp.MinNoop) {
					t.Fatalf("%d bytes spooled, %d read", spooled, l.end.Load()-offset)
				}
			}
			checkEdited(t, stream, spooled(t, l))
			if editor.judged != commands {
				t.Errorf("%d commands, %d judged", commands, editor.judged)
			}
		})
	}
}

func checkEdited(t *testing.T, in, out []byte) {
	t.Helper()
	if len(in) != len(out) {
		t.Fatalf("%d bytes became %d", len(in), len(out))
	}
	for at := 0; at < len(in); {
		e, err := resp.Scan(in[at:], nil)
		if err != nil {
			t.Fatal(err)
		}
		was, is := in[at:at+e.Size], out[at:at+e.Size]
		at += e.Size
		if _, verdict, _ := new(dropper).Edit(nil, e.Args, e.Total); verdict == Keep {
			if !bytes.Equal(was, is) {
				t.Fatalf("at %d: %.60q became %.60q", at, was, is)
			}
			continue
		}
		last := resp.Extent{}
		for len(is) > 0 {
			if last, err = resp.Scan(is, nil); err != nil || last.Total > 0 && string(last.Args[0]) != "PING" {
				t.Fatalf("at %d: %.60q became %.60q: %v", at, was, is, err)
			}
			is = is[last.Size:]
		}
		if last.Total == 0 {
			t.Errorf("at %d: the no-op of %.60q ends in a newline", at, was)
		}
	}
}

// A stream that is no stream ends the link: no reconnecting would mend it.
func TestBrokenStreamIsFatal(t *testing.T) {
	refusal := errors.New("FLY of key k: not known")
	tests := []struct{ name, in, err string }{
		{"no command", "PING\r\n", "stream at offset 100: resp: byte 0: expected '*'"},
		{"bad length", "*1\r\n$4\r\nPING\r\n*1\r\n$x\r\n12", "stream at offset 114: resp: byte 4: bad length"},
		{"bad length far in", "*3\r\n$3\r\nSET\r\n$" + fmt.Sprint(headSize) + "\r\n" + strings.Repeat("v", headSize) + "\r\n$-1\r\n", "bad length"},
		{"a name without end", "*2\r\n$999999\r\n" + strings.Repeat("v", headSize), "a command's name is longer than"},
		{"refused", "*2\r\n$3\r\nFLY\r\n$1\r\nk\r\n", refusal.Error()},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := testLink(t, judge(func(args [][]byte) error {
				if string(args[0]) == "FLY" {
					return refusal
				}
				return nil
			}))
			l.end.Store(100)
			l.startUpstream(t.Context(), feed(t, "+CONTINUE\r\n", func(w io.Writer, _ *bufio.Reader) error {
				return pieces(w, []byte(tt.in), func() int { return 10_000 })
			}), false)
			err := <-l.up.done
			var fatal *FatalError
			if !errors.As(err, &fatal) || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%v, want %q", err, tt.err)
			}
		})
	}
}

type judge func(args [][]byte) error

func (j judge) Edit(dst []byte, args [][]byte, _ int) ([]byte, Verdict, error) {
	return dst, Keep, j(args)
}
func (judge) Reset(int) {}

func (judge) DB() int { return 0 }

func (judge) LeftOut() []rdb.LeftOut { return nil }

// A spool that cannot be written to ends the link, instead of connecting to
// the source again and again.
func TestSpoolErrorIsFatal(t *testing.T) {
	for _, editor := range []Editor{nil, &dropper{}} {
		l := NewLink(Config{Editor: editor, Spool: spool.Options{Dir: "/nonexistent", DiskLimit: 1 << 30}})
		l.startUpstream(t.Context(), feed(t, "+CONTINUE\r\n", func(w io.Writer, _ *bufio.Reader) error {
			command := resp.AppendCommand(nil, "SET", "key", strings.Repeat("v", 3<<20))
			return pieces(w, command, func() int { return 10_000 })
		}), false)
		err := <-l.up.done
		var fatal *FatalError
		if !errors.As(err, &fatal) || fatal.HintText() == "" || !strings.Contains(err.Error(), "spool: write to disk") {
			t.Errorf("%v", err)
		}
		l.stopUpstream()
	}
}

// Offsets of another stream than the present one move nothing.
func TestAcknowledgeOfAnotherStream(t *testing.T) {
	l := testLink(t, nil)
	l.start.Store(1)
	l.end.Store(100)
	l.streamAt.Store(0)
	if err := l.spool.Write(context.Background(), make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	steps := []struct {
		told        func(int64)
		offset, now int64
	}{
		{l.Acknowledge, 50, notLoaded}, // the target has not loaded yet: what it was asked is of another stream
		{l.acknowledge, 10, 10},
		{l.Acknowledge, 50, 50},
		{l.Acknowledge, 40, 50}, // older than its own ACK
		{l.Acknowledge, 101, 50},
		{l.acknowledge, 101, 50},
		{l.Acknowledge, 100, 100},
	}
	for i, s := range steps {
		s.told(s.offset)
		if got := l.acked.Load(); got != s.now {
			t.Errorf("%d: %d after %d, want %d", i, got, s.offset, s.now)
		}
	}
	if from, _ := l.spool.Range(); from != 100 {
		t.Errorf("released up to %d", from)
	}
	l.forget()
	l.Acknowledge(100)
	if got := l.acked.Load(); got != notLoaded {
		t.Errorf("%d after the stream was forgotten", got)
	}
}
