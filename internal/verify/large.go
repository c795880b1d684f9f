package verify

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"godwit/internal/rdb"
	"godwit/internal/refresh"
	"godwit/internal/server"
)

const (
	// pieceBytes is about how much of a large value is read at once, and
	// pieceElements how many elements, however small they are.
	pieceBytes    = 1 << 20
	pieceElements = 8192
)

// large is a value that is read in pieces, into the sum that DUMP would have led to.
// Only what is watched meanwhile is known to be one value in the end. No sum adds
// up an element twice: lists, sorted sets and streams are read by position, and what
// SSCAN and HSCAN give counts only if it is as many as there are, as they leave none
// out.
type large struct {
	*reader
	c    *refresh.Conn
	db   int
	key  []byte
	size int64 // in the server's memory, in bytes
	step int64 // elements in a piece
}

// errTorn says that a value changed while it was read.
var errTorn = errors.New("changed while it was read")

// lookLarge reads a key in pieces.
func (r *reader) lookLarge(ctx context.Context, db int, key []byte, size int64) (state keyState, err error) {
	err = r.eachShard(ctx, db, [][]byte{key}, func(c *refresh.Conn, here int, keys [][]byte, _ []int) error {
		s, err := r.lookLargeAt(ctx, c, here, keys[0], size)
		state = r.side.beside(db, state, s, c.Address())
		return err
	})
	return state, err
}

// lookLargeAt is lookLarge at one server, by the name that the key has there.
func (r *reader) lookLargeAt(ctx context.Context, c *refresh.Conn, db int, key []byte, size int64) (keyState, error) {
	l := &large{reader: r, c: c, db: db, key: key, size: size}
	s, err := l.look(ctx)
	if errors.Is(err, errTorn) || server.IsCode(err, "WRONGTYPE") || server.IsCode(err, "NOGROUP") {
		return keyState{there: true, torn: true}, nil
	}
	return s, err
}

func (l *large) look(ctx context.Context) (keyState, error) {
	types, err := l.c.Types(ctx, l.db, [][]byte{l.key})
	if err != nil || types[0] == "none" {
		return keyState{}, err
	}
	way, ok := map[string]struct {
		kind rdb.ValueKind
		read func(context.Context, int64) error
	}{
		"string": {rdb.StringValue, l.readString},
		"list":   {rdb.ListValue, l.readList},
		"set":    {rdb.SetValue, l.readSet},
		"hash":   {rdb.HashValue, l.readHash},
		"zset":   {rdb.ZsetValue, l.readZset},
		"stream": {rdb.StreamValue, l.readStream},
	}[types[0]]
	if !ok {
		return l.lookWhole(ctx)
	}
	expireAt, err := l.expireAt(ctx)
	if err != nil {
		return keyState{}, err
	}
	length, err := l.ask(ctx, lengthCommand(types[0]))
	if err != nil {
		return keyState{}, err
	}
	n := integer(length)
	l.step = max(1, min(pieceElements, n*l.piece/max(1, l.size)))
	l.pieces.Begin(way.kind)
	if err := way.read(ctx, n); err != nil {
		return keyState{}, err
	}
	v := l.pieces.Value()
	if !l.counts(v.Type) {
		return keyState{}, nil
	}
	return keyState{there: true, Found: Found{Type: v.Type, ExpireAt: expireAt, Sum: v.Sum, TTLs: v.TTLs}}, nil
}

// lookWhole is for a module's value, which only DUMP reads.
func (l *large) lookWhole(ctx context.Context) (keyState, error) {
	values, err := l.c.Look(ctx, l.db, [][]byte{l.key})
	if err != nil {
		return keyState{}, err
	}
	if values[0].TooLarge > 0 {
		return keyState{}, &hintedError{
			fmt.Errorf("%s: db %d, key %.200q: a module's value of %d bytes cannot be read in pieces", l.side.Name, l.db, l.key, values[0].TooLarge),
			"leave it out: --keys or --db",
		}
	}
	return l.sum(ctx, &values[0], l.now())
}

// ask sends one command about the key, which comes after the command's first word.
func (l *large) ask(ctx context.Context, name string, args ...any) (any, error) {
	replies, err := ask(ctx, l.c, l.db, words(append([]any{name, l.key}, args...)...))
	return replies[0], err
}

// expireAt is when the key expires, rdb.None if never.
func (l *large) expireAt(ctx context.Context) (int64, error) {
	if l.c.Version().AtLeast(7, 0) {
		at, err := l.ask(ctx, "PEXPIRETIME")
		if err != nil || integer(at) < 0 {
			return rdb.None, err
		}
		return integer(at), nil
	}
	var at int64
	err := l.timed(ctx, words("PTTL", l.key), func(reply any, now int64) error {
		if at = now + integer(reply); integer(reply) < 0 {
			at = rdb.None
		}
		return nil
	})
	return at, err
}

// timedTries is how often a server is asked for the time before and after something.
const timedTries = 16

// timed asks for what a server tells relative to the present, and when that is: the
// millisecond is the same before and after it.
func (l *large) timed(ctx context.Context, question [][]byte, f func(reply any, now int64) error) error {
	for range timedTries {
		replies, err := ask(ctx, l.c, l.db, words("TIME"), question, words("TIME"))
		if err != nil {
			return err
		}
		before, err := millisecond(replies[0])
		if err != nil {
			return err
		}
		after, err := millisecond(replies[2])
		if err != nil {
			return err
		}
		if before == after {
			return f(replies[1], before)
		}
	}
	return errTorn
}

