package verify

import (
	"context"
	"slices"

	"godwit/internal/rdb"
)

// joinLimit is how many bytes of records of both sides are joined in memory; more
// are divided before.
const joinLimit = 4 << 20

// join gives each name that one or both of the sides have to f, with what each has
// by that name. The order is that of hashes. The collectors must have been filled.
func join(ctx context.Context, source, target *collector, f func(source, target []record) error) error {
	for _, c := range []*collector{source, target} {
		if err := c.settle(); err != nil {
			return err
		}
	}
	for i := range source.parts {
		if err := joinPart(ctx, source, target, i, f); err != nil {
			return err
		}
	}
	return nil
}

func joinPart(ctx context.Context, source, target *collector, i int, f func(source, target []record) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	a, b := &source.parts[i], &target.parts[i]
	if a.bytes()+b.bytes() > joinLimit && source.level < lastLevel {
		below, other := newCollector(source.dir, source.level+1), newCollector(target.dir, target.level+1)
		defer below.close()
		defer other.close()
		if err := a.divide(below); err != nil {
			return err
		}
		if err := b.divide(other); err != nil {
			return err
		}
		return join(ctx, below, other, f)
	}
	left, err := a.all()
	if err != nil {
		return err
	}
	right, err := b.all()
	if err != nil {
		return err
	}
	return merge(left, right, f)
}

// merge joins what is in memory.
func merge(left, right []record, f func(source, target []record) error) error {
	byName := func(a, b record) int { return a.compare(&b) }
	slices.SortFunc(left, byName)
	slices.SortFunc(right, byName)
	for len(left) > 0 || len(right) > 0 {
		var first *record
		switch {
		case len(left) == 0:
			first = &right[0]
		case len(right) == 0 || left[0].compare(&right[0]) <= 0:
			first = &left[0]
		default:
			first = &right[0]
		}
		m, n := sameName(left, first), sameName(right, first)
		if err := f(left[:m], right[:n]); err != nil {
			return err
		}
		left, right = left[m:], right[n:]
	}
	return nil
}

// sameName is how many records at the beginning have that one's name.
func sameName(records []record, as *record) int {
	for i := range records {
		if records[i].hash != as.hash || string(records[i].key) != string(as.key) {
			return i
		}
	}
	return len(records)
}

// judgement compares records.
type judgement struct {
	stretch int64 // by how much keys may expire later on one side, in milliseconds
	expired int64 // keys that expire then or before were left out
	source  *side // of which several servers may have a key, if it is divided
	target  *side // of which a server may have a key that it should not have, if it is ruled
}

// differences compares what two sides have by one name, in the order of dbs.
func (j judgement) differences(source, target []record) []Difference {
	var all []Difference
	for len(source) > 0 || len(target) > 0 {
		if several := sameDB(target); several > 1 { // a library of which servers have not the same
			target[several-1].Sum = ^target[several-1].Sum
			target = target[several-1:]
		}
		switch several := sameDB(source); {
		case several > 1 && (len(target) == 0 || source[0].db <= target[0].db):
			var other *record
			if len(target) > 0 && target[0].db == source[0].db {
				other, target = &target[0], target[1:]
			}
			all = append(all, j.twice(source[:several], other))
			source = source[several:]
		case len(target) == 0 || len(source) > 0 && source[0].db < target[0].db:
			if !j.lastsStretched(&source[0]) {
				all = append(all, difference(Missing, &source[0], nil))
			}
			source = source[1:]
		case len(source) == 0 || target[0].db < source[0].db:
			if !j.lastsStretched(&target[0]) {
				all = append(all, difference(Extra, nil, &target[0]))
			}
			target = target[1:]
		default:
			if kind := compareFound(source[0].found(), target[0].found(), j.stretch); kind != "" {
				all = append(all, difference(kind, &source[0], &target[0]))
			}
			source, target = source[1:], target[1:]
		}
	}
	return j.inOtherDB(all)
}

// astray tells whether what counts as a db is of keys that are at a wrong server.
func (j judgement) astray(db int) bool {
	if j.target == nil {
		return false
	}
	_, _, is := j.target.strayed(db)
	return is
}

// lastsStretched tells whether a key may be there only because it lives longer on its
// side: the other side's was left out, and this one is about to be.
func (j judgement) lastsStretched(r *record) bool {
	return r.expireAt != rdb.None && r.expireAt <= j.expired+j.stretch
}

// compareFound tells in what way two keys differ, "" if they do not. One may expire
// later than the other by stretch milliseconds.
func compareFound(source, target *Found, stretch int64) Kind {
	later := target.ExpireAt - source.ExpireAt
	stretched := source.ExpireAt != rdb.None && target.ExpireAt != rdb.None && max(later, -later) <= stretch
	switch {
	case source.Type != target.Type:
		return Type
	case source.Sum != target.Sum:
		return Changed
	case source.TTLs != target.TTLs || later != 0 && !stretched:
		return TTL
	}
	return ""
}

func difference(kind Kind, source, target *record) Difference {
	d := Difference{Kind: kind}
	for _, r := range []*record{target, source} {
		if r != nil {
			d.DB, d.TargetDB, d.Key = r.db, r.db, slices.Clone(r.key)
		}
	}
	d.Source, d.Target = source.found(), target.found()
	return d
}

func (r *record) found() *Found {
	if r == nil {
		return nil
	}
	return &Found{Type: r.Type, ExpireAt: r.expireAt, Sum: r.Sum, TTLs: r.TTLs}
}

// inOtherDB makes one of two differences where a key with the same value is missing
// in one db and extra in another.
func (j judgement) inOtherDB(all []Difference) []Difference {
	if len(all) < 2 {
		return all
	}
	for i := range all {
		missing := &all[i]
		if missing.Kind != Missing || missing.DB == libraries {
			continue
		}
		for n := range all {
			extra := &all[n]
			if extra.Kind == Extra && extra.DB != libraries && !j.astray(extra.DB) && extra.Target.Type == missing.Source.Type && extra.Target.Sum == missing.Source.Sum {
				missing.Kind, missing.TargetDB, missing.Target = OtherDB, extra.DB, extra.Target
				extra.Kind = "" // told by the other
				break
			}
		}
	}
	return slices.DeleteFunc(all, func(d Difference) bool { return d.Kind == "" })
}
