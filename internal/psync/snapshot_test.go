package psync_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"godwit/internal/psync"
)

// streamOf attaches to a primary that sends reply after its +FULLRESYNC, and then
// hangs up.
func streamOf(t *testing.T, reply string) (*psync.Stream, psync.SnapshotHeader) {
	t.Helper()
	begun := make(chan struct{})
	defer close(begun)
	conn := play(t, func(s *script) error {
		return first(
			func() error { return s.handshake("?", "-1") },
			func() error { return s.reply("+FULLRESYNC " + id + " 7\r\n") },
			func() error { return s.reply(reply) },
			func() error { <-begun; return s.hangUp() }, // a pipe that is closed takes no deadline
		)
	})
	stream, _, err := psync.Attach(t.Context(), conn, psync.Hello{}, "?", psync.NoOffset, nil)
	if err != nil {
		t.Fatal(err)
	}
	header, err := stream.SnapshotHeader(nil)
	if err != nil {
		t.Fatal(err)
	}
	return stream, header
}

func TestSnapshot(t *testing.T) {
	tests := []struct {
		name, reply, want string
		err               error
	}{
		{name: "by length", reply: "$8\r\nsnap|shot", want: "snapshot"},
		{name: "by length, the stream follows", reply: "$8\r\nsnap|shot*1\r\n$4\r\nPING\r\n", want: "snapshot"},
		{name: "by mark", reply: "$EOF:" + mark + "\r\nsnapshot" + mark, want: "snapshot"},
		{name: "mark in pieces", reply: "$EOF:" + mark + "\r\n|snapshot" + mark[:1] + "|" + mark[1:39] + "|" + mark[39:], want: "snapshot"},
		{name: "half a mark within", reply: "$EOF:" + mark + "\r\nsnap" + mark[:20] + "|shot" + mark[:39] + "|" + mark, want: "snap" + mark[:20] + "shot" + mark[:39]},
		{name: "longer than any buffer", reply: "$EOF:" + mark + "\r\n" + strings.Repeat("0123456789", 50_000) + mark, want: strings.Repeat("0123456789", 50_000)},
		{name: "nothing but a mark", reply: "$EOF:" + mark + "\r\n" + mark},
		{name: "cut short", reply: "$9\r\nsnapshot", want: "snapshot", err: io.ErrUnexpectedEOF},
		{name: "mark cut short", reply: "$EOF:" + mark + "\r\nsnap|shot" + mark[:39], want: "snapsho", err: io.ErrUnexpectedEOF},
		{name: "before its first byte", reply: "$EOF:" + mark + "\r\n", err: io.ErrUnexpectedEOF},
	}
	for _, tt := range tests {
		for _, reads := range []struct {
			name string
			of   func(io.Reader) io.Reader
		}{{"at once", func(r io.Reader) io.Reader { return r }}, {"a byte a time", iotest.OneByteReader}} {
			t.Run(tt.name+", "+reads.name, func(t *testing.T) {
				stream, header := streamOf(t, tt.reply)
				snapshot := stream.Snapshot(header)
				got, err := io.ReadAll(reads.of(snapshot))
				if string(got) != tt.want || !errors.Is(err, tt.err) {
					t.Errorf("%d bytes %.80q, %v; want %d bytes %.80q, %v", len(got), got, err, len(tt.want), tt.want, tt.err)
				}
				want := tt.err
				if want == nil {
					want = io.EOF
				}
				if n, err := snapshot.Read(make([]byte, 10)); n != 0 || !errors.Is(err, want) {
					t.Errorf("after its end %d bytes, %v", n, err)
				}
			})
		}
	}
}

// The stream that follows a snapshot is left to be read.
func TestSnapshotEndsWhereTheStreamBegins(t *testing.T) {
	stream, header := streamOf(t, "$8\r\nsnapshot*1\r\n$4\r\nPING\r\n")
	if begin, err := stream.Peek(4); err != nil || string(begin) != "snap" {
		t.Fatalf("%q, %v", begin, err)
	}
	if _, err := io.Copy(io.Discard, stream.Snapshot(header)); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(stream)
	if err != nil || string(rest) != "*1\r\n$4\r\nPING\r\n" {
		t.Errorf("%q, %v", rest, err)
	}
}

// However the bytes come, a snapshot ends with its last one.
func TestExtentInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		content := rapid.SliceOfN(rapid.Byte(), 1, 300).Draw(t, "content")
		header := psync.SnapshotHeader{Length: int64(len(content))}
		all := content
		if rapid.Bool().Draw(t, "mark") {
			header = psync.SnapshotHeader{Length: -1, Mark: []byte(mark)}
			all = append(bytes.Clone(content), mark...)
		}
		extent := header.Extent()
		for rest := all; len(rest) > 0; {
			n := rapid.IntRange(1, min(len(rest), 90)).Draw(t, "piece")
			if header.Mark == nil {
				if room := extent.Fit(make([]byte, 1000)); len(room) != len(rest) {
					t.Fatalf("room for %d, want %d", len(room), len(rest))
				}
			}
			ended := extent.Ends(rest[:n])
			if rest = rest[n:]; ended != (len(rest) == 0) {
				t.Fatalf("%s: ended %v before the last %d", fmt.Sprint(header.Length), ended, len(rest))
			}
		}
	})
}

func TestAttachForTheSnapshotAlone(t *testing.T) {
	for _, reply := range []string{"+OK\r\n", "-ERR Unrecognized REPLCONF option: rdb-only\r\n"} {
		conn := play(t, func(s *script) error {
			return first(
				func() error { return s.expect("PING") },
				func() error { return s.reply("+PONG\r\n") },
				func() error { return s.expect("REPLCONF", "listening-port", "0") },
				func() error { return s.reply("+OK\r\n") },
				func() error { return s.expect("REPLCONF", "rdb-only", "1") },
				func() error { return s.reply(reply) },
				func() error { return s.expect("PSYNC", "?", "-1") },
				func() error { return s.reply("+FULLRESYNC " + id + " 42\r\n") },
			)
		})
		if _, _, err := psync.Attach(t.Context(), conn, psync.Hello{RDBOnly: true}, "?", psync.NoOffset, nil); err != nil {
			t.Errorf("%q: %v", reply, err)
		}
	}
}
