package rdb_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
	"testing/iotest"

	"godwit/internal/dataset"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// scan reads a snapshot to its end and returns the spans' bytes, joined.
func scan(tb testing.TB, s *rdb.Scanner, each func(*rdb.Span)) []byte {
	tb.Helper()
	var all []byte
	for {
		span, err := s.Next()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			tb.Fatal(err)
		}
		if span.Offset != int64(len(all)) {
			tb.Fatalf("a span at %d after %d bytes", span.Offset, len(all))
		}
		all = append(all, span.Bytes...)
		if each != nil {
			each(span)
		}
	}
}

// TestScanServers goes through the snapshot of every server, in spans of several
// kinds and with reads of several sizes: every byte comes out, in order.
func TestScanServers(t *testing.T) {
	for _, subject := range subjects() {
		t.Run(subject.name, func(t *testing.T) {
			t.Parallel()
			source := filled(t, subject.name, dataset.Options{Keys: 400, DBs: []int{0, 3}, VectorSets: true})
			client := sandboxtest.Client(t, source)
			fillBoundaries(t, client)
			info, err := client.Info(t.Context(), "keyspace")
			if err != nil {
				t.Fatal(err)
			}
			snapshot := saved(t, source)

			keys := make(map[int]int64)
			whole := rdb.NewScanner(bytes.NewReader(snapshot), rdb.ScannerOptions{Single: rdb.AllCodes(), BufferSize: 1 << 20})
			got := scan(t, whole, func(s *rdb.Span) {
				if s.Kind == rdb.KindKey {
					keys[s.DB]++
					if _, err := rdb.DecodeValue(whole.Format(), s.Type, s.Value()); err != nil {
						t.Errorf("key %.60q of type %s: %v", s.Key, s.Type, err)
					}
				}
			})
			if !bytes.Equal(got, snapshot) {
				t.Error("the spans are not the snapshot")
			}
			if whole.Format().String() != subject.format.String() {
				t.Errorf("format %s, want %s", whole.Format(), subject.format)
			}
			for db, n := range keys {
				if want := dbSize(info, db); want != n {
					t.Errorf("db %d has %d keys, want %d", db, n, want)
				}
			}
			if keys[0] == 0 || keys[3] == 0 {
				t.Errorf("keys by db: %v", keys)
			}
			for _, o := range []rdb.ScannerOptions{
				{}, {BufferSize: 1}, {NoChecksum: true}, {BufferSize: 1000, Single: rdb.AllCodes()},
			} {
				readers := map[string]io.Reader{
					"whole":    bytes.NewReader(snapshot),
					"halves":   iotest.HalfReader(bytes.NewReader(snapshot)),
					"data+EOF": iotest.DataErrReader(bytes.NewReader(snapshot)),
					"small":    &chunks{data: snapshot, sizes: []byte{0, 100, 3, 200, 1}},
				}
				for name, r := range readers {
					s := rdb.NewScanner(r, o)
					if got := scan(t, s, nil); !bytes.Equal(got, snapshot) {
						t.Errorf("%s, %+v: the spans are not the snapshot", name, o)
					}
					if s.Keys() != keys[0]+keys[3] {
						t.Errorf("%s: %d keys, want %d", name, s.Keys(), keys[0]+keys[3])
					}
				}
			}
		})
	}
}

func TestScannerIsFed(t *testing.T) {
	snapshot := saved(t, filled(t, "redis-7.0", dataset.Options{Keys: 500}))
	after := []byte("*1\r\n$4\r\nPING\r\n")
	stream := append(bytes.Clone(snapshot), after...)
	for _, size := range []int{1, 7, 4096, len(stream)} {
		s := rdb.NewScanner(nil, rdb.ScannerOptions{BufferSize: 512})
		var got []byte
		rest := stream
		for {
			span, err := s.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if errors.Is(err, rdb.ErrNeedMore) {
				n := min(size, len(rest))
				s.Feed(rest[:n])
				rest = rest[n:]
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, span.Bytes...)
		}
		if !bytes.Equal(got, snapshot) {
			t.Errorf("fed with %d bytes at a time: the spans are not the snapshot", size)
		}
		if left := append(bytes.Clone(s.Buffered()), rest...); !bytes.Equal(left, after) {
			t.Errorf("fed with %d bytes at a time: %q is left, want %q", size, left, after)
		}
	}
}

