package digest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"godwit/internal/digest"
	"godwit/internal/rdb"
)

// sumOf digests a value as format f saves it.
func sumOf(t rapid.TB, o digest.Options, f rdb.Format, v *rdb.Value) digest.Value {
	t.Helper()
	typ, body, err := f.AppendValue(nil, v)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := digest.NewPayloads(o).Sum(rdb.AppendDumpFooter(append([]byte{byte(typ)}, body...), 0, f, rdb.NewCRC64()))
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

// text is often an integer, now and then long.
func text() *rapid.Generator[[]byte] {
	return rapid.OneOf(
		rapid.Map(rapid.Int64(), func(n int64) []byte { return strconv.AppendInt(nil, n, 10) }),
		rapid.Map(rapid.Int64Range(-130, 5000), func(n int64) []byte { return strconv.AppendInt(nil, n, 10) }),
		rapid.SliceOfN(rapid.SampledFrom([]byte("01-a\x00\xff")), 0, 24),
		rapid.Map(rapid.IntRange(0, 300), func(n int) []byte { return bytes.Repeat([]byte("long"), n) }),
	)
}

// value is a string, list, set, hash or zset.
func value() *rapid.Generator[*rdb.Value] {
	return rapid.Custom(func(t *rapid.T) *rdb.Value {
		v := &rdb.Value{Kind: rapid.SampledFrom([]rdb.ValueKind{rdb.StringValue, rdb.ListValue, rdb.SetValue, rdb.HashValue, rdb.ZsetValue}).Draw(t, "kind")}
		n := 1
		if v.Kind != rdb.StringValue {
			n = rapid.IntRange(1, 30).Draw(t, "elements")
		}
		seen := make(map[string]bool)
		for range n {
			e := rdb.Element{Value: text().Draw(t, "value"), ExpireAt: rdb.None}
			name := &e.Value
			switch v.Kind {
			case rdb.HashValue:
				e.Field = text().Draw(t, "field")
				name = &e.Field
			case rdb.ZsetValue:
				e.Score = rapid.Float64().Filter(func(f float64) bool { return !math.IsNaN(f) }).Draw(t, "score")
			}
			if v.Kind == rdb.ListValue || !seen[string(*name)] {
				v.Elements = append(v.Elements, e)
			}
			seen[string(*name)] = true
		}
		return v
	})
}

func TestFormatsAndOrderDoNotCount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := digest.Options{Seed: rapid.Uint64().Draw(t, "seed")}
		v := value().Draw(t, "value")
		want := sumOf(t, o, rdb.Format{Version: 12}, v)
		if v.Kind != rdb.ListValue {
			v.Elements = rapid.Permutation(v.Elements).Draw(t, "order")
		}
		for _, f := range []rdb.Format{{Version: 6}, {Version: 9}, {Version: 10}, {Version: 11}, {Family: rdb.Valkey, Version: 80}} {
			if got := sumOf(t, o, f, v); got != want {
				t.Fatalf("in %s it is %+v, want %+v", f, got, want)
			}
		}
	})
}

func TestEveryChangeCounts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := digest.Options{Seed: rapid.Uint64().Draw(t, "seed")}
		f := rdb.Format{Version: 12}
		v := value().Draw(t, "value")
		before := sumOf(t, o, f, v)
		i := rapid.IntRange(0, len(v.Elements)-1).Draw(t, "element")
		e := &v.Elements[i]
		switch change := rapid.SampledFrom([]string{"byte", "longer", "more", "score", "ttl", "order"}).Draw(t, "change"); {
		case change == "byte" && len(e.Value) > 0:
			e.Value = bytes.Clone(e.Value)
			e.Value[rapid.IntRange(0, len(e.Value)-1).Draw(t, "at")] ^= 1 << rapid.IntRange(0, 7).Draw(t, "bit")
		case change == "more" && v.Kind != rdb.StringValue:
			v.Elements = append(v.Elements, rdb.Element{Value: []byte("one more"), Field: []byte("one more"), ExpireAt: rdb.None})
		case change == "score" && v.Kind == rdb.ZsetValue:
			if next := math.Nextafter(e.Score, math.Inf(1)); next != e.Score {
				e.Score = next
			} else {
				e.Score = 1
			}
		case change == "ttl" && v.Kind == rdb.HashValue:
			e.ExpireAt = 1999999999999
		case change == "order" && v.Kind == rdb.ListValue && i > 0 && !bytes.Equal(v.Elements[i-1].Value, e.Value):
			v.Elements[i-1], v.Elements[i] = v.Elements[i], v.Elements[i-1]
		default:
			e.Value = append(bytes.Clone(e.Value), 0)
		}
		if v.Kind == rdb.SetValue || v.Kind == rdb.ZsetValue {
			var names []string
			for _, e := range v.Elements {
				names = append(names, string(e.Value))
			}
			slices.Sort(names)
			if len(slices.Compact(names)) != len(v.Elements) {
				t.Skip("a member twice")
			}
		}
		if after := sumOf(t, o, f, v); after == before {
			t.Fatalf("still %+v", after)
		}
	})
}

