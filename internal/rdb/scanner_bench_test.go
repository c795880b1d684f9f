package rdb_test

import (
	"bytes"
	"io"
	"testing"

	"godwit/internal/dataset"
	"godwit/internal/rdb"
)

func BenchmarkScanner(b *testing.B) {
	snapshot := saved(b, filled(b, "redis-7.0", dataset.Options{Keys: 100_000}))
	crc := rdb.NewCRC64()
	for _, variant := range []struct {
		name    string
		options rdb.ScannerOptions
	}{
		{"runs", rdb.ScannerOptions{CRC: crc}},
		{"runs without checksum", rdb.ScannerOptions{NoChecksum: true}},
		{"each key", rdb.ScannerOptions{CRC: crc, Single: rdb.AllCodes()}},
	} {
		b.Run(variant.name, func(b *testing.B) {
			b.SetBytes(int64(len(snapshot)))
			b.ReportAllocs()
			var keys int64
			for b.Loop() {
				s := rdb.NewScanner(bytes.NewReader(snapshot), variant.options)
				for {
					_, err := s.Next()
					if err == io.EOF {
						break
					}
					if err != nil {
						b.Fatal(err)
					}
				}
				keys = s.Keys()
			}
			b.ReportMetric(float64(keys)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mkeys/s")
			b.ReportMetric(float64(len(snapshot))/float64(keys), "B/key")
		})
	}
}
