package rdb_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"runtime/metrics"
	"strings"
	"testing"

	"godwit/internal/rdb"
)

func formats() []rdb.Format {
	list := []rdb.Format{{Family: rdb.Redict, Version: 12}, {Family: rdb.Valkey, Version: 80}}
	for version := 6; version <= 13; version++ {
		list = append(list, rdb.Format{Version: version})
	}
	return list
}

// samples has a value of every kind, small and large.
func samples() []*rdb.Value {
	element := func(s string) rdb.Element { return rdb.Element{Value: []byte(s), ExpireAt: rdb.None} }
	field := func(f, v string, expireAt int64) rdb.Element {
		return rdb.Element{Field: []byte(f), Value: []byte(v), ExpireAt: expireAt}
	}
	member := func(m string, score float64) rdb.Element {
		return rdb.Element{Value: []byte(m), Score: score, ExpireAt: rdb.None}
	}
	long := strings.Repeat("long ", 60)
	id := func(ms, seq uint64) rdb.StreamID { return rdb.StreamID{Ms: ms, Seq: seq} }
	entry := func(id rdb.StreamID, fields ...string) rdb.StreamEntry {
		e := rdb.StreamEntry{ID: id}
		for _, f := range fields {
			e.Fields = append(e.Fields, []byte(f))
		}
		return e
	}
	stream := &rdb.Value{Kind: rdb.StreamValue, Entries: []rdb.StreamEntry{
		entry(id(1, 1), "a", "1"), entry(id(1, 2), "a", "text"), entry(id(7, 0), "b", "-5", "c", long),
	}, Stream: rdb.Stream{
		Length: 3, LastID: id(9, 9), FirstID: id(1, 1), MaxDeletedID: id(9, 9), EntriesAdded: 5,
		Groups: []rdb.StreamGroup{{
			Name: []byte("group"), LastID: id(1, 2), EntriesRead: rdb.None,
			Pending:   []rdb.PendingEntry{{ID: id(1, 1), DeliveredAt: 1234567, Deliveries: 3}},
			Consumers: []rdb.StreamConsumer{{Name: []byte("consumer"), SeenAt: 99, ActiveAt: rdb.None, Pending: []rdb.StreamID{id(1, 1)}}},
		}},
	}}
	idmp := *stream
	idmp.Stream.IDMP = &rdb.StreamIDMP{Duration: 5, MaxSize: 6, Added: 7, Duplicates: 8, Producers: []rdb.StreamProducer{
		{Name: []byte("producer"), IDs: []rdb.ProducedID{{ID: []byte("id"), Entry: id(1, 1)}}},
	}}
	return []*rdb.Value{
		{Kind: rdb.StringValue, Elements: []rdb.Element{element("-12345")}},
		{Kind: rdb.StringValue, Elements: []rdb.Element{element(long)}},
		{Kind: rdb.ListValue, Elements: []rdb.Element{element("a"), element("300"), element(strings.Repeat(long, 40))}},
		{Kind: rdb.SetValue, Elements: []rdb.Element{element("-5"), element("70000")}},
		{Kind: rdb.SetValue, Elements: []rdb.Element{element("a"), element("-1")}},
		{Kind: rdb.SetValue, Elements: []rdb.Element{element("a"), element(long)}},
		{Kind: rdb.HashValue, Elements: []rdb.Element{field("a", "1", rdb.None), field("2", "b", rdb.None)}},
		{Kind: rdb.HashValue, Elements: []rdb.Element{field("a", long, rdb.None)}},
		{Kind: rdb.HashValue, Elements: []rdb.Element{field("a", "1", 1999999999999), field("2", "b", rdb.None), field("c", "", 1999999999998)}},
		{Kind: rdb.ZsetValue, Elements: []rdb.Element{member("a", 0.1), member("b", 5)}},
		{Kind: rdb.ZsetValue, Elements: []rdb.Element{member("a", -1e300), member(long, 7)}},
		stream, &idmp,
		{Kind: rdb.ModuleValue, Module: rdb.ModuleData{ID: 0x40_0000_0000_0401, Data: []byte(moduleItems)}},
	}
}

// chunks is a reader that gives as many bytes at a time as sizes say, in turn.
type chunks struct {
	data  []byte
	sizes []byte
	reads int
}

