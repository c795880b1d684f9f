// Package route decides where in the target a key of the source belongs: in which
// db, by what name, or nowhere because it stays behind.
//
// A cluster has one db, but for Valkey 9.0 and later (cluster-databases). What of the
// source is in others needs a mapping for each db, which is never guessed: two dbs may
// have keys of the same name.
package route

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Route maps dbs. The zero value keeps db 0 as it is, and knows of no other.
type Route struct {
	ways []*Way // in the order of their dbs, at most one for each
	back bool   // it is an Inverse
}

// Way is where the keys of one db of the source go. It is read only.
type Way struct {
	From   int
	Stays  bool // they stay behind; nothing else counts then
	To     int  // the target's db
	Prefix []byte

	// Others are the prefixes of other dbs' keys in the same db of the target that
	// are longer than Prefix and begin with it: a key which has one of them there
	// would be taken for theirs.
	Others [][]byte
}

// own is what the keys that godwit itself writes to the target begin with.
const own = "godwit:"

// Parse reads mappings as --db-map has them, one for each db:
//
//	1:prefix=db1:   keys of db 1 get the prefix and go to db 0
//	1:drop          db 1 stays behind
//	1:2             db 1 goes to db 2
//
// Db 0 goes to db 0 if nothing else is said of it. The error is a *ParseError.
func Parse(flags []string) (Route, error) {
	var r Route
	for _, flag := range flags {
		way, err := parse(flag)
		if err != nil {
			return Route{}, err
		}
		at, found := r.search(way.From)
		if found {
			return Route{}, &ParseError{flag, fmt.Sprintf("db %d is mapped twice", way.From), "give one --db-map for each db"}
		}
		r.ways = slices.Insert(r.ways, at, way)
	}
	if _, found := r.search(0); !found && len(r.ways) > 0 {
		r.ways = slices.Insert(r.ways, 0, &Way{})
	}
	return r, r.separate()
}

func parse(flag string) (*Way, error) {
	db, to, found := strings.Cut(flag, ":")
	from, ok := number(db)
	if !found || !ok {
		return nil, &ParseError{flag, "it does not begin with a db and a colon", forms}
	}
	way := &Way{From: from}
	prefix, isPrefix := strings.CutPrefix(to, "prefix=")
	switch {
	case isPrefix && prefix == "":
		return nil, &ParseError{flag, "the prefix is empty", "say " + db + ":0 to have the keys of this db in db 0 by their own names"}
	case strings.HasPrefix(prefix, own):
		return nil, &ParseError{flag, "names that begin with " + own + " are godwit's own at the target", "choose another prefix"}
	case isPrefix:
		way.Prefix = []byte(prefix)
	case to == "drop":
		way.Stays = true
	default:
		if way.To, ok = number(to); !ok {
			return nil, &ParseError{flag, fmt.Sprintf("%q is neither prefix=…, drop nor a db", to), forms}
		}
	}
	return way, nil
}

func number(s string) (int, bool) {
	n, err := strconv.ParseInt(s, 10, 32)
	return int(n), err == nil && n >= 0 && s[0] != '+'
}

// separate sees that no two dbs get the same place, and which names would be
// taken for another db's.
func (r Route) separate() error {
	for _, way := range r.ways {
		for _, other := range r.ways {
			switch {
			case way == other || way.Stays || other.Stays || way.To != other.To:
			case bytes.Equal(way.Prefix, other.Prefix):
				return &ParseError{
					other.String(), fmt.Sprintf("dbs %d and %d would have the same names in db %d", min(way.From, other.From), max(way.From, other.From), way.To),
					"give one of them a prefix of its own: --db-map " + strconv.Itoa(max(way.From, other.From)) + ":prefix=…",
				}
			case bytes.HasPrefix(other.Prefix, way.Prefix):
				way.Others = append(way.Others, other.Prefix)
			}
		}
	}
	return nil
}

func (r Route) search(db int) (int, bool) {
	return slices.BinarySearchFunc(r.ways, db, func(w *Way, db int) int { return w.From - db })
}

func (r Route) String() string { return strings.Join(r.Flags(), " ") }

// Flags are the mappings as Parse takes them, in the order of their dbs.
func (r Route) Flags() []string {
	var all []string
	for _, way := range r.ways {
		all = append(all, way.String())
	}
	return all
}

func (w *Way) String() string {
	switch {
	case w.Stays:
		return fmt.Sprintf("%d:drop", w.From)
	case len(w.Prefix) > 0:
		return fmt.Sprintf("%d:prefix=%s", w.From, w.Prefix)
	default:
		return fmt.Sprintf("%d:%d", w.From, w.To)
	}
}

// Fits sees whether a target with so many dbs has all that keys go to. The error is
// a *ParseError.
func (r Route) Fits(databases int) error {
	for _, way := range r.ways {
		if !way.Stays && way.To >= databases {
			return &ParseError{
				way.String(), fmt.Sprintf("the target has no db %d, only %d", way.To, databases),
				fmt.Sprintf("say --db-map %d:prefix=db%d: or %d:drop", way.From, way.From, way.From),
			}
		}
	}
	return nil
}

// Of is the way of a db's keys. The error is an *UnmappedError.
func (r Route) Of(db int) (*Way, error) {
	if i, found := r.search(db); found {
		return r.ways[i], nil
	}
	if db == 0 && !r.Maps() {
		return &Way{}, nil
	}
	return nil, &UnmappedError{DB: db, Back: r.back}
}

// Key is where a key goes: dst with its name at the target appended to it. stays says that
// it stays behind. The error is an *UnmappedError or a *ClashError.
func (r Route) Key(dst []byte, db int, key []byte) (to int, name []byte, stays bool, err error) {
	way, err := r.Of(db)
	if err != nil || way.Stays {
		return 0, dst, err == nil, err
	}
	name, err = way.AppendName(dst, key)
	return way.To, name, false, err
}

// AppendName appends the name of a key at the target. The error is a *ClashError.
func (w *Way) AppendName(dst, key []byte) ([]byte, error) {
	start := len(dst)
	dst = append(append(dst, w.Prefix...), key...)
	if err := w.clash(dst[start:]); err != nil {
		return dst[:start], err
	}
	return dst, nil
}
