package digest

import (
	"io"

	"godwit/internal/rdb"
)

// NewSmallSnapshot has a buffer of that many bytes, so that nearly every string
// and every packed value is read in pieces.
func NewSmallSnapshot(r io.Reader, o Options, size int) *Snapshot {
	s := NewSnapshot(r, o)
	s.r = rdb.NewReader(r, rdb.NewCRC64(), size)
	return s
}

// Text hashes a text as a whole and in pieces.
func Text(o Options, pieces ...[]byte) (whole, inPieces uint64) {
	h := newHasher(o.Seed)
	var long longText
	long.begin(&h)
	var all []byte
	for _, p := range pieces {
		long.add(p)
		all = append(all, p...)
	}
	return h.text(all), long.sum()
}
