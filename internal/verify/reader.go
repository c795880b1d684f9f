package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/semaphore"
	"golang.org/x/time/rate"

	"godwit/internal/digest"
	"godwit/internal/rdb"
	"godwit/internal/refresh"
	"godwit/internal/resp"
	"godwit/internal/server"
)

const (
	// largeValue is the size in a server's memory, in bytes, from which a value is
	// read in pieces: DUMP of one such takes the server some milliseconds, in which
	// nobody else is served.
	largeValue = 8 << 20
	// lookBytes is how much of the servers' memory the values take that are read at
	// once, unless one alone takes more.
	lookBytes = 1 << 20
	// inFlight is how many bytes all readers together have on the way. They are in
	// memory twice: as they are read, and as they are taken apart.
	inFlight = 16 << 20
	// lookKeys is how many keys are read at once at most: in a transaction, so that
	// the server's other clients do not wait for long.
	lookKeys = 256
)

// shared is what all readers of a side have in common.
type shared struct {
	side   *side
	filter *filter
	digest digest.Options
	limit  *rate.Limiter       // of the bytes read per second; nil for none
	memory *semaphore.Weighted // of both sides: bytes on the way
	large  int64               // largeValue, and
	piece  int64               // pieceBytes; tests have smaller ones
}

// reader reads keys of one side, on connections of its own. It is for one goroutine.
type reader struct {
	*shared
	conns   []*refresh.Conn // for reading, one a shard; nil until it is needed
	watches []*refresh.Conn // for WATCH, as EXEC of a reading would end it
	watched map[int]bool    // shards of which keys are watched
	sums    *digest.Payloads
	pieces  *digest.Summer
	without map[shardDB]bool // dbs that have been asked for: whether the server lacks them
	ahead   time.Duration    // by how much its clock is ahead of ours
	bytes   int64            // read since taken
	// noMemory says that MEMORY USAGE is not to be had.
	noMemory bool
}

// readers make pairs of readers.
type readers struct {
	source, target *shared
	stretch        int64
}

func (r *run) newReaders() *readers {
	memory := semaphore.NewWeighted(inFlight)
	of := func(s *side) *shared {
		return &shared{
			side: s, filter: &r.filter, digest: r.digest, limit: newLimiter(r.cfg.Options.MaxRate), memory: memory,
			large: largeValue, piece: pieceBytes,
		}
	}
	return &readers{of(r.source), of(r.target), r.stretch}
}

// pair makes one that connects when it is used.
func (r *readers) pair() *pair { return &pair{newReader(r.source), newReader(r.target), r.stretch} }

func newReader(s *shared) *reader {
	return &reader{
		shared: s, conns: make([]*refresh.Conn, len(s.side.Shards)), watches: make([]*refresh.Conn, len(s.side.Shards)),
		watched: make(map[int]bool), without: make(map[shardDB]bool), sums: digest.NewPayloads(s.digest), pieces: digest.NewSummer(s.digest),
	}
}

func (r *reader) close() {
	for _, conns := range [][]*refresh.Conn{r.conns, r.watches} {
		for _, c := range conns {
			if c != nil {
				_ = c.Close() // nothing is on the way that matters
			}
		}
	}
}

// conn dials what is not yet connected.
func (r *reader) conn(ctx context.Context, conns []*refresh.Conn, shard int) (*refresh.Conn, error) {
	if conns[shard] == nil {
		c, err := refresh.Dial(ctx, r.side.Shards[shard])
		if err != nil {
			return nil, err
		}
		conns[shard] = c
	}
	return conns[shard], nil
}

// shardOf is the shard that serves a key. The db is not scattered.
func (r *reader) shardOf(db int, key []byte) int {
	_, name := r.side.hereOne(db, key)
	return r.shardHere(name)
}

// eachShard gives do the keys that each shard serves, by the names and in the db that
// they have there, with their places in keys. Where the db is scattered each server is given
// all keys, one after the other.
func (r *reader) eachShard(ctx context.Context, db int, keys [][]byte, do func(c *refresh.Conn, db int, keys [][]byte, at []int) error) error {
	of := db
	db, keys, _ = r.side.here(db, keys)
	if r.side.scattered(db) {
		return r.everyShard(ctx, db, keys, do)
	}
	if len(r.side.Shards) == 1 {
		c, err := r.conn(ctx, r.conns, 0)
		if err != nil {
			return err
		}
		return do(c, db, keys, nil)
	}
	owners, err := r.owners(ctx, of, keys)
	if err != nil {
		return err
	}
	at := make([][]int, len(r.side.Shards))
	for i, shard := range owners {
		at[shard] = append(at[shard], i)
	}
	for shard, places := range at {
		if len(places) == 0 {
			continue
		}
		if r.side.ruled() { // another server may have the db
			if lacks, err := r.lacksAt(ctx, shard, db); err != nil {
				return err
			} else if lacks {
				continue
			}
		}
		c, err := r.conn(ctx, r.conns, shard)
		if err != nil {
			return err
		}
		own := make([][]byte, len(places))
		for i, place := range places {
			own[i] = keys[place]
		}
		if err := do(c, db, own, places); err != nil {
			return err
		}
	}
	return nil
}