func TestTextInPieces(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := digest.Options{Seed: rapid.Uint64().Draw(t, "seed")}
		pieces := rapid.SliceOfN(rapid.OneOf(text(), rapid.SliceOfN(rapid.Byte(), 0, 200)), 0, 6).Draw(t, "pieces")
		if whole, inPieces := digest.Text(o, pieces...); whole != inPieces {
			t.Fatalf("%x, in pieces %x", whole, inPieces)
		}
	})
}

// Texts that differ in a bit or in their length, of all lengths, hash to numbers
// that are all different, also in their lower 24 bits but for what is to be
// expected.
func TestTextsDoNotCollide(t *testing.T) {
	o := digest.Options{Seed: seed}
	seen, low := make(map[uint64]bool), make(map[uint64]bool)
	count := 0
	add := func(p []byte) {
		h, _ := digest.Text(o, p)
		seen[h], low[h&(1<<24-1)] = true, true
		count++
	}
	for n := range 200 {
		p := make([]byte, n)
		add(p)
		for i := range 8 * n {
			p[i/8] ^= 1 << (i % 8)
			add(p)
			p[i/8] ^= 1 << (i % 8)
		}
	}
	if len(seen) != count {
		t.Errorf("%d texts, %d hashes", count, len(seen))
	}
	expected := (1 << 24) * (1 - math.Exp(-float64(count)/(1<<24)))
	if math.Abs(float64(len(low))-expected) > 600 {
		t.Errorf("%d texts, %d lower parts, %.0f expected", count, len(low), expected)
	}
}

// A HyperLogLog is its registers; what is none is its bytes.
func TestHyperLogLog(t *testing.T) {
	o := digest.Options{Seed: seed}
	sum := func(p []byte) uint64 {
		v := sumOf(t, o, rdb.Format{Version: 10}, &rdb.Value{Kind: rdb.StringValue, Elements: []rdb.Element{{Value: p}}})
		s := digest.NewSummer(o)
		s.Begin(rdb.StringValue)
		for p := range slices.Chunk(p, 7) {
			s.StringPart(p)
		}
		if got := s.Value(); got != v {
			t.Errorf("in pieces %+v, want %+v", got, v)
		}
		return v.Sum
	}
	header := func(encoding byte, card uint64) []byte {
		return binary.LittleEndian.AppendUint64([]byte{'H', 'Y', 'L', 'L', encoding, 0, 0, 0}, card)
	}
	// 16384 registers: 100 zeros, 2 of 5, zeros.
	sparse := append(header(1, 7), 0x40, 99, 0x80|4<<2|1, 0x40|(16281>>8), 16281&0xff)
	dense := append(header(0, 9), make([]byte, 12288)...)
	for _, register := range []int{100, 101} {
		bits := uint16(5) << (register * 6 % 8)
		dense[16+register*6/8] |= byte(bits)
		dense[16+register*6/8+1] |= byte(bits >> 8)
	}
	if sum(sparse) != sum(dense) {
		t.Error("sparse and dense differ")
	}
	other := bytes.Clone(dense)
	other[2000] ^= 1
	if sum(other) == sum(dense) {
		t.Error("another register makes no difference")
	}
	for _, p := range [][]byte{sparse[:len(sparse)-1], dense[:len(dense)-1], append(bytes.Clone(dense), 0), append(header(2, 0), 1), header(1, 1)} {
		changed := bytes.Clone(p)
		changed[8]++ // the count, if it were one
		if sum(p) == sum(changed) {
			t.Errorf("a string of %d bytes is taken for a HyperLogLog", len(p))
		}
	}
}

// Nothing is allocated per key.
func TestAllocatesNothingPerKey(t *testing.T) {
	format := rdb.Format{Version: 13}
	var payloads [][]byte
	var snapshot bytes.Buffer
	w := rdb.NewWriter(&snapshot, format, rdb.WriterOptions{})
	const rounds = 200
	for range rounds {
		for _, v := range seeds() {
			must(t, w.Value([]byte("some key"), rdb.Attributes{ExpireAt: rdb.None, Idle: rdb.None, Freq: rdb.None}, v))
		}
	}
	must(t, w.End())
	for _, v := range seeds() {
		typ, body, err := format.AppendValue(nil, v)
		must(t, err)
		payloads = append(payloads, rdb.AppendDumpFooter(append([]byte{byte(typ)}, body...), 0, format, rdb.NewCRC64()))
	}
	o := digest.Options{Seed: seed}
	p := digest.NewPayloads(o)
	if n := testing.AllocsPerRun(100, func() {
		for _, payload := range payloads {
			if _, err := p.Sum(payload); err != nil {
				t.Fatal(err)
			}
		}
	}); n > 0 {
		t.Errorf("%v allocations for %d payloads", n, len(payloads))
	}
	n := testing.AllocsPerRun(5, func() {
		if _, _, err := total(digest.NewSnapshot(bytes.NewReader(snapshot.Bytes()), o), o); !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
	})
	if keys := rounds * len(payloads); n > 60 {
		t.Errorf("%v allocations for a snapshot of %d keys", n, keys)
	}
}
