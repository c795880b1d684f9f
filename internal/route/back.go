package route

import (
	"bytes"
	"fmt"
	"slices"
)

// Maps tells whether anything but the keys of db 0 by their own names was asked for.
func (r Route) Maps() bool { return len(r.ways) > 0 || r.back }

// Ways are those of all dbs that have one, in the order of the dbs: db 0's by default.
func (r Route) Ways() []*Way {
	if !r.Maps() {
		return []*Way{{}}
	}
	return slices.Clone(r.ways)
}

// Targets are the dbs of the target that keys go to, in their order.
func (r Route) Targets() []int {
	var all []int
	for _, way := range r.Ways() {
		if !way.Stays && !slices.Contains(all, way.To) {
			all = append(all, way.To)
		}
	}
	slices.Sort(all)
	return all
}

// Back is the inverse of Key: from which db of the source a key of the target is, or
// will be, and by what name there, which points into name. ok is false for one that
// belongs to no db of the source.
func (r Route) Back(db int, name []byte) (from int, key []byte, ok bool) {
	if !r.Maps() {
		return db, name, true
	}
	var best *Way
	for _, way := range r.ways {
		if way.Stays || way.To != db || !bytes.HasPrefix(name, way.Prefix) {
			continue
		}
		if best == nil || len(way.Prefix) > len(best.Prefix) {
			best = way
		}
	}
	if best == nil {
		return 0, nil, false
	}
	return best.From, name[len(best.Prefix):], true
}

// Prefixed tells whether keys of any db get other names.
func (r Route) Prefixed() bool {
	return slices.ContainsFunc(r.ways, func(w *Way) bool { return len(w.Prefix) > 0 })
}

// IsInverse tells of what Inverse returns, of a route that Maps.
func (r Route) IsInverse() bool { return r.back }

// Inverse leads back what r leads there, which is not Prefixed: a db of the target that
// nothing goes to has no way.
func (r Route) Inverse() Route {
	if !r.Maps() {
		return r
	}
	inverse := Route{back: true}
	for _, way := range r.ways {
		if !way.Stays {
			at, _ := inverse.search(way.To)
			inverse.ways = slices.Insert(inverse.ways, at, &Way{From: way.To, To: way.From})
		}
	}
	return inverse
}

// OneWay tells of a db of the target in which keys may get names that belong to no db of
// the source, because all that go there have a prefix: what clients write by such names
// has no way back. The error is a *OneWayError.
func (r Route) OneWay() error {
	for _, to := range r.Targets() {
		if _, _, ok := r.Back(to, nil); !ok {
			return &OneWayError{DB: to}
		}
	}
	return nil
}

// OneWayError says that a mapping has no inverse.
type OneWayError struct{ DB int } // of the target

func (e *OneWayError) Error() string {
	return fmt.Sprintf("in db %d of the target every key is to have a prefix: one that a client makes there without it belongs to no db of the source", e.DB)
}

// HintText is what the user can do about it.
func (e *OneWayError) HintText() string {
	return fmt.Sprintf("say --rollback-window 0 to go without the way back, or have the keys of one db keep their names in db %d", e.DB)
}

// HomelessError says that a client has written a key to the target that belongs to no db
// of the source.
type HomelessError struct {
	DB  int // of the target
	Key []byte
}

func (e *HomelessError) Error() string {
	return fmt.Sprintf("key %.100q in db %d of the target belongs to no db of the source by --db-map", e.Key, e.DB)
}

// HintText is what the user can do about it.
func (e *HomelessError) HintText() string {
	return hintBack
}

const hintBack = "let clients write only to the dbs that --db-map names as long as the way back is held open"

// Strip gives commands of the target the names that their keys have at the source: the
// inverse of Rename. args must have their keys in the way's db, which Back has told.
func (n *Renamer) Strip(w *Way, args [][]byte, positions []int) [][]byte {
	if len(w.Prefix) == 0 {
		return args
	}
	n.args = append(n.args[:0], args...)
	for _, i := range positions {
		n.args[i] = args[i][len(w.Prefix):]
	}
	return n.args
}