// place is where the i-th of a shard's keys is among all.
func place(at []int, i int) int {
	if at == nil {
		return i
	}
	return at[i]
}

// exist tells which keys are there. Their names count as what is read.
func (r *reader) exist(ctx context.Context, db int, keys [][]byte) ([]bool, error) {
	there := make([]bool, len(keys))
	if lacks, err := r.lacks(ctx, db); lacks || err != nil {
		return there, err
	}
	err := r.eachShard(ctx, db, keys, func(c *refresh.Conn, db int, keys [][]byte, at []int) error {
		commands := make([][][]byte, len(keys))
		for i, key := range keys {
			commands[i] = [][]byte{[]byte("EXISTS"), key}
		}
		return c.Pipe(ctx, db, commands, func(i int, reply resp.Reply, rest *resp.ReplyReader) error {
			there[place(at, i)] = there[place(at, i)] || reply.N == 1
			return rest.Skip(reply)
		})
	})
	if err != nil {
		return nil, err
	}
	return there, r.took(ctx, bytesOf(keys))
}

// notThere are keys that are not there.
func notThere(db int, keys [][]byte) []refresh.Value {
	values := make([]refresh.Value, len(keys))
	for i, key := range keys {
		values[i] = refresh.Value{DB: db, Key: key, ExpireAt: rdb.None}
	}
	return values
}

// libraries adds the names of the function libraries. Servers before 7.0 have none.
func (r *reader) libraries(ctx context.Context, names map[string]bool) error {
	return r.eachShard(ctx, libraries, nil, func(c *refresh.Conn, _ int, _ [][]byte, _ []int) error {
		if !c.Version().AtLeast(7, 0) {
			return nil
		}
		replies, err := ask(ctx, c, 0, words("FUNCTION", "LIST"))
		if err != nil {
			return err
		}
		for _, library := range array(replies[0]) {
			names[string(text(fields(library)["library_name"]))] = true
		}
		return nil
	})
}

// infoOf asks for a section of INFO.
func infoOf(ctx context.Context, c *refresh.Conn, section string) (server.Info, error) {
	var info server.Info
	err := c.Pipe(ctx, 0, [][][]byte{{[]byte("INFO"), []byte(section)}}, func(_ int, reply resp.Reply, rest *resp.ReplyReader) error {
		text, err := rest.Body(nil)
		info = server.ParseInfo(string(text))
		return errors.Join(err, rest.Skip(reply))
	})
	return info, err
}

// look reads keys, at most lookBytes at once; those that are large are read in
// pieces. sizes are those of pair.sizes, so that both sides do the same.
func (r *reader) look(ctx context.Context, db int, keys [][]byte, sizes []int64) ([]keyState, error) {
	all := make([]keyState, len(keys))
	if lacks, err := r.lacks(ctx, db); lacks || err != nil {
		return all, err
	}
	for start := 0; start < len(keys); {
		var err error
		end := r.atOnce(sizes, start)
		if sizes[start] > r.large {
			all[start], err = r.lookLarge(ctx, db, keys[start], sizes[start])
		} else {
			err = r.lookSmall(ctx, db, keys[start:end], total(sizes[start:end]), all[start:end])
		}
		if err != nil {
			return nil, err
		}
		start = end
	}
	return all, nil
}

// now is what time it is for the side's servers, in milliseconds since 1970.
func (r *reader) now() int64 { return time.Now().Add(r.ahead).UnixMilli() }

// lookSmall reads keys of so many bytes as they are dumped.
func (r *reader) lookSmall(ctx context.Context, db int, keys [][]byte, bytes int64, to []keyState) error {
	if db == libraries && r.side.onEvery() {
		return r.lookOnEvery(ctx, keys, to)
	}
	return r.holding(ctx, bytes, func() error {
		return r.eachShard(ctx, db, keys, func(c *refresh.Conn, here int, names [][]byte, at []int) error {
			values, err := c.Look(ctx, here, names)
			if err != nil {
				return err
			}
			defer c.Forget()
			now := r.now()
			for i := range values {
				r.side.named(values[i:i+1], db, keys[place(at, i):])
				s, err := r.sumAt(ctx, c, &values[i], now)
				if err != nil {
					return err
				}
				to[place(at, i)] = r.side.beside(db, to[place(at, i)], s, c.Address())
			}
			return nil
		})
	})
}

// holding reads so many bytes while there is room for them.
func (r *reader) holding(ctx context.Context, bytes int64, read func() error) error {
	bytes = min(bytes, inFlight)
	if err := r.memory.Acquire(ctx, bytes); err != nil {
		return err
	}
	defer r.memory.Release(bytes)
	return read()
}

