package digest_test

import (
	"bytes"
	"errors"
	"io"
	"runtime/metrics"
	"strings"
	"testing"

	"godwit/internal/digest"
	"godwit/internal/rdb"
)

// formats are all that there are; those of Redis from 6 to 13 come last.
func formats() []rdb.Format {
	list := []rdb.Format{{Family: rdb.Redict, Version: 12}, {Family: rdb.Valkey, Version: 80}}
	for version := 6; version <= 13; version++ {
		list = append(list, rdb.Format{Version: version})
	}
	return list
}

// seeds are a few values of every kind.
func seeds() []*rdb.Value {
	element := func(s string) rdb.Element { return rdb.Element{Value: []byte(s), ExpireAt: rdb.None} }
	field := func(f, v string, expireAt int64) rdb.Element {
		return rdb.Element{Field: []byte(f), Value: []byte(v), ExpireAt: expireAt}
	}
	long := strings.Repeat("long ", 60)
	large := strings.Repeat("large and compressible ", 60)
	id := func(ms, seq uint64) rdb.StreamID { return rdb.StreamID{Ms: ms, Seq: seq} }
	entry := func(id rdb.StreamID, fields ...string) rdb.StreamEntry {
		e := rdb.StreamEntry{ID: id}
		for _, f := range fields {
			e.Fields = append(e.Fields, []byte(f))
		}
		return e
	}
	var many []rdb.Element
	for i := range 40 {
		many = append(many, field(strings.Repeat("f", i), strings.Repeat("v", 100*i), rdb.None))
	}
	stream := &rdb.Value{Kind: rdb.StreamValue, Entries: []rdb.StreamEntry{
		entry(id(1, 1), "a", "1"), entry(id(1, 2), "a", "text"), entry(id(7, 0), "b", "-5", "c", long, "d", large),
	}, Stream: rdb.Stream{
		Length: 3, LastID: id(9, 9), FirstID: id(1, 1), MaxDeletedID: id(9, 9), EntriesAdded: 5,
		Groups: []rdb.StreamGroup{{
			Name: []byte("group"), LastID: id(1, 2), EntriesRead: rdb.None,
			Pending: []rdb.PendingEntry{{ID: id(1, 1), DeliveredAt: 1234567, Deliveries: 3}},
			Consumers: []rdb.StreamConsumer{
				{Name: []byte("consumer"), SeenAt: 99, ActiveAt: rdb.None, Pending: []rdb.StreamID{id(1, 1)}},
				{Name: []byte("idle"), SeenAt: 99, ActiveAt: rdb.None},
			},
		}},
	}}
	idmp := *stream
	idmp.Stream.IDMP = &rdb.StreamIDMP{Duration: 5, MaxSize: 6, Added: 7, Duplicates: 8, Producers: []rdb.StreamProducer{
		{Name: []byte("producer"), IDs: []rdb.ProducedID{{ID: []byte("id"), Entry: id(1, 1)}}},
	}}
	return []*rdb.Value{
		{Kind: rdb.StringValue, Elements: []rdb.Element{element("-12345")}},
		{Kind: rdb.StringValue, Elements: []rdb.Element{element(long)}},
		{Kind: rdb.StringValue, Elements: []rdb.Element{element("HYLL\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x5f\xff\x80\x5f\xfe")}},
		{Kind: rdb.ListValue, Elements: []rdb.Element{element("a"), element("300"), element(strings.Repeat(long, 40)), element(large)}},
		{Kind: rdb.SetValue, Elements: []rdb.Element{element("-5"), element("70000")}},
		{Kind: rdb.SetValue, Elements: []rdb.Element{element("a"), element("-1")}},
		{Kind: rdb.SetValue, Elements: []rdb.Element{element("a"), element(long)}},
		{Kind: rdb.HashValue, Elements: []rdb.Element{field("a", "1", rdb.None), field("2", "b", rdb.None)}},
		{Kind: rdb.HashValue, Elements: many},
		{Kind: rdb.HashValue, Elements: []rdb.Element{field("a", "1", 1999999999999), field("2", "b", rdb.None), field("c", "", 1999999999998)}},
		{Kind: rdb.ZsetValue, Elements: []rdb.Element{{Value: []byte("a"), Score: 0.1}, {Value: []byte("b"), Score: 5}}},
		{Kind: rdb.ZsetValue, Elements: []rdb.Element{{Value: []byte("a"), Score: -1e300}, {Value: []byte(long), Score: 7}}},
		stream, &idmp,
		{Kind: rdb.ModuleValue, Module: rdb.ModuleData{ID: 0x40_0000_0000_0401, Data: []byte("\x02\x05\x01\x80\x00\x00\x00\x07\x03abcd\x04abcdefgh\x05\x03abc\x05\xc0\x07\x00")}},
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

// total goes through a snapshot.
func total(s *digest.Snapshot, o digest.Options) (sum uint64, size int64, err error) {
	for {
		e, err := s.Next()
		if err != nil {
			return sum, size, err
		}
		sum += o.Mix(e)
		size += e.Size
	}
}

// FuzzSnapshot digests anything as a snapshot, in pieces of any size and in a
// buffer that next to nothing fits into. The result must be the same, no more
// memory taken than the buffers, and what a Scanner refuses must be refused.
func FuzzSnapshot(f *testing.F) {
	for _, format := range formats() {
		for _, v := range seeds() {
			var snapshot bytes.Buffer
			w := rdb.NewWriter(&snapshot, format, rdb.WriterOptions{})
			if w.SelectDB(3) == nil && w.Value([]byte("key"), rdb.Attributes{ExpireAt: 5, Idle: 7, Freq: rdb.None}, v) == nil && w.End() == nil {
				f.Add(snapshot.Bytes(), []byte{3, 200})
			}
		}
	}
	f.Add([]byte("REDIS0013\xf3\x01abcd\x02\x07\x00\x00\x01k\x01v\xff\x00\x00\x00\x00\x00\x00\x00\x00"), []byte{})
	crc := rdb.NewCRC64()
	f.Fuzz(func(t *testing.T, data, sizes []byte) {
		o := digest.Options{Seed: seed}
		before := allocated()
		sum, size, err := total(digest.NewSnapshot(&chunks{data: data, sizes: sizes}, o), o)
		smallSum, smallSize, smallErr := total(digest.NewSmallSnapshot(&chunks{data: data, sizes: sizes}, o, 1), o)
		const buffers = 4 << 20
		if n := allocated() - before; n > uint64(buffers+4*len(data)) {
			t.Errorf("%d bytes were allocated for an input of %d", n, len(data))
		}
		if errors.Is(err, io.EOF) != errors.Is(smallErr, io.EOF) {
			t.Fatalf("error %v, in pieces %v", err, smallErr)
		}
		if !errors.Is(err, io.EOF) {
			return
		}
		if sum != smallSum || size != smallSize {
			t.Errorf("%x of %d bytes, in pieces %x of %d", sum, size, smallSum, smallSize)
		}
		s := rdb.NewScanner(bytes.NewReader(data), rdb.ScannerOptions{CRC: crc})
		for err = nil; err == nil; {
			_, err = s.Next()
		}
		if !errors.Is(err, io.EOF) {
			t.Errorf("a scanner says %v", err)
		}
	})
}

// FuzzPayload digests anything as a value of any type. What a Decoder can decode,
// and nothing else, has a digest, the same one as from its parts and from another
// encoding. A Decoder reads through a Reader too, but what a value of a type and a
// stream's node are made of both know by themselves; what is in packed values has
// an oracle in package rdb (FuzzPacked).
func FuzzPayload(f *testing.F) {
	for i, format := range formats() {
		for _, v := range seeds() {
			if t, value, err := format.AppendValue(nil, v); err == nil {
				f.Add(byte(i), byte(t), value)
			}
		}
	}
	for i, format := range formats() {
		for _, sample := range format.Samples() {
			f.Add(byte(i), byte(sample.Type), sample.Value)
		}
	}
	f.Add(byte(0), byte(rdb.TypeHashZipmap), []byte("\x1a\x02\x03foo\x03\x02bar..\x05hello\x05\x00world\xff"))
	f.Add(byte(1), byte(rdb.TypeString), []byte("\xc3\x04\x06\x00a\x60\x00"))
	crc := rdb.NewCRC64()
	f.Fuzz(func(t *testing.T, which, typ byte, data []byte) {
		format := formats()[int(which)%len(formats())]
		if format.Family == rdb.Redict {
			format.Family = rdb.Redis // a payload does not tell them apart
		}
		// Streams of version 9 have no counters.
		o := digest.Options{Seed: seed, Formats: []rdb.Format{{Version: 9}}}
		payload := append([]byte{typ}, data...)
		got, err := digest.NewPayloads(o).Sum(rdb.AppendDumpFooter(payload, 0, format, crc))
		s := digest.NewSummer(o)
		s.Begin(rdb.Type(typ).Kind())
		want := new(rdb.Decoder).Decode(format, rdb.Type(typ), data, s)
		if rdb.Opcode(typ) == rdb.OpcodeKeyMeta {
			return // not what a Decoder is for
		}
		if (err == nil) != (want == nil) {
			t.Fatalf("error %v, from a Decoder %v", err, want)
		}
		if err != nil {
			if syntax := new(rdb.SyntaxError); !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > int64(len(payload)) {
				t.Errorf("error %v", err)
			}
			return
		}
		if v := s.Value(); got != v {
			t.Errorf("%+v, from its parts %+v", got, v)
		}
		value, err := rdb.DecodeValue(format, rdb.Type(typ), data)
		if err != nil || hasTwins(value) {
			return
		}
		for _, to := range formats() {
			newType, body, err := to.AppendValue(nil, value)
			if err != nil || to.Family == rdb.Redict {
				continue
			}
			again, err := digest.NewPayloads(o).Sum(rdb.AppendDumpFooter(append([]byte{byte(newType)}, body...), 0, to, crc))
			if err != nil || got != again {
				t.Errorf("%+v, encoded for %s as %s %+v (%v)", got, to, newType, again, err)
			}
		}
	})
}

// hasTwins tells whether a set holds a member twice, or a field expired in 1970:
// these do not stay as they are. Nor does a stream's counted length that is none.
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