// TestScannerErrors damages a snapshot: each damage is found, and named with its place.
func TestScannerErrors(t *testing.T) {
	server := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	if _, err := sandboxtest.Client(t, server).Do(t.Context(), "SET", "key", "the value"); err != nil {
		t.Fatal(err)
	}
	snapshot := saved(t, server)
	next := func(snapshot []byte) error {
		s := rdb.NewScanner(bytes.NewReader(snapshot), rdb.ScannerOptions{})
		for {
			if _, err := s.Next(); err != nil {
				return err
			}
		}
	}
	change := func(at int, b byte) []byte {
		changed := bytes.Clone(snapshot)
		changed[at] = b
		return changed
	}
	if err := next(snapshot); !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	value := bytes.Index(snapshot, []byte("the value"))
	var checksum *rdb.ChecksumError
	if err := next(change(value, 'T')); !errors.As(err, &checksum) {
		t.Errorf("a changed value: %v", err)
	}
	unchecked := bytes.Clone(snapshot)
	clear(unchecked[len(unchecked)-8:])
	unchecked[value] = 'T'
	if err := next(unchecked); !errors.Is(err, io.EOF) {
		t.Errorf("a snapshot without a checksum: %v", err)
	}
	var format *rdb.FormatError
	for _, header := range []string{"REDIS0014", "REDIS0005", "VALKEY081", "VALKEY011", "REDIS00 9", "RIDES0009", "REDIS+009"} {
		if err := next(append([]byte(header), snapshot[9:]...)); !errors.As(err, &format) {
			t.Errorf("header %s: %v", header, err)
		}
	}
	var syntax *rdb.SyntaxError
	keyAt := value - len("\x00\x03key\x09")
	if err := next(change(keyAt, 26)); !errors.As(err, &syntax) || syntax.Offset != int64(keyAt) {
		t.Errorf("an unknown type at byte %d: %v", keyAt, err)
	}
	if err := next(change(value-1, 0xc9)); !errors.As(err, &syntax) || syntax.Offset != int64(value-1) {
		t.Errorf("a string of no known encoding at byte %d: %v", value-1, err)
	}
	var read *rdb.ReadError
	for n := range snapshot {
		if err := next(snapshot[:n]); !errors.As(err, &read) || !errors.Is(err, io.ErrUnexpectedEOF) || read.Offset != int64(n) {
			t.Errorf("cut short after %d bytes: %v", n, err)
		}
	}
	broken := errors.New("broken")
	s := rdb.NewScanner(io.MultiReader(bytes.NewReader(snapshot[:20]), iotest.ErrReader(broken)), rdb.ScannerOptions{})
	for {
		_, err := s.Next()
		if err == nil {
			continue
		}
		if !errors.Is(err, broken) {
			t.Errorf("a broken reader: %v", err)
		}
		break
	}
}

// TestLargeValueInPieces sees that a value larger than the buffer needs no more
// memory than that, and that its key is known before it.
func TestLargeValueInPieces(t *testing.T) {
	const size = 16 << 20
	var snapshot bytes.Buffer
	w := rdb.NewWriter(&snapshot, rdb.Format{Version: 9}, rdb.WriterOptions{})
	attributes := rdb.Attributes{ExpireAt: 1234, Idle: rdb.None, Freq: 7}
	value := &rdb.Value{Kind: rdb.StringValue, Elements: []rdb.Element{{Value: make([]byte, size)}}}
	if err := errors.Join(w.SelectDB(5), w.Value([]byte("large"), attributes, value), w.End()); err != nil {
		t.Fatal(err)
	}
	const buffer = 32 << 10
	s := rdb.NewScanner(&snapshot, rdb.ScannerOptions{Single: rdb.AllCodes(), BufferSize: buffer})
	var pieces, total int
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for {
		span, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if len(span.Bytes) > buffer {
			t.Fatalf("a span of %d bytes", len(span.Bytes))
		}
		switch span.Kind {
		case rdb.KindKey:
			if string(span.Key) != "large" || span.DB != 5 || span.Attributes != attributes || !span.More {
				t.Errorf("key %q of db %d, %+v", span.Key, span.DB, span.Attributes)
			}
			total += len(span.Value())
			pieces++
		case rdb.KindRest:
			total += len(span.Bytes)
			pieces++
		}
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 3*buffer {
		t.Errorf("%d bytes were allocated", n)
	}
	if total != size+5 { // a length of 32 bits comes first
		t.Errorf("%d bytes of the value, want %d", total, size+5)
	}
	if pieces < size/buffer {
		t.Errorf("%d pieces", pieces)
	}
}
