package verify

import (
	"sync"

	"godwit/internal/digest"
)

// maxNamed is how many keys are remembered: their hashes take about 20 MB.
const maxNamed = 1 << 19

// named remembers the keys that have been named as differences, so that none is
// named twice: SCAN may return a key more than once, a key may be missing in one db
// and extra in another, and a scan that begins anew at a db finds the same again.
// Of more than maxNamed differences those beyond are not remembered. That two keys
// of that many have the same hash has a chance of 2⁻²⁷.
type named struct {
	digest digest.Options

	mu     sync.Mutex
	hashes map[uint64]struct{}
}

func newNamed(o digest.Options) *named { return &named{digest: o, hashes: make(map[uint64]struct{})} }

// add is false if the key has been named before.
func (n *named) add(db int, key []byte) bool {
	// A db is told apart by an odd number: multiplying by one loses nothing.
	hash := n.digest.KeyHash(key) * uint64(2*db+3)
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, ok := n.hashes[hash]; ok {
		return false
	}
	if len(n.hashes) < maxNamed {
		n.hashes[hash] = struct{}{}
	}
	return true
}