// lookAt is look of the side's only shard, each part of it at one place of its
// stream: it returns the first and the last one.
func (r *reader) lookAt(ctx context.Context, db int, keys [][]byte, sizes []int64) (all []keyState, first, last refresh.Place, err error) {
	all = make([]keyState, len(keys))
	if lacks, err := r.lacks(ctx, db); lacks || err != nil {
		at := refresh.Place{}
		if err == nil {
			at, err = r.where(ctx, 0)
		}
		return all, at, at, err
	}
	for start := 0; start < len(keys); {
		end := r.together(db, keys, sizes, start)
		var at refresh.Place
		if sizes[start] > r.large {
			if at, err = r.where(ctx, 0); err != nil {
				return nil, first, last, err
			}
			if start == 0 {
				first = at
			}
			if all[start], err = r.lookLarge(ctx, db, keys[start], sizes[start]); err == nil {
				at, err = r.where(ctx, 0)
			}
		} else {
			err = r.holding(ctx, total(sizes[start:end]), func() error {
				var values []refresh.Value
				if values, at, err = r.readAt(ctx, db, keys[start:end]); err != nil {
					return err
				}
				now := r.now()
				for i := range values {
					if all[start+i], err = r.sum(ctx, &values[i], now); err != nil {
						return err
					}
				}
				return nil
			})
		}
		if err != nil {
			return nil, first, last, err
		}
		if first == (refresh.Place{}) {
			first = at
		}
		last, start = at, end
	}
	return all, first, last, nil
}

// together is the end of the keys from start on that are read at one place of the stream:
// as many as atOnce says, of a cluster those of one slot, as a transaction must be.
func (r *reader) together(db int, keys [][]byte, sizes []int64, start int) int {
	end := r.atOnce(sizes, start)
	if !r.sharded() || r.side.several() {
		return end
	}
	for i := start + 1; i < end; i++ {
		if r.slotOf(db, keys[i]) != r.slotOf(db, keys[start]) {
			return i
		}
	}
	return end
}

// atOnce is the end of the keys from start on that are asked for at once: as many as make
// up lookBytes, or one that is larger.
func (r *reader) atOnce(sizes []int64, start int) int {
	bytes, end := sizes[start], start+1
	for bytes <= r.large && end < len(sizes) && end-start < lookKeys && sizes[end] <= r.large && bytes+sizes[end] <= lookBytes {
		bytes += sizes[end]
		end++
	}
	return end
}

// sharded tells whether there are, or may be, several servers of the side.
func (r *reader) sharded() bool {
	return r.side.Slots != nil || len(r.conns) > 1 || r.conns[0] != nil && r.conns[0].Cluster()
}

// sum is what a value comes down to. Fields that have expired by now, in milliseconds
// since 1970, are none.
func (r *reader) sum(ctx context.Context, v *refresh.Value, now int64) (keyState, error) {
	switch {
	case v.TooLarge > 0: // its size in memory was misjudged
		return r.lookLarge(ctx, v.DB, bytes.Clone(v.Key), v.TooLarge)
	case v.Payload == nil:
		return keyState{}, nil
	}
	r.sums.Expire(now)
	value, err := r.sumPayload(v)
	if err != nil {
		return keyState{}, valueError(r.side, v, err)
	}
	if err := r.took(ctx, int64(len(v.Payload))); err != nil {
		return keyState{}, err
	}
	if !r.counts(value.Type) {
		return keyState{}, nil // as if it were not there
	}
	return keyState{there: true, Found: Found{Type: value.Type, ExpireAt: v.ExpireAt, Sum: value.Sum, TTLs: value.TTLs}}, nil
}

func valueError(s *side, v *refresh.Value, err error) error {
	return fmt.Errorf("%s: db %d, key %.200q: %w", s.Name, v.DB, v.Key, err)
}

// counts tells whether keys of a type do at all.
func (r *reader) counts(typ string) bool {
	return typ != digest.None && (len(r.digest.Drop) == 0 || r.digest.Counts(typ))
}

func (r *reader) sumPayload(v *refresh.Value) (digest.Value, error) {
	if v.DB != libraries {
		return r.sums.Sum(v.Payload)
	}
	r.pieces.Begin(rdb.StringValue)
	r.pieces.StringPart(v.Payload)
	value := r.pieces.Value()
	value.Type = libraryType
	return value, nil
}

func total(sizes []int64) (n int64) {
	for _, size := range sizes {
		n += size
	}
	return n
}

// took counts bytes read and waits for as long as the rate wants it.
func (r *reader) took(ctx context.Context, bytes int64) error {
	r.bytes += bytes
	for bytes > 0 {
		n := min(bytes, burst)
		if err := throttle(ctx, r.limit, int(n)); err != nil {
			return err
		}
		bytes -= n
	}
	return nil
}

// taken is how many bytes have been read since it was last asked for.
func (r *reader) taken() int64 {
	n := r.bytes
	r.bytes = 0
	return n
}
