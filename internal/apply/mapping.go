package apply

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/command"
	"godwit/internal/reserved"
	"godwit/internal/resp"
	"godwit/internal/route"
	"godwit/internal/slot"
)

// A key may have another name at the target than at the source, and be in another db
// (see package route). A dispatcher goes by the target's throughout: slots, keys that are
// ahead or were lost, batches. There are two places where the one becomes the other: a
// command that has come is said by the target's names before anything else is done with
// it (renamed), and a value is read at the source by the key's name there (atSource).

// selection is the db that a source's stream has selected, and what becomes of it.
type selection struct {
	db  int
	way *route.Way // nil for a db that has none
	to  int        // the target's db
	err error      // why it has none
	// unknown tells that nobody has said yet which db it is, see dispatcher.takeOver.
	unknown bool
	// plain tells that keys have the same names at the target, which need not be looked at.
	plain bool
}

// unknownDB is the db of a selection that is unknown.
const unknownDB = -1

// selects is the selection of a db.
func selects(r route.Route, db int) selection {
	if db == unknownDB {
		return selection{db: db, unknown: true}
	}
	way, err := r.Of(db)
	if err != nil {
		return selection{db: db, err: err}
	}
	return selection{db: db, way: way, to: way.To, plain: !way.Stays && len(way.Prefix) == 0 && len(way.Others) == 0}
}

// stays tells of a db that stays behind.
func (s *selection) stays() bool { return s.way != nil && s.way.Stays }

// elsewhere tells whether keys go to another db of the target than db 0.
func elsewhere(r route.Route) bool {
	return slices.ContainsFunc(r.Targets(), func(db int) bool { return db != 0 })
}

// follow tells whether a command is a SELECT, and then is what that selects.
func (s *selection) follow(r route.Route, args [][]byte) bool {
	if len(args) != 2 || !is(args[0], "select") {
		return false
	}
	if db, err := strconv.Atoi(string(args[1])); err == nil {
		*s = selects(r, db)
	}
	return true
}

// keyed tells of a command about keys of the selected db.
func keyed(p command.Placing) bool {
	return p == command.OneSlot || p == command.Parts || p == command.ByValue
}

// rename says a command about keys of the selected db by the names that they have at the
// target. left tells that it is about none that the target has: of a db that stays
// behind, or godwit's own. What it returns is valid until the next call. Errors are a
// *route.UnmappedError and a *route.ClashError.
func (d *dispatcher) rename(args [][]byte, raw []byte) (_ [][]byte, _ []byte, left bool, err error) {
	if d.positions, err = d.placer.AppendKeyPositions(d.positions[:0], args); err != nil || len(d.positions) == 0 { // SPUBLISH
		return args, raw, false, err
	}
	theirs := func(at int) bool { return !reserved.Is(args[at]) }
	if !slices.ContainsFunc(d.positions, theirs) {
		return nil, nil, true, nil
	}
	switch {
	case d.way == nil:
		err := d.wayless(d.selection, slot.Of(args[d.positions[0]]))
		return nil, nil, err == nil, err
	case d.way.Stays:
		d.link.left.Add(1)
		return nil, nil, true, nil
	}
	renamed, err := d.renamer.Rename(d.way, args, d.positions)
	if err != nil || len(d.way.Prefix) == 0 {
		return args, raw, false, err
	}
	d.renamed = resp.AppendArgs(d.renamed[:0], renamed...)
	return renamed, d.renamed, false, nil
}

// wayless is for a command on a key of a db that has no way: an error, unless the slot has had
// it, or is carried by value after it. Which db the command is of may be unknown until then,
// and whether the source has anything in such a db is seen to (takeOver).
func (d *dispatcher) wayless(s selection, of uint16) error {
	if d.end <= d.had[d.mark[of]].at {
		return nil
	}
	takes, err := d.takes(of)
	switch {
	case err != nil || !takes || d.anew(of):
		return err
	case s.unknown: // it should not be: nothing is left out
		return d.unsettle(func(i uint16) bool { return int(d.slots.owner[i].Load()) == d.link.index })
	}
	return d.link.unmapped(s.err)
}

// unmapped has a *route.UnmappedError of a cluster's db not propose what a cluster's keys
// cannot have, a prefix.
func (l *Link) unmapped(err error) error {
	var e *route.UnmappedError
	if l.slots == nil || !errors.As(err, &e) {
		return err
	}
	same := *e
	same.Same = true
	return &same
}

// keyOf is a key of the target.
type keyOf struct {
	db  int
	key []byte
}

// named is the db and the key in a name of carrier.name.
func named(name string) (int, []byte, error) {
	number, key, ok := strings.Cut(name, ":")
	db, err := strconv.Atoi(number)
	if !ok || err != nil {
		return 0, nil, &FatalError{fmt.Errorf("%q names no key", name)}
	}
	return db, []byte(key), nil
}

// wanted are keys of one db of the target, and of one of the source.
type wanted struct {
	db     int // of the target
	keys   [][]byte
	from   int      // db of the source
	names  [][]byte // of the keys there
	needed int      // how many of the first keys are; the others may be left out
}

// alike are keys that have the same name and db at both ends.
func alike(db int, keys [][]byte) wanted {
	return wanted{db: db, keys: keys, from: db, names: keys, needed: len(keys)}
}

// atSource sorts keys of a db of the target by the source's db. Those that belong to none
// are left out: the source has no word on them.
func (d *dispatcher) atSource(db int, keys [][]byte, needed int) []wanted {
	if !d.route.Maps() {
		x := alike(db, keys)
		x.needed = needed
		return []wanted{x}
	}
	var all []wanted
	for n, key := range keys {
		from, name, ok := d.route.Back(db, key)
		if !ok {
			continue
		}
		i := slices.IndexFunc(all, func(x wanted) bool { return x.from == from })
		if i < 0 {
			i = len(all)
			all = append(all, wanted{db: db, from: from})
		}
		x := &all[i]
		x.keys, x.names = append(x.keys, key), append(x.names, name)
		if n < needed {
			x.needed++
		}
	}
	return all
}

// atTarget gives keys of a db of the source the names that they have at the target. One
// that clashes is left out: the stream, or the snapshot, has told of it by name.
func (d *dispatcher) atTarget(way *route.Way, names [][]byte) wanted {
	x := wanted{db: way.To, from: way.From}
	for _, name := range names {
		if key, err := way.AppendName(nil, name); err == nil {
			x.keys, x.names = append(x.keys, key), append(x.names, name)
		}
	}
	x.needed = len(x.keys)
	return x
}

func has(set map[string]struct{}, name string) bool {
	_, there := set[name]
	return there
}
