package rdb_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"godwit/internal/dataset"
	"godwit/internal/rdb"
)

// smallKeys is a snapshot of short strings, small hashes and lists.
func smallKeys(b *testing.B, keys int) []byte {
	b.Helper()
	var snapshot bytes.Buffer
	w := rdb.NewWriter(&snapshot, rdb.Format{Version: 12}, rdb.WriterOptions{})
	attributes := rdb.Attributes{ExpireAt: rdb.None, Idle: rdb.None, Freq: rdb.None}
	for i := range keys {
		text := fmt.Appendf(nil, "value:%d", i)
		v := &rdb.Value{Kind: rdb.StringValue, Elements: []rdb.Element{{Value: text}}}
		switch i % 8 {
		case 1:
			v.Kind = rdb.HashValue
			v.Elements = []rdb.Element{{Field: []byte("name"), Value: text, ExpireAt: rdb.None}, {Field: []byte("age"), Value: []byte("33"), ExpireAt: rdb.None}}
		case 2:
			v.Kind = rdb.ListValue
		}
		if attributes.ExpireAt = rdb.None; i%5 == 0 {
			attributes.ExpireAt = 1999999999999
		}
		if err := w.Value(fmt.Appendf(nil, "user:%d:name", i), attributes, v); err != nil {
			b.Fatal(err)
		}
	}
	if err := w.End(); err != nil {
		b.Fatal(err)
	}
	return snapshot.Bytes()
}

func BenchmarkScanner(b *testing.B) {
	crc := rdb.NewCRC64()
	for _, data := range []struct {
		name     string
		snapshot []byte
	}{
		{"dataset", saved(b, filled(b, "redis-7.0", dataset.Options{Keys: 100_000}))},
		{"small", smallKeys(b, 200_000)},
	} {
		for _, variant := range []struct {
			name    string
			options rdb.ScannerOptions
		}{
			{"runs", rdb.ScannerOptions{CRC: crc}},
			{"runs without checksum", rdb.ScannerOptions{NoChecksum: true}},
			{"each key", rdb.ScannerOptions{CRC: crc, Single: rdb.AllCodes()}},
		} {
			b.Run(data.name+"/"+variant.name, func(b *testing.B) {
				b.SetBytes(int64(len(data.snapshot)))
				b.ReportAllocs()
				var keys int64
				for b.Loop() {
					s := rdb.NewScanner(bytes.NewReader(data.snapshot), variant.options)
					var err error
					for err == nil {
						_, err = s.Next()
					}
					if !errors.Is(err, io.EOF) {
						b.Fatal(err)
					}
					keys = s.Keys()
				}
				b.ReportMetric(float64(keys)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mkeys/s")
				b.ReportMetric(float64(len(data.snapshot))/float64(keys), "B/key")
			})
		}
	}
}

func BenchmarkConverter(b *testing.B) {
	crc := rdb.NewCRC64()
	snapshot := saved(b, filled(b, "redis-8.0", dataset.Options{Keys: 100_000, NoFunctions: true}))
	for _, to := range []rdb.Format{{Version: 12}, {Version: 11}, {Family: rdb.Valkey, Version: 80}, {Version: 9}} {
		b.Run(to.String(), func(b *testing.B) {
			b.SetBytes(int64(len(snapshot)))
			b.ReportAllocs()
			var c *rdb.Converter
			for b.Loop() {
				c = rdb.NewConverter(io.Discard, bytes.NewReader(snapshot), rdb.ConverterOptions{
					To: to, CRC: crc, Transcoder: rdb.TranscoderOptions{Drop: mayDrop()},
				})
				if err := c.Run(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(100*float64(c.Rewritten())/float64(c.Keys()), "%rewritten")
		})
	}
}

func BenchmarkDecode(b *testing.B) {
	f := rdb.Format{Version: 13}
	for _, v := range samples() {
		t, value, err := f.AppendValue(nil, v)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(t.String(), func(b *testing.B) {
			b.SetBytes(int64(len(value)))
			b.ReportAllocs()
			var d rdb.Decoder
			for b.Loop() {
				if err := d.Decode(f, t, value, rdb.Ignore{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDecodeSnapshot decodes what a real server has made of keys of all types
// and encodings.
func BenchmarkDecodeSnapshot(b *testing.B) {
	type value struct {
		typ  rdb.Type
		body []byte
	}
	var values []value
	size := 0
	s := rdb.NewScanner(bytes.NewReader(saved(b, filled(b, "redis-7.0", dataset.Options{Keys: 20_000, Seed: 1}))), rdb.ScannerOptions{
		Single: rdb.AllCodes(), BufferSize: 1 << 20,
	})
	for {
		span, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			b.Fatal(err)
		}
		if span.Kind == rdb.KindKey && !span.More {
			values = append(values, value{span.Type, bytes.Clone(span.Value())})
			size += len(span.Value())
		}
	}
	var d rdb.Decoder
	r := new(bytes.Reader)
	for name, decode := range map[string]func(v value) error{
		"whole": func(v value) error { return d.Decode(s.Format(), v.typ, v.body, rdb.Ignore{}) },
		"in pieces": func(v value) error {
			r.Reset(v.body)
			return d.DecodeReader(s.Format(), v.typ, r, rdb.Ignore{})
		},
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				for _, v := range values {
					if err := decode(v); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(values)), "ns/value")
		})
	}
}

// BenchmarkCopyValue rewrites large values in pieces.
func BenchmarkCopyValue(b *testing.B) {
	list, hash := &rdb.Value{Kind: rdb.ListValue}, &rdb.Value{Kind: rdb.HashValue}
	for i := range 100_000 {
		text := fmt.Appendf(nil, "value:%d", i*i)
		list.Elements = append(list.Elements, rdb.Element{Value: text})
		hash.Elements = append(hash.Elements, rdb.Element{Field: text, Value: text, ExpireAt: 1999999999999})
	}
	for _, test := range []struct {
		value    *rdb.Value
		from, to rdb.Format
	}{
		{list, rdb.Format{Version: 10}, rdb.Format{Version: 9}},
		{hash, rdb.Format{Version: 12}, rdb.Format{Family: rdb.Valkey, Version: 80}},
		{hash, rdb.Format{Family: rdb.Valkey, Version: 80}, rdb.Format{Version: 12}},
	} {
		t, body, err := test.from.AppendValue(nil, test.value)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("%s of %s for %s", t, test.from, test.to), func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			tc := rdb.NewTranscoder(test.from, test.to, rdb.TranscoderOptions{})
			for b.Loop() {
				if err := tc.CopyValue(io.Discard, t, bytes.NewReader(body)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
