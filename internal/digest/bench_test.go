package digest_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"godwit/internal/dataset"
	"godwit/internal/digest"
	"godwit/internal/rdb"
	"godwit/internal/sandbox/sandboxtest"
)

// BenchmarkSnapshot digests what a real server has made of mixed keys. What it
// reports of a key includes that key's part in a table of buckets.
func BenchmarkSnapshot(b *testing.B) {
	for _, server := range []string{"redis-7.0", "valkey-8.1"} {
		b.Run(server, func(b *testing.B) {
			snapshot := cached(b, server)
			b.SetBytes(int64(len(snapshot)))
			b.ReportAllocs()
			o := digest.Options{Seed: seed}
			table := make([]uint64, 1<<18)
			var keys int64
			cpu := cpuTime()
			for b.Loop() {
				keys = 0
				s := digest.NewSnapshot(bytes.NewReader(snapshot), o)
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
			b.ReportMetric(float64(cpuTime()-cpu)/float64(b.N)/float64(keys), "cpu-ns/key")
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(keys), "ns/key")
			b.ReportMetric(float64(len(snapshot))/float64(keys), "B/key")
		})
	}
}

func BenchmarkPayload(b *testing.B) {
	c := sandboxtest.Client(b, filled(b, "redis-7.0", dataset.Options{Keys: 2000, Seed: 1}))
	var payloads [][]byte
	keys, _ := do(b, c, "KEYS", "*").([]any)
	for _, key := range keys {
		payload, _ := do(b, c, "DUMP", key).(string)
		payloads = append(payloads, []byte(payload))
	}
	p := digest.NewPayloads(digest.Options{Seed: seed, Formats: []rdb.Format{{Version: 10}}})
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

func cached(b *testing.B, server string) []byte {
	path := "/tmp/dg_" + server + ".rdb"
	snapshot, err := os.ReadFile(path)
	if err != nil {
		snapshot = saved(b, filled(b, server, dataset.Options{Keys: 100_000, Seed: 1, NoFieldTTLs: true}))
		_ = os.WriteFile(path, snapshot, 0o644)
	}
	return snapshot
}

func cpuTime() int64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return u.Utime.Nano() + u.Stime.Nano()
}
