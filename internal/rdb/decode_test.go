package rdb_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"godwit/internal/rdb"
)

// TestDecodeErrors decodes malformed values: the error names the byte.
func TestDecodeErrors(t *testing.T) {
	const huge = "\x81\x10\x00\x00\x00\x00\x00\x00\x00" // 2^60
	const stream3 = rdb.TypeStreamListpacks3
	redis13, valkey80 := rdb.Format{Version: 13}, rdb.Format{Family: rdb.Valkey, Version: 80}
	for _, test := range []struct {
		format rdb.Format
		typ    rdb.Type
		value  string
		offset int64
	}{
		{redis13, rdb.TypeString, "", 0},
		{redis13, rdb.TypeString, "\x05abc", 4},
		{redis13, rdb.TypeString, "\x03abcd", 4},
		{redis13, rdb.TypeString, "\x82", 0},
		{redis13, rdb.TypeString, "\xc4", 0},
		{redis13, rdb.TypeString, huge, 9},
		{redis13, rdb.TypeString, "\xc3\x01" + huge + "a", 0},
		{redis13, rdb.TypeString, "\xc3\x04\x07\x00a\x60\x00", 0},
		{redis13, rdb.TypeList, "\x02\x01a\xc7", 3},
		{redis13, rdb.TypeList, huge + "\x01a", 11},
		{redis13, rdb.TypeZset2, "\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x7f", 11},
		{redis13, rdb.TypeZset, "\x01\x01a\xfd", 4},
		{redis13, rdb.TypeZset, "\x01\x01a\x031.x", 7},
		{redis13, rdb.TypeListQuicklist2, "\x01\x03\x01a", 2},
		{redis13, rdb.TypeHashListpack, "\x07\x07\x00\x00\x00\x01\x00\xff", 0},
		{redis13, rdb.TypeHashMetadata, strings.Repeat("\xff", 8) + "\x01", 8},
		{redis13, rdb.TypeHashMetadata, "\x01\x00\x00\x00\x00\x00\x00\x00\x01" + huge + "\x01a\x01b", 18},
		{valkey80, rdb.TypeHash2, "\x01\x01a\x01b\xfe\xff\xff\xff\xff\xff\xff\xff", 13},
		{redis13, stream3, "\x01\x0f" + strings.Repeat("x", 15), 1},
		{redis13, stream3, "\x00\x00\x00\x00\x00\x00\x00\x00\x00" + huge, 18},
		{redis13, rdb.TypeModule2, "\x05\x06", 1},
		{redis13, rdb.TypeModule2, "\x05\x00\x00", 2},
		{rdb.Format{Version: 9}, rdb.TypeHashListpack, "\x00", 0},
		{redis13, rdb.TypeModulePreGA, "\x00", 0},
		{redis13, 200, "\x00", 0},
	} {
		for name, decode := range map[string]func() error{
			"whole": func() error { return new(rdb.Decoder).Decode(test.format, test.typ, []byte(test.value), rdb.Ignore{}) },
			"bytes": func() error {
				return new(rdb.Decoder).DecodeReader(test.format, test.typ, iotest.OneByteReader(strings.NewReader(test.value)), rdb.Ignore{})
			},
		} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			err := decode()
			runtime.ReadMemStats(&after)
			var syntax *rdb.SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset != test.offset {
				t.Errorf("%s %q, %s: %v, want it at byte %d", test.typ, test.value, name, err, test.offset)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 1<<20 {
				t.Errorf("%s %q, %s: %d bytes were allocated", test.typ, test.value, name, n)
			}
		}
	}
}

// failing is a Handler whose every method fails.
type failing struct{ err error }

func (f failing) Element(rdb.Element) error   { return f.err }
func (f failing) Entry(rdb.StreamEntry) error { return f.err }
func (f failing) Stream(*rdb.Stream) error    { return f.err }
func (f failing) Module(rdb.ModuleData) error { return f.err }

// TestHandlerErrors sees that errors of the handler and the reader come out as
// they are.
func TestHandlerErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, f := range formats() {
		for _, v := range samples() {
			typ, value, err := f.AppendValue(nil, v)
			if err != nil {
				continue
			}
			if err := new(rdb.Decoder).Decode(f, typ, value, failing{broken}); err != broken { //nolint:errorlint // it must be the very same
				t.Errorf("%s of %s: %v", typ, f, err)
			}
			r := io.MultiReader(bytes.NewReader(value[:len(value)/2]), iotest.ErrReader(broken))
			if err := new(rdb.Decoder).DecodeReader(f, typ, r, rdb.Ignore{}); !errors.Is(err, broken) {
				t.Errorf("%s of %s, the reader fails: %v", typ, f, err)
			}
		}
	}
}

// endless gives a value that is made while it is read: a count and as many copies
// of an element.
type endless struct {
	rest    []byte
	element []byte
	left    int
}

func (e *endless) Read(p []byte) (int, error) {
	if len(e.rest) == 0 {
		if e.left == 0 {
			return 0, io.EOF
		}
		e.left--
		e.rest = e.element
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// TestLargeValuesNeedLittleMemory rewrites and decodes values of 128 MiB.
func TestLargeValuesNeedLittleMemory(t *testing.T) {
	const count, size = 1 << 13, 16 << 10
	head := "\x80\x00\x00\x20\x00" // the count
	text := "\x80\x00\x00\x40\x00" + strings.Repeat("x", size)
	for _, test := range []struct {
		from, to      rdb.Format
		typ           rdb.Type
		head, element string
	}{
		{rdb.Format{Version: 10}, rdb.Format{Version: 9}, rdb.TypeListQuicklist2, head, "\x01" + text},
		{rdb.Format{Version: 12}, rdb.Format{Family: rdb.Valkey, Version: 80}, rdb.TypeHashMetadata, "\x09\x00\x00\x00\x00\x00\x00\x00" + head, "\x02\x01f" + text},
		{rdb.Format{Version: 12}, rdb.Format{Version: 11}, rdb.TypeHashMetadataPreGA, head, "\x00\x01f" + text},
		{rdb.Format{Family: rdb.Valkey, Version: 80}, rdb.Format{Version: 12}, rdb.TypeHash2, head, "\x01f" + text + "\x09\x00\x00\x00\x00\x00\x00\x00"},
	} {
		value := func() io.Reader {
			return &endless{rest: []byte(test.head), element: []byte(test.element), left: count}
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		tc := rdb.NewTranscoder(test.from, test.to, rdb.TranscoderOptions{})
		written := new(tally)
		if err := tc.CopyValue(written, test.typ, value()); err != nil {
			t.Fatal(err)
		}
		if err := new(rdb.Decoder).DecodeReader(test.from, test.typ, value(), rdb.Ignore{}); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if *written < count*size {
			t.Errorf("%s: %d bytes were written", test.typ, *written)
		}
		if n := after.TotalAlloc - before.TotalAlloc; n > 4<<20 {
			t.Errorf("%s: %d bytes were allocated", test.typ, n)
		}
	}
}

// tally counts what is written.
type tally int64

func (n *tally) Write(p []byte) (int, error) { *n += tally(len(p)); return len(p), nil }
