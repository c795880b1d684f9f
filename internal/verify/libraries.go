package verify

import (
	"bytes"
	"context"
	"slices"
	"sync"

	"godwit/internal/digest"
	"godwit/internal/rdb"
	"godwit/internal/refresh"
)

// Function libraries belong to no slot, and to no server more than to another. So each server
// of a side is asked for them, and what they have is put together:
//
//   - The source has what any of its servers has; two that have not the same are Twice.
//   - Several servers with a rule have what any of them has, too, as each of them had its own
//     before it was the target.
//   - A cluster as the target has a library if all its shards have it, and the same: one that
//     has not would refuse an FCALL of its keys. A cluster of which that is not so has what no
//     source has.

// libraries is the db of function libraries.
const libraries = refresh.Libraries

// libraryType is what a library is called where types are.
const libraryType = "function"

// scattered tells whether each of the side's servers may have keys of a db, whatever their
// slots are.
func (s *side) scattered(db int) bool {
	return s.divided() || db == libraries && len(s.Shards) > 1
}

// onEvery tells whether all servers of the side are to have the same libraries.
func (s *side) onEvery() bool { return s.role == targetRole && s.Slots != nil && len(s.Shards) > 1 }

// bothLibraries is what a side has of a library that two of its servers have: what no server
// has where they have not the same.
func bothLibraries(known, more keyState) keyState {
	if known.Sum != more.Sum {
		known.Sum = 31*known.Sum + more.Sum
	}
	return known
}

// addLibrary puts together what servers of a ruled side have of a library, as bothLibraries
// does.
func addLibrary(known, more refresh.Value) refresh.Value {
	if known.Exists() && more.Exists() && string(known.Payload) != string(more.Payload) {
		known.Payload = slices.Concat(known.Payload, more.Payload)
		return known
	}
	if !known.Exists() {
		return more
	}
	return known
}

// librariesOnEvery reads libraries of a side of which each shard is to have them. One that not
// all have alike says so at its end: that makes it differ, and is what a difference shows. The
// values are valid until the next reading.
func (r *reader) librariesOnEvery(ctx context.Context, names [][]byte) ([]refresh.Value, error) {
	shards := make([][]refresh.Value, 0, len(r.side.Shards))
	err := r.everyShard(ctx, libraries, names, func(c *refresh.Conn, _ int, names [][]byte, _ []int) error {
		values, err := c.Look(ctx, libraries, names)
		shards = append(shards, values)
		return err
	})
	if err != nil {
		return nil, err
	}
	all := notThere(libraries, names)
	for i := range all {
		first := slices.IndexFunc(shards, func(values []refresh.Value) bool { return values[i].Exists() })
		if first < 0 {
			continue
		}
		all[i] = shards[first][i]
		var note []byte
		for n, values := range shards {
			switch v := &values[i]; {
			case !v.Exists():
				note = append(append(note, "\n-- not at "...), r.side.Shards[n].Address...)
			case !bytes.Equal(v.Payload, all[i].Payload):
				note = append(append(note, "\n-- not the same at "...), r.side.Shards[n].Address...)
			}
		}
		if note != nil {
			all[i].Payload = slices.Concat(all[i].Payload, note)
		}
	}
	return all, nil
}

// lookOnEvery is lookSmall of libraries of a side of which each shard is to have them.
func (r *reader) lookOnEvery(ctx context.Context, names [][]byte, to []keyState) error {
	values, err := r.librariesOnEvery(ctx, names)
	for i := range values {
		if to[i], err = r.sum(ctx, &values[i], r.now()); err != nil {
			return err
		}
	}
	return err
}

// librariesSeen are the function libraries that the snapshots of a side's servers have had. It
// may be used by many goroutines.
type librariesSeen struct {
	onEvery bool // of the side: they count when all have been seen

	mu   sync.Mutex
	seen map[string]*librarySeen
}

type librarySeen struct {
	value   digest.Value // of the first
	servers int          // that have it
	unlike  bool         // not all the same
}

// newLibrariesSeen is nil for a side of one server.
func newLibrariesSeen(s *side) *librariesSeen {
	if len(s.Shards) == 1 {
		return nil
	}
	return &librariesSeen{onEvery: s.onEvery(), seen: make(map[string]*librarySeen)}
}

// passes tells whether a library that a server has does not count, or not yet.
func (l *librariesSeen) passes(e *digest.Entry) bool {
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	known, again := l.seen[string(e.Key)]
	if !again {
		known = &librarySeen{value: e.Value}
		l.seen[string(e.Key)] = known
	}
	known.servers++
	alike := known.value.Sum == e.Sum
	known.unlike = known.unlike || !alike
	return l.onEvery || again && alike
}

// librariesOfAll counts the libraries that all servers of a side were to have, once all of
// their snapshots have been read.
func (r *reading) librariesOfAll(s *side) error {
	l := r.seen.libraries
	if l == nil || !l.onEvery {
		return nil
	}
	sums := &adder{table: r.seen.table}
	defer sums.flush()
	for name, library := range l.seen {
		e := &digest.Entry{DB: libraries, Key: []byte(name), ExpireAt: rdb.None, Value: library.value}
		if library.unlike || library.servers < len(s.Shards) {
			e.Sum = ^e.Sum
		}
		counts, err := r.entry(sums, e)
		if err != nil {
			return err
		}
		if counts {
			s.count(Read{Keys: 1})
		}
	}
	return nil
}