func (c *chunks) Read(p []byte) (int, error) {
	if len(c.data) == 0 {
		return 0, io.EOF
	}
	n := 1
	if len(c.sizes) > 0 {
		n += int(c.sizes[c.reads%len(c.sizes)])
	}
	n = copy(p, c.data[:min(n, len(c.data))])
	c.data = c.data[n:]
	c.reads++
	return n, nil
}

// allocated is how many bytes the process has allocated ever.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// checkMemory fails if more was allocated than an input of that size justifies:
// LZF makes up to 88 bytes of one, which a growing buffer holds up to twice.
func checkMemory(t *testing.T, before uint64, size int) {
	t.Helper()
	const fixed, perByte = 4 << 20, 1000
	if n := allocated() - before; n > uint64(fixed+perByte*size) {
		t.Errorf("%d bytes were allocated for an input of %d", n, size)
	}
}

// FuzzScan feeds a scanner with anything, in pieces of any size. It must end in an
// error or at the end, hand out just what it was given, and do the same whatever
// the pieces.
func FuzzScan(f *testing.F) {
	for _, format := range formats() {
		for _, v := range samples() {
			var snapshot bytes.Buffer
			w := rdb.NewWriter(&snapshot, format, rdb.WriterOptions{})
			if w.SelectDB(3) == nil && w.Value([]byte("key"), rdb.Attributes{ExpireAt: 5, Idle: 7, Freq: rdb.None}, v) == nil && w.End() == nil {
				f.Add(snapshot.Bytes(), []byte{3, 200})
			}
		}
	}
	f.Add([]byte("REDIS0013"+keyMeta+moduleKey+moduleAux+"\xff"), []byte{})
	f.Add([]byte("VALKEY080"+slotImport+"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff"), []byte{0})
	crc := rdb.NewCRC64()
	f.Fuzz(func(t *testing.T, data, sizes []byte) {
		before := allocated()
		var first error
		for i, o := range []rdb.ScannerOptions{{CRC: crc}, {CRC: crc, Single: rdb.AllCodes(), BufferSize: 1}, {CRC: crc, Single: rdb.AllCodes()}} {
			s := rdb.NewScanner(&chunks{data: data, sizes: sizes}, o)
			var got []byte
			var err error
			for {
				var span *rdb.Span
				if span, err = s.Next(); err != nil {
					break
				}
				got = append(got, span.Bytes...)
			}
			if !bytes.HasPrefix(data, got) {
				t.Fatal("the spans are not the input")
			}
			if i == 0 {
				first = err
			} else if err.Error() != first.Error() && !badKey(err) {
				t.Errorf("error %v, but %v with other options", err, first)
			}
		}
		checkMemory(t, before, len(data))

		// What converts without an error is a snapshot again.
		var converted bytes.Buffer
		c := rdb.NewConverter(&converted, &chunks{data: data, sizes: sizes}, rdb.ConverterOptions{
			To: formats()[len(data)%len(formats())], CRC: crc, BufferSize: 200, Transcoder: rdb.TranscoderOptions{Drop: mayDrop()},
		})
		if err := c.Run(); err == nil {
			scan(t, rdb.NewScanner(&converted, rdb.ScannerOptions{CRC: crc}), nil)
		}
	})
}

// badKey tells whether a key's name could not be decompressed, which only those
// who want it find out.
func badKey(err error) bool { return strings.Contains(err.Error(), "LZF") }

