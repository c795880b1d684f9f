package verify

import (
	"math/bits"
	"sync"
)

// bucketBits are how many of the first bits of a name's hash choose its bucket:
// 2^18 buckets, 2 MiB a side. Some hundred differences among many millions of keys
// have the second look take a thousandth of them into account.
const bucketBits = 18

// bucket is the one of a key's name, whatever its db: a key that is in the wrong one
// is found by its name.
func bucket(hash uint64) uint32 { return uint32(hash >> (64 - bucketBits)) }

// table has the sum of what is in each bucket. Several shards add to one, each by an
// adder of its own.
type table struct {
	mu   sync.Mutex
	sums []uint64
}

func newTable() *table { return &table{sums: make([]uint64, 1<<bucketBits)} }

// adder takes keys into a table, many at once: the buckets are not in the nearest
// caches, and the processor fetches several at a time if it is asked to.
type adder struct {
	table   *table
	pending [128]addend
	n       int
}

type addend struct {
	mix    uint64
	bucket uint32
}

// add takes a key in, at the latest with flush. The order of the keys does not matter.
func (a *adder) add(bucket uint32, mix uint64) {
	a.pending[a.n] = addend{mix, bucket}
	if a.n++; a.n == len(a.pending) {
		a.flush()
	}
}

func (a *adder) flush() {
	a.table.mu.Lock()
	defer a.table.mu.Unlock()
	for _, p := range a.pending[:a.n] {
		a.table.sums[p.bucket] += p.mix
	}
	a.n = 0
}

// buckets is a set of them.
type buckets [1 << bucketBits / 64]uint64

// differing are the buckets that are not the same in both tables, to which nobody adds
// any more.
func differing(a, b *table) *buckets {
	set := new(buckets)
	for i := range a.sums {
		if a.sums[i] != b.sums[i] {
			set[i/64] |= 1 << (i % 64)
		}
	}
	return set
}

func (s *buckets) has(bucket uint32) bool { return s[bucket/64]>>(bucket%64)&1 == 1 }

func (s *buckets) size() (n int64) {
	for _, word := range s {
		n += int64(bits.OnesCount64(word))
	}
	return n
}

// addAll adds those of other.
func (s *buckets) addAll(other *buckets) {
	for i, word := range other {
		s[i] |= word
	}
}

// common is how many are in both sets.
func (s *buckets) common(other *buckets) (n int64) {
	for i, word := range other {
		n += int64(bits.OnesCount64(word & s[i]))
	}
	return n
}
