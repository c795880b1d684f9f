package verify

import (
	"math/bits"
	"sync/atomic"
)

// bucketBits are how many of the first bits of a name's hash choose its bucket:
// 2^18 buckets, 2 MiB a side. Some hundred differences among many millions of keys
// have the second look take a thousandth of them into account.
const bucketBits = 18

// bucket is the one of a key's name, whatever its db: a key that is in the wrong one
// is found by its name.
func bucket(hash uint64) uint32 { return uint32(hash >> (64 - bucketBits)) }

// table has the sum of what is in each bucket. Several shards add to one.
type table struct{ sums []atomic.Uint64 }

func newTable() *table { return &table{make([]atomic.Uint64, 1<<bucketBits)} }

// add takes a key in. The order of the keys does not matter.
func (t *table) add(bucket uint32, mix uint64) { t.sums[bucket].Add(mix) }

// buckets is a set of them.
type buckets [1 << bucketBits / 64]uint64

// differing are the buckets that are not the same in both tables.
func differing(a, b *table) *buckets {
	set := new(buckets)
	for i := range a.sums {
		if a.sums[i].Load() != b.sums[i].Load() {
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