func (l *large) readString(ctx context.Context, size int64) error {
	l.pieces.StringPart(nil) // it may be empty
	for read := int64(0); read < size; {
		reply, err := l.ask(ctx, "GETRANGE", read, read+l.piece-1)
		if err != nil {
			return err
		}
		piece := text(reply)
		if len(piece) == 0 {
			return errTorn
		}
		read += int64(len(piece))
		l.pieces.StringPart(piece)
		if err := l.took(ctx, int64(len(piece))); err != nil {
			return err
		}
	}
	return nil
}

func (l *large) readList(ctx context.Context, length int64) error {
	return l.ranges(ctx, "LRANGE", length, nil, func(piece []any) error {
		for _, e := range piece {
			if err := l.pieces.Element(rdb.Element{Value: text(e), ExpireAt: rdb.None}); err != nil {
				return err
			}
		}
		return nil
	})
}

// readZset reads by rank. Scores come with the 17 digits that tell any from another
// (util.c, fpconv_dtoa or "%.17g").
func (l *large) readZset(ctx context.Context, length int64) error {
	return l.ranges(ctx, "ZRANGE", length, []any{"WITHSCORES"}, func(piece []any) error {
		for i := 0; i+1 < len(piece); i += 2 {
			score, err := strconv.ParseFloat(string(text(piece[i+1])), 64)
			if err != nil {
				return fmt.Errorf("ZRANGE: %w", err)
			}
			if err := l.pieces.Element(rdb.Element{Value: text(piece[i]), Score: score, ExpireAt: rdb.None}); err != nil {
				return err
			}
		}
		return nil
	})
}

// ranges reads by position.
func (l *large) ranges(ctx context.Context, name string, length int64, with []any, add func([]any) error) error {
	perElement := int64(1 + len(with))
	for first := int64(0); first < length; first += l.step {
		reply, err := l.ask(ctx, name, append([]any{first, first + l.step - 1}, with...)...)
		if err != nil {
			return err
		}
		piece := array(reply)
		if int64(len(piece)) != perElement*min(l.step, length-first) {
			return errTorn
		}
		if err := add(piece); err != nil {
			return err
		}
		if err := l.took(ctx, bytesOf(piece)); err != nil {
			return err
		}
	}
	return nil
}

func (l *large) readSet(ctx context.Context, length int64) error {
	return l.scan(ctx, "SSCAN", length, 1, func(piece []any) error {
		for _, e := range piece {
			if err := l.pieces.Element(rdb.Element{Value: text(e), ExpireAt: rdb.None}); err != nil {
				return err
			}
		}
		return nil
	})
}

func (l *large) readHash(ctx context.Context, length int64) error {
	return l.scan(ctx, "HSCAN", length, 2, func(piece []any) error {
		expireAt, err := l.fieldsExpireAt(ctx, piece)
		if err != nil {
			return err
		}
		for i := 0; i+1 < len(piece); i += 2 {
			e := rdb.Element{Field: text(piece[i]), Value: text(piece[i+1]), ExpireAt: expireAt(i / 2)}
			if err := l.pieces.Element(e); err != nil {
				return err
			}
		}
		return nil
	})
}

// fieldsExpireAt asks when the fields of a piece expire. Fields with a TTL came with
// Redis 7.4 and Valkey 9.0.
func (l *large) fieldsExpireAt(ctx context.Context, piece []any) (func(int) int64, error) {
	v := l.c.Version()
	since := map[server.Product][2]int{server.Redis: {7, 4}, server.Valkey: {9, 0}}[v.Product]
	if since[0] == 0 || !v.AtLeast(since[0], since[1]) || len(piece) == 0 {
		return func(int) int64 { return rdb.None }, nil
	}
	args := []any{"FIELDS", len(piece) / 2}
	for i := 0; i+1 < len(piece); i += 2 {
		args = append(args, piece[i])
	}
	reply, err := l.ask(ctx, "HPEXPIRETIME", args...)
	if err != nil {
		return nil, err
	}
	times := array(reply)
	if len(times) != len(piece)/2 {
		return nil, errTorn
	}
	for _, t := range times {
		if integer(t) == -2 { // no such field
			return nil, errTorn
		}
	}
	return func(i int) int64 {
		if at := integer(times[i]); at >= 0 {
			return at
		}
		return rdb.None
	}, nil
}

// scan reads by cursor. An element that is there all the time comes at least once:
// if as many come as there are, each has come once. It comes twice while the table
// is made smaller, which writes begin.
func (l *large) scan(ctx context.Context, name string, length, perElement int64, add func([]any) error) error {
	came := int64(0)
	for cursor := "0"; ; {
		reply, err := l.ask(ctx, name, cursor, "COUNT", l.step)
		if err != nil {
			return err
		}
		parts := array(reply)
		if len(parts) != 2 {
			return fmt.Errorf("%s: unexpected reply", name)
		}
		piece := array(parts[1])
		came += int64(len(piece)) / perElement
		if err := add(piece); err != nil {
			return err
		}
		if err := l.took(ctx, bytesOf(piece)); err != nil {
			return err
		}
		if cursor = string(text(parts[0])); cursor != "0" {
			continue
		}
		if came != length {
			return errTorn
		}
		return nil
	}
}

// bytesOf is how many bytes there are in texts.
func bytesOf[T []byte | any](texts []T) (n int64) {
	for _, e := range texts {
		n += int64(len(text(e)))
	}
	return n
}
