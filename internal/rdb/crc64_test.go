package rdb

import (
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"testing"
)

// standardCRC64 is the same checksum by hash/crc64, which inverts before and after.
func standardCRC64(table *crc64.Table, crc uint64, p []byte) uint64 {
	return ^crc64.Update(^crc, table, p)
}

func randomBytes(n int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(n)))
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(rng.Uint32())
	}
	return p
}

func TestCRC64(t *testing.T) {
	c := NewCRC64()
	if got := c.Update(0, []byte("123456789")); got != 0xe9c6d914c4b8d9ca { // crc64.c crc64Test
		t.Errorf("checksum of 123456789 is %x", got)
	}
	table := crc64.MakeTable(jones)
	data := randomBytes(10*laneSize + 77)
	for _, cut := range []int{0, 1, 7, 8, 9, 63, laneSize, 3*laneSize - 1, 3 * laneSize, 6*laneSize + 5, len(data)} {
		want := standardCRC64(table, 0, data[:cut])
		got := c.Update(0, data[:cut])
		if got != want {
			t.Errorf("checksum of %d bytes is %x, want %x", cut, got, want)
		}
		if got, want := c.Update(got, data[cut:]), standardCRC64(table, 0, data); got != want {
			t.Errorf("checksum in two parts, cut at %d, is %x, want %x", cut, got, want)
		}
	}
}

func BenchmarkCRC64(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 64 << 10} {
		data := randomBytes(size)
		b.Run(fmt.Sprintf("%d", size), func(b *testing.B) {
			c := NewCRC64()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			var sum uint64
			for b.Loop() {
				sum = c.Update(sum, data)
			}
		})
		b.Run(fmt.Sprintf("hash-crc64/%d", size), func(b *testing.B) {
			table := crc64.MakeTable(jones)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			var sum uint64
			for b.Loop() {
				sum = standardCRC64(table, sum, data)
			}
		})
	}
	b.Run("new", func(b *testing.B) {
		for b.Loop() {
			NewCRC64()
		}
	})
}
