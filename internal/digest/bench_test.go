package digest_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"

	"godwit/internal/dataset"
	"godwit/internal/digest"
	"godwit/internal/rdb"
	"godwit/internal/sandbox/sandboxtest"
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

// BenchmarkSnapshot digests what a real server has made of keys of all types and
// encodings, some 16 elements and 435 bytes each when decompressed, and of small
// ones. What it reports of a key includes that key's part in a table of buckets.
func BenchmarkSnapshot(b *testing.B) {
	mixed := dataset.Options{Keys: 100_000, Seed: 1, NoFieldTTLs: true}
	for _, data := range []struct {
		name     string
		snapshot []byte
	}{
		{"redis-7.0", saved(b, filled(b, "redis-7.0", mixed))},
		{"valkey-8.1", saved(b, filled(b, "valkey-8.1", mixed))},
		{"small", smallKeys(b, 200_000)},
	} {
		b.Run(data.name, func(b *testing.B) {
			b.SetBytes(int64(len(data.snapshot)))
			b.ReportAllocs()
			o := digest.Options{Seed: seed}
			table := make([]uint64, 1<<18)
			var keys int64
			for b.Loop() {
				keys = 0
				s := digest.NewSnapshot(bytes.NewReader(data.snapshot), o)
				for {
					e, err := s.Next()
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
					table[o.KeyHash(e.Key)&(1<<18-1)] += o.Mix(e)
					keys++
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(keys), "ns/key")
			b.ReportMetric(float64(len(data.snapshot))/float64(keys), "B/key")
		})
	}
}

func BenchmarkPayload(b *testing.B) {
	c := sandboxtest.Client(b, filled(b, "redis-7.0", dataset.Options{Keys: 2000, Seed: 1}))
	var payloads [][]byte
	for _, key := range array(do(b, c, "KEYS", "*")) {
		payload, _ := do(b, c, "DUMP", key).(string)
		payloads = append(payloads, []byte(payload))
	}
	p := digest.NewPayloads(digest.Options{Seed: seed})
	b.ReportAllocs()
	for b.Loop() {
		for _, payload := range payloads {
			if _, err := p.Sum(payload); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(payloads)), "ns/key")
}
