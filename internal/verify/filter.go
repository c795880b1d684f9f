package verify

import (
	"math"
	"slices"

	"godwit/internal/glob"
	"godwit/internal/reserved"
)

// filter tells which keys are compared: the same on both sides.
type filter struct {
	below uint32 // of a key's hash: its lower half, because the upper one finds the bucket
	all   bool   // no sample
	keys  string // glob, "" for all
	names glob.Pattern
	dbs   []int // nil for all
	left  []int // that stay behind, and are not to be at the target
	// target is the side of which keys may be astray; nil for none.
	target *side
}

func newFilter(o Options) filter {
	f := filter{keys: o.Keys, names: glob.New(o.Keys), dbs: o.DBs}
	f.all = o.Sample == 0 || o.Sample == 1
	f.below = uint32(o.Sample * math.MaxUint32)
	return f
}

// keeps tells whether a key is compared; hash is that of its name. Function
// libraries are no keys: they are compared unless only some dbs or names are. The
// checkpoints of a migration that runs, or has run, to a cluster are no data.
func (f *filter) keeps(db int, key []byte, hash uint64) bool {
	switch {
	case db == libraries:
		return f.dbs == nil && f.keys == ""
	case !f.keepsDB(db) || reserved.Is(key):
		return false
	case !f.all && uint32(hash) >= f.below:
		return false
	}
	return f.keys == "" || f.names.Match(key)
}

// keeps tells whether a key is compared.
func (r *run) keeps(db int, key []byte) bool {
	return r.filter.keeps(db, key, r.digest.KeyHash(key))
}

// keepsDB tells whether any key of a db is compared.
func (f *filter) keepsDB(db int) bool {
	if f.target != nil {
		_, db, _ = f.target.strayed(db)
	}
	return (f.dbs == nil || slices.Contains(f.dbs, db)) && !slices.Contains(f.left, db)
}
