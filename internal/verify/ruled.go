package verify

import (
	"context"
	"errors"
	"slices"

	"godwit/internal/digest"
)

// The target may be several servers among which clients have divided their keys, too, where
// it is known by what rule. A key is there if it is at the server that the rule names. One
// that is at another is astray: whatever the source has, the target should not have it there.
// So it is compared as if it were in a db of its own, which the source does not have; outside
// of a comparison it is told by Difference.Server.

// ruled tells whether the side is such servers.
func (s *side) ruled() bool { return s.Rule != nil }

// several tells whether the side is servers that are not of a cluster.
func (s *side) several() bool { return s.Slots == nil && len(s.Shards) > 1 }

// astray is the db as which keys count that are at a server that should not have them.
func (s *side) astray(shard, db int) int { return libraries - 1 - (db*len(s.Shards) + shard) }

// strayed are the server of a ruled side, and its db, that count as a db; ok is false for one
// that is not astray.
func (s *side) strayed(db int) (shard, here int, ok bool) {
	if !s.ruled() || db >= libraries {
		return 0, db, false
	}
	n := libraries - 1 - db
	return n % len(s.Shards), n / len(s.Shards), true
}

// dbOf is the db by which the target's key is compared, or the source's.
func (s *side) dbOf(d *Difference) int {
	for i, e := range s.Shards {
		if d.Server == e.Address {
			return s.astray(i, d.DB)
		}
	}
	return d.DB
}

// tell has a difference say where a key is astray.
func (s *side) tell(d *Difference) {
	shard, db, ok := s.strayed(d.DB)
	if !ok {
		return
	}
	d.DB, d.TargetDB, d.Server = db, db, s.Shards[shard].Address
	d.Detail = d.Server + " has it, which is not its server by the rule"
}

// owners are the numbers of the shards that serve keys of one db, by the names that they
// have here. The side is not divided, and they are no libraries.
func (r *reader) owners(ctx context.Context, db int, names [][]byte) ([]int, error) {
	if r.side.ruled() {
		if shard, _, ok := r.side.strayed(db); ok {
			return slices.Repeat([]int{shard}, len(names)), nil
		}
		return r.side.Rule(ctx, nil, names)
	}
	owners := make([]int, len(names))
	for i, name := range names {
		owners[i] = r.shardHere(name)
	}
	return owners, nil
}

// errRule is for a Config.
var errRule = errors.New("verify: a rule of how keys are divided is for several servers as the target, without a Route")

// ruleAtOnce is how many keys a rule is asked for together.
const ruleAtOnce = 512

// asking has the keys of a snapshot wait until the rule has said where they belong.
type asking struct {
	reading *reading
	sums    *adder
	entries []digest.Entry
	keys    [][]byte
	shards  []int
}

// add takes a key, which may be used again after it.
func (a *asking) add(ctx context.Context, e *digest.Entry) (counted int64, err error) {
	if !a.reading.run.filter.keeps(e.DB, e.Key, a.reading.options.KeyHash(e.Key)) {
		return 0, nil // the rule is not asked for it
	}
	kept := *e
	kept.Key = slices.Clone(e.Key)
	a.entries, a.keys = append(a.entries, kept), append(a.keys, kept.Key)
	if len(a.entries) < ruleAtOnce {
		return 0, nil
	}
	return a.flush(ctx)
}

// flush counts those that have come.
func (a *asking) flush(ctx context.Context) (counted int64, err error) {
	if len(a.keys) == 0 {
		return 0, nil
	}
	side := a.reading.in.shard.side
	if a.shards, err = side.Rule(ctx, a.shards[:0], a.keys); err != nil {
		return 0, err
	}
	for i := range a.entries {
		e := &a.entries[i]
		if a.shards[i] != a.reading.shard {
			e.DB = side.astray(a.reading.shard, e.DB)
		}
		counts, err := a.reading.entry(a.sums, e)
		if err != nil {
			return counted, err
		}
		if counts {
			counted++
		}
	}
	clear(a.entries) // their memory
	a.entries, a.keys = a.entries[:0], a.keys[:0]
	return counted, nil
}