// FuzzDecode decodes anything as a value of any type. What can be decoded must be
// the same in pieces, and after encoding it again, and end where a scanner, which
// has its own way through it, finds its end. FuzzPacked looks at what is in its
// packed parts.
func FuzzDecode(f *testing.F) {
	for i, format := range formats() {
		for _, v := range samples() {
			if t, value, err := format.AppendValue(nil, v); err == nil {
				f.Add(byte(i), byte(t), value, []byte{1})
			}
		}
	}
	const huge = "\x81\x10\x00\x00\x00\x00\x00\x00\x00"
	for t := range 30 {
		f.Add(byte(9), byte(t), []byte(huge), []byte{})
	}
	f.Add(byte(0), byte(rdb.TypeHashZipmap), []byte("\x1a\x02\x03foo\x03\x02bar..\x05hello\x05\x00world\xff"), []byte{2})
	f.Add(byte(1), byte(rdb.TypeString), []byte("\xc3\x04\x06\x00a\x60\x00"), []byte{2})
	f.Fuzz(func(t *testing.T, which, typ byte, data, sizes []byte) {
		format := formats()[int(which)%len(formats())]
		before := allocated()
		value, err := rdb.DecodeValue(format, rdb.Type(typ), data)
		var inPieces counter
		errInPieces := new(rdb.Decoder).DecodeReader(format, rdb.Type(typ), &chunks{data: data, sizes: sizes}, &inPieces)
		checkMemory(t, before, len(data))
		if (err == nil) != (errInPieces == nil) {
			t.Fatalf("error %v, in pieces %v", err, errInPieces)
		}
		if err != nil {
			if syntax := new(rdb.SyntaxError); !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > int64(len(data)) {
				t.Errorf("error %v", err)
			}
			return
		}
		if inPieces.elements != len(value.Elements) || inPieces.entries != len(value.Entries) {
			t.Errorf("%+v in pieces, %d elements, %d entries as a whole", inPieces, len(value.Elements), len(value.Entries))
		}
		checkExtent(t, format, rdb.Type(typ), data)
		for _, to := range formats() {
			checkEncoding(t, to, value)
			tc := rdb.NewTranscoder(format, to, rdb.TranscoderOptions{
				Drop: mayDrop(), Module: func(rdb.ModuleID) bool { return true },
			})
			newType, changed, err := tc.AppendValue(nil, rdb.Type(typ), data)
			if err != nil {
				continue // of a feature, or of a score with more digits than fit
			}
			if _, err := rdb.DecodeValue(to, newType, changed); err != nil {
				t.Errorf("transcoded to %s: %v", to, err)
			}
			var copied bytes.Buffer
			if err := tc.CopyValue(&copied, rdb.Type(typ), &chunks{data: data, sizes: sizes}); err != nil || !bytes.Equal(copied.Bytes(), changed) {
				t.Errorf("transcoded to %s in pieces: %v", to, err)
			}
		}
	})
}

// checkExtent fails unless a scanner finds the value to be just as long.
func checkExtent(t *testing.T, f rdb.Format, typ rdb.Type, value []byte) {
	t.Helper()
	snapshot := snapshotOf(t, f, string(rune(typ)), "\x03key", string(value))
	scan(t, rdb.NewScanner(bytes.NewReader(snapshot), rdb.ScannerOptions{Single: rdb.AllCodes(), BufferSize: 1 << 20}), func(span *rdb.Span) {
		if span.Kind == rdb.KindKey && !span.More && (span.Type != typ || !bytes.Equal(span.Value(), value)) {
			t.Errorf("a scanner finds %s of %d bytes, not %s of %d", span.Type, len(span.Value()), typ, len(value))
		}
	})
}

// checkEncoding encodes a value and decodes it again.
func checkEncoding(t *testing.T, to rdb.Format, value *rdb.Value) {
	t.Helper()
	newType, encoded, err := to.AppendValue(nil, value)
	if noEqual := new(rdb.NoEqualError); errors.As(err, &noEqual) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	again, err := rdb.DecodeValue(to, newType, encoded)
	if err != nil {
		t.Fatalf("encoded for %s as %s: %v", to, newType, err)
	}
	if value.Kind == rdb.StreamValue || value.Kind == rdb.ModuleValue {
		if len(again.Entries)+len(value.Entries) > 0 && !reflect.DeepEqual(again.Entries, value.Entries) || !bytes.Equal(again.Module.Data, value.Module.Data) {
			t.Errorf("encoded for %s it is %+v, was %+v", to, again, value)
		}
		return
	}
	if got, want := describe(again), describe(value); got != want && !hasTwins(value) {
		t.Errorf("encoded for %s it is %s, was %s", to, got, want)
	}
}

// hasTwins tells whether a set holds a member twice, or a field expired in 1970:
// these do not stay as they are.
func hasTwins(v *rdb.Value) bool {
	seen := make(map[string]bool)
	for _, e := range v.Elements {
		if v.Kind == rdb.SetValue && seen[string(e.Value)] || e.ExpireAt == 0 {
			return true
		}
		seen[string(e.Value)] = true
	}
	return false
}

// counter is a Handler that counts.
type counter struct {
	rdb.Ignore
	elements, entries int
}

func (c *counter) Element(rdb.Element) error   { c.elements++; return nil }
func (c *counter) Entry(rdb.StreamEntry) error { c.entries++; return nil }
