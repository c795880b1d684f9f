package apply

import (
	"errors"
	"fmt"
	"slices"
	"strconv"

	"godwit/internal/command"
	"godwit/internal/route"
	"godwit/internal/slot"
)

// Where the keys of a file go, and by what names, is what it is for a stream (mapping.go),
// but that a file cannot be asked for the values that a command of two dbs made: such a
// command is said in the target's words, or refused by name.

// places is where the keys of a db of a file go. A server has them where the file has.
func places(r route.Route, cluster bool, db int) selection {
	if cluster {
		return selects(r, db)
	}
	return selection{db: db, way: &route.Way{From: db, To: db}, to: db, plain: true}
}

// shared tells whether keys of other dbs go to the same db of the target.
func shared(r route.Route, way *route.Way) bool {
	return slices.ContainsFunc(r.Ways(), func(other *route.Way) bool {
		return !other.Stays && other.To == way.To && other.From != way.From
	})
}

// rename says a command about keys of the present db by the names that they have at the
// target. left tells that it is of a db that stays behind. What it returns is valid until
// the next call. Errors are a *route.UnmappedError and a *route.ClashError.
func (s *sayer) rename(args [][]byte) (_ [][]byte, left bool, err error) {
	if s.positions, err = s.placer.AppendKeyPositions(s.positions[:0], args); err != nil || len(s.positions) == 0 {
		return args, false, err
	}
	if s.in.way == nil {
		return nil, false, &route.UnmappedError{DB: s.in.db}
	}
	if s.in.stays() {
		return nil, true, nil
	}
	args, err = s.renamer.Rename(s.in.way, args, s.positions)
	return args, false, err
}

// valueStaysError says that a key gets its value from a db that stays behind.
type valueStaysError struct{ db int }

func (e *valueStaysError) Error() string {
	return fmt.Sprintf("its value comes from db %d, which stays behind, and a file cannot be asked for it", e.db)
}

// ofDBs tells of an error about two dbs that a live server would be no reason for.
func ofDBs(err error) bool {
	var swap *route.SwapError
	var stays *valueStaysError
	return errors.As(err, &swap) || errors.As(err, &stays)
}

// beyond says a command that concerns two dbs to a cluster. Both keys must be of one slot
// there. The command has had its effect, or the file would not have it.
func (s *sayer) beyond(args [][]byte) error {
	b, err := s.placer.Beyond(args)
	if err != nil {
		return err
	}
	if b.Key == nil {
		return s.swap(b)
	}
	other, moves := places(s.route, s.cluster, b.DB), is(args[0], "move")
	switch {
	case s.in.way == nil:
		return &route.UnmappedError{DB: s.in.db}
	case other.way == nil:
		return &route.UnmappedError{DB: b.DB}
	case other.stays() && (s.in.stays() || !moves):
		s.to.stays()
		return nil
	case s.in.stays():
		return &valueStaysError{db: s.in.db}
	}
	from, err := s.in.way.AppendName(nil, args[1])
	if err != nil {
		return err
	}
	of := slot.Of(from)
	if other.stays() {
		return s.say(of, [][]byte{[]byte("DEL"), from}, false)
	}
	to, err := other.way.AppendName(nil, b.Key)
	if err != nil {
		return err
	}
	if slot.Of(to) != of {
		return errOfSeveralShards
	}
	for _, said := range between(s.in, other, from, to, args, moves) {
		if err := s.say(of, said, false); err != nil {
			return err
		}
	}
	return nil
}

// between are the commands that say a MOVE, or a COPY to another db, by the names and the
// dbs of the target. They are said in the first db.
func between(s, other selection, from, to []byte, args [][]byte, moves bool) [][][]byte {
	db := strconv.AppendInt(nil, int64(other.to), 10)
	copies := [][]byte{[]byte("COPY"), from, to}
	if s.to != other.to {
		copies = append(copies, []byte("DB"), db)
	}
	switch {
	case moves && s.to == other.to:
		return [][][]byte{{[]byte("RENAME"), from, to}}
	case moves && string(from) == string(to):
		return [][][]byte{{[]byte("MOVE"), from, db}}
	case moves:
		return [][][]byte{copies, {[]byte("DEL"), from}}
	case slices.ContainsFunc(args[3:], func(a []byte) bool { return is(a, "replace") }):
		copies = append(copies, []byte("REPLACE"))
	}
	return [][][]byte{copies}
}

// swap is for a SWAPDB to a cluster, where the dbs of a file are no dbs of their own.
func (s *sayer) swap(b command.Beyond) error {
	if b.DB == b.With {
		return nil
	}
	for _, db := range []int{b.DB, b.With} {
		if x := places(s.route, s.cluster, db); x.way != nil && !x.stays() {
			return &route.SwapError{A: b.DB, B: b.With} // whatever is said of the other
		}
	}
	err := s.route.Swap(b.DB, b.With)
	if err == nil {
		s.to.stays()
	}
	return err
}

// flushDB empties the present db: n arguments in body.
func (s *sayer) flushDB(n int, body []byte) error {
	switch {
	case s.in.way == nil || s.in.stays():
		return nil // the target has nothing of it
	case shared(s.route, s.in.way):
		return s.to.empty(s.in.way)
	default:
		return s.to.all(s.in.to, n, body)
	}
}
