package verify

import (
	"bytes"
	"context"
	"slices"

	"godwit/internal/refresh"
	"godwit/internal/slot"
)

// A key of one side may have another name there than at the other, and be in another db
// (see Side.Route). A comparison goes by the other's: what is read of this side is given
// these as soon as it has been read, and asked for by its own.

// homeless is the number of a db of a side with a Route as far as keys are concerned that
// belong to no db of the other one.
func homeless(db int) int { return libraries - 1 - db }

// Homeless tells of the db of a Difference that it is a db of the side with a Route, and
// which, and that the key belongs to none of the other side's.
func Homeless(db int) (target int, is bool) { return homeless(db), db < libraries }

// compared is by what name a key of the side goes in a comparison, and in which db. What
// it returns points into key.
func (s *side) compared(db int, key []byte) (int, []byte) {
	if db == libraries || !s.Route.Maps() {
		return db, key
	}
	from, name, ok := s.Route.Back(db, key)
	if !ok {
		return homeless(db), key
	}
	return from, name
}

// here is by what names keys of one db are to be asked for, and in which db of the side.
// known is false for a db that nothing of the side belongs to.
func (s *side) here(db int, keys [][]byte) (_ int, _ [][]byte, known bool) {
	switch {
	case db == libraries:
		return db, keys, true
	case db < libraries && s.ruled():
		_, here, _ := s.strayed(db)
		return here, keys, true
	case db < libraries:
		return homeless(db), keys, s.Route.Maps()
	case !s.Route.Maps():
		return db, keys, true
	}
	way, err := s.Route.Of(db)
	if err != nil || way.Stays {
		return db, keys, false
	}
	if len(way.Prefix) == 0 {
		return way.To, keys, true
	}
	names := make([][]byte, len(keys))
	for i, key := range keys {
		names[i] = slices.Concat(way.Prefix, key)
	}
	return way.To, names, true
}

// hereOne is here of one key.
func (s *side) hereOne(db int, key []byte) (int, []byte) {
	at, names, _ := s.here(db, [][]byte{key})
	return at, names[0]
}

// named gives values that were read here the names that were asked for.
func (s *side) named(values []refresh.Value, db int, keys [][]byte) {
	if !s.Route.Maps() && !s.ruled() {
		return
	}
	for i := range values {
		values[i].DB, values[i].Key = db, keys[i]
	}
}

// placed gives values the names that they have here.
func (s *side) placed(values []refresh.Value) []refresh.Value {
	if !s.Route.Maps() && !s.ruled() {
		return values
	}
	values = slices.Clone(values)
	for i, v := range values {
		if v.DB != libraries {
			values[i].DB, values[i].Key = s.hereOne(v.DB, v.Key)
		}
	}
	return values
}

// ahead are values that a feed tells of by the names that they have at the target.
func (r *run) ahead(values []refresh.Value) []refresh.Value {
	if !r.target.Route.Maps() {
		return values
	}
	values = slices.Clone(values)
	for i, v := range values {
		values[i].DB, values[i].Key = r.target.compared(v.DB, v.Key)
	}
	return values
}

// group are keys of one db that are compared.
type group struct {
	db   int
	keys [][]byte
}

// groups are those of some keys of a db of a shard that are compared, in memory of their
// own, by db of the source.
func (s *scanning) groups(ctx context.Context, r *reader, line *line, found [][]byte) ([]group, error) {
	var owners []int
	if r.side.ruled() {
		found = slices.DeleteFunc(found, func(key []byte) bool { return !s.run.keeps(line.DB, key) })
		var err error
		if owners, err = r.owners(ctx, line.DB, found); err != nil {
			return nil, err
		}
	}
	var all []group
	for i, key := range found {
		db, name := r.side.compared(line.DB, key)
		if owners != nil && owners[i] != line.Shard {
			db = r.side.astray(line.Shard, line.DB)
		}
		if !s.run.keeps(db, name) || !r.side.owns(line.Shard, line.DB, key) {
			continue
		}
		i := slices.IndexFunc(all, func(g group) bool { return g.db == db })
		if i < 0 {
			i = len(all)
			all = append(all, group{db: db})
		}
		all[i].keys = append(all[i].keys, bytes.Clone(name))
	}
	return all, nil
}

// slotOf is the hash slot that a key has here.
func (r *reader) slotOf(db int, key []byte) uint16 {
	_, name := r.side.hereOne(db, key)
	return slot.Of(name)
}

// shardHere is the shard that serves a key which the side calls so. The side is not several
// servers.
func (r *reader) shardHere(name []byte) int {
	if r.side.Slots == nil {
		return 0
	}
	return r.side.Slots(slot.Of(name))
}
