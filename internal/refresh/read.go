package refresh

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/server"
)

const (
	// lookGroup is how many keys Look reads in one transaction: so few that other
	// clients hardly wait.
	lookGroup = 16
	// ttlGroup is how many PTTLs lie between two TIMEs on a server before 7.0: a
	// few microseconds, rarely the last ones of a millisecond.
	ttlGroup = 16
	// maxRounds is how often TTLs are read. Each time there is one round more of
	// them, and of all rounds one must have been within a millisecond.
	maxRounds = 8
	// atRounds is how many rounds there are where nothing can be read again.
	atRounds = 4
)

// Read reads keys of a db all at one place of the server's replication stream: a
// replica that has applied exactly that much has these values. Where a server
// deletes what has expired as it is read, that comes after the place; such keys
// are not there for Read. The values, which come in the order of the keys, are
// valid until the next call. Errors are a *KeyError, *Error or *server.ConnError.
//
// It is a transaction of INFO replication, DUMP and PEXPIRETIME. Servers before
// 7.0 tell only how long a key has still to live (expire.c ttlGenericCommand), so
// TIME is asked before and after: in the same millisecond, or they are read again.
// In a cluster the keys must be of one slot.
func (c *Conn) Read(ctx context.Context, db int, keys [][]byte) ([]Value, Place, error) {
	for rounds := 1; ; rounds++ {
		values, place, exact, err := c.read(ctx, db, keys, rounds, nil)
		if err != nil || exact {
			return values, place, err
		}
		if rounds == maxRounds {
			return nil, Place{}, errNotExact(c.endpoint.Address)
		}
	}
}

// ReadAt is Read that tells the place, but for its Time, as soon as it is known:
// the values may take long to come. at is called once, unless there is an error
// before; its error is returned after all.
func (c *Conn) ReadAt(ctx context.Context, db int, keys [][]byte, at func(Place) error) ([]Value, Place, error) {
	values, place, exact, err := c.read(ctx, db, keys, atRounds, at)
	if err == nil && !exact {
		err = errNotExact(c.endpoint.Address)
	}
	if err != nil {
		return nil, Place{}, err
	}
	return values, place, nil
}

// read is Read with so many rounds of PTTLs.
func (c *Conn) read(ctx context.Context, db int, keys [][]byte, rounds int, at func(Place) error) (values []Value, place Place, exact bool, err error) {
	if db == Libraries {
		values, place, err = c.readLibraries(ctx, keys, at)
		return values, place, true, err
	}
	err = c.on(ctx, db, func() error {
		c.begin()
		q := c.question(keys, rounds)
		q.place, q.at = true, at
		c.ask(q)
		place, exact, err = c.answer(q)
		return err
	})
	if err != nil {
		return nil, Place{}, false, err
	}
	return c.values, place, exact, nil
}

// errNotExact is rare: in each of many rounds the server took more than a
// millisecond for a few PTTLs.
func errNotExact(address string) error {
	return &Error{
		Err:  fmt.Errorf("%s: PTTL: no TTL could be read to the millisecond, in %d attempts", address, maxRounds),
		Hint: "the server, or its machine, is too busy: try again when it is less so",
	}
}

// Look reads keys of a db, each as it is at some moment during the call: faster
// than Read, and other clients do not wait. Values and errors are as Read's.
func (c *Conn) Look(ctx context.Context, db int, keys [][]byte) ([]Value, error) {
	if db == Libraries {
		values, _, err := c.readLibraries(ctx, keys, nil)
		return values, err
	}
	group := lookGroup
	if c.cluster {
		group = 1 // those of a transaction must be of one slot
	}
	err := c.on(ctx, db, func() error {
		c.begin()
		var questions []question
		for of := range slices.Chunk(keys, group) {
			q := c.question(of, 1)
			c.ask(q)
			questions = append(questions, q)
		}
		return c.answers(questions)
	})
	if err != nil {
		return nil, err
	}
	return c.values, nil
}

// answers reads the replies to several questions, and asks those again whose TTLs
// are not exact. After the first error it only reads the rest.
func (c *Conn) answers(questions []question) error {
	var failed error
	var again []int
	for i, q := range questions {
		_, exact, err := c.answer(q)
		switch {
		case c.broken != nil:
			return c.broken
		case err != nil && failed == nil:
			failed = err
		case err == nil && !exact:
			again = append(again, i)
		}
	}
	if failed != nil {
		return failed
	}
	for _, i := range again {
		if err := c.askAgain(questions[i], i*len(questions[0].keys)); err != nil {
			return err
		}
	}
	return nil
}

// askAgain reads what begins at a value once more.
func (c *Conn) askAgain(q question, value int) error {
	for all := len(c.values); q.rounds < maxRounds; c.values = c.values[:all] {
		q.rounds++
		c.ask(q)
		_, exact, err := c.answer(q)
		if err != nil {
			return err
		}
		if exact {
			copy(c.values[value:], c.values[all:])
			c.values = c.values[:all]
			return nil
		}
	}
	return errNotExact(c.endpoint.Address)
}

// question is a transaction that reads keys.
type question struct {
	keys   [][]byte
	rounds int  // of PTTLs, for servers before 7.0; else 0
	place  bool // with INFO replication and TIME
	at     func(Place) error
}

func (c *Conn) question(keys [][]byte, rounds int) question {
	if c.version.AtLeast(7, 0) {
		rounds = 0
	}
	return question{keys: keys, rounds: rounds}
}

// groups is how many groups of PTTLs a round has.
func (q question) groups() int { return (len(q.keys) + ttlGroup - 1) / ttlGroup }

// of is where the keys of a group begin and end.
func (q question) of(group int) (start, end int) {
	return group * ttlGroup, min((group+1)*ttlGroup, len(q.keys))
}

// size is how many commands lie between MULTI and EXEC.
func (q question) size() int {
	n := 2 * len(q.keys)
	if q.rounds > 0 {
		n = len(q.keys) + q.rounds*(len(q.keys)+q.groups()) + 1
	}
	if q.place {
		n += 2
	}
	return n
}

// keyOf is the key that a command of the transaction is about, nil if it is none.
func (q question) keyOf(command int) []byte {
	if q.place {
		command-- // INFO
	}
	switch {
	case command < 0:
	case q.rounds == 0 && command < 2*len(q.keys):
		return q.keys[command/2]
	case q.rounds > 0 && command < len(q.keys):
		return q.keys[command]
	}
	return nil
}

func (c *Conn) ask(q question) {
	c.send("MULTI")
	if q.place {
		c.send("INFO", "replication")
	}
	for _, key := range q.keys {
		c.sendKey("DUMP", key)
		if q.rounds == 0 {
			c.sendKey("PEXPIRETIME", key)
		}
	}
	for range q.rounds {
		for i := range q.groups() {
			c.send("TIME")
			start, end := q.of(i)
			for _, key := range q.keys[start:end] {
				c.sendKey("PTTL", key)
			}
		}
	}
	if q.rounds > 0 {
		c.send("TIME")
	}
	if q.place {
		c.send("TIME")
	}
	c.send("EXEC")
}

// answer reads the replies to a question and adds its values. exact is false if
// TTLs could not be told to the millisecond.
func (c *Conn) answer(q question) (place Place, exact bool, err error) {
	if err := c.queued("DUMP", q.size(), q.keyOf); err != nil {
		return Place{}, false, err
	}
	var failed error // the replies to come are read all the same
	if q.place {
		if place, failed = c.place(); c.broken != nil {
			return Place{}, false, failed
		}
		if failed == nil && q.at != nil {
			failed = q.at(place)
		}
	}
	values := len(c.values)
	for _, key := range q.keys {
		v := Value{DB: c.db, Key: key, ExpireAt: rdb.None, Family: c.family()}
		if err := c.payload(&v); err != nil {
			return Place{}, false, err
		}
		if q.rounds == 0 {
			at, err := c.integer("PEXPIRETIME")
			if err != nil {
				return Place{}, false, err
			}
			v.expires(at)
		}
		c.values = append(c.values, v)
	}
	if exact, err = c.readTTLs(q, c.values[values:]); err != nil || !q.place {
		return Place{}, exact, err
	}
	if place.Time, err = c.time(); err == nil {
		err = failed
	}
	return place, exact, err
}

// queued reads the replies to a transaction of n commands up to the beginning of
// EXEC's. keyOf tells whose key a command is about.
func (c *Conn) queued(command string, n int, keyOf func(int) []byte) error {
	var refused error
	note := func(reply resp.Reply, command string, key []byte) {
		switch {
		case reply.Kind != resp.Failure || refused != nil:
		case key != nil:
			refused = keyError(c.db, key, c.replied(command, reply))
		default:
			refused = c.refused(command, reply)
		}
	}
	for i := range n + 2 {
		reply, err := c.next()
		if err != nil {
			return err
		}
		switch {
		case i == 0:
			note(reply, "MULTI", nil)
		case i <= n:
			note(reply, command, keyOf(i-1))
		case reply.Kind == resp.Failure:
			note(reply, "EXEC", nil)
		case refused == nil && reply.Kind == resp.Array && reply.N == int64(n):
			return nil
		case refused == nil:
			return c.fail("EXEC", unexpectedReply(reply))
		}
		if err := c.pass(reply); err != nil {
			return err
		}
	}
	return refused
}

// payload reads the reply to DUMP.
func (c *Conn) payload(v *Value) error {
	reply, err := c.next()
	if err != nil {
		return err
	}
	switch {
	case reply.Kind == resp.Failure:
		// Within EXEC no other reply is lost, but what cannot be read is no value.
		return c.fail("DUMP", keyError(v.DB, v.Key, c.replied("DUMP", reply)))
	case reply.Kind != resp.Bulk:
		return c.fail("DUMP", unexpectedReply(reply))
	case reply.Null:
		return nil
	case reply.N > c.limit:
		v.TooLarge = reply.N
		return c.pass(reply)
	}
	v.Payload, err = c.keep("DUMP")
	return err
}

// expires takes a reply of PEXPIRETIME: -1 is never, and -2 says that there is no
// such key (any more).
func (v *Value) expires(at int64) {
	switch at {
	case -2:
		v.Payload, v.TooLarge, v.ExpireAt = nil, 0, rdb.None
	case -1:
		v.ExpireAt = rdb.None
	default:
		v.ExpireAt = at
	}
}

// readTTLs reads the rounds of PTTLs. Of each group one must be exact.
func (c *Conn) readTTLs(q question, values []Value) (exact bool, err error) {
	if q.rounds == 0 {
		return true, nil
	}
	known := make([]bool, q.groups())
	ttls := make([]int64, 0, ttlGroup)
	before, err := c.time()
	if err != nil {
		return false, err
	}
	for range q.rounds {
		for i := range known {
			start, end := q.of(i)
			ttls = ttls[:0]
			for range end - start {
				ttl, err := c.integer("PTTL")
				if err != nil {
					return false, err
				}
				ttls = append(ttls, ttl)
			}
			after, err := c.time()
			if err != nil {
				return false, err
			}
			if !known[i] {
				known[i] = expireIn(values[start:end], ttls, before, after)
			}
			before = after
		}
	}
	return !slices.Contains(known, false), nil
}

// expireIn takes replies of PTTL that were given between two times, and tells
// whether they are exact.
func expireIn(values []Value, ttls []int64, before, after int64) bool {
	if before != after && slices.ContainsFunc(ttls, func(ttl int64) bool { return ttl >= 0 }) {
		return false
	}
	for i, ttl := range ttls {
		if ttl >= 0 {
			ttl += after
		}
		values[i].expires(ttl)
	}
	return true
}

func (c *Conn) integer(command string) (int64, error) {
	reply, err := c.next()
	if err != nil {
		return 0, err
	}
	if reply.Kind != resp.Integer {
		return 0, c.fail(command, unexpectedReply(reply))
	}
	return reply.N, nil
}

// time reads a reply of TIME: seconds and microseconds. It is in milliseconds.
func (c *Conn) time() (int64, error) {
	if _, err := c.array("TIME", 2); err != nil {
		return 0, err
	}
	var parts [2]int64
	for i := range parts {
		text, err := c.text("TIME")
		if err != nil {
			return 0, err
		}
		if parts[i], err = strconv.ParseInt(text, 10, 64); err != nil {
			return 0, c.fail("TIME", err)
		}
	}
	return parts[0]*1000 + parts[1]/1000, nil
}

// place reads a reply of INFO replication.
func (c *Conn) place() (Place, error) {
	text, err := c.text("INFO")
	if err != nil {
		return Place{}, err
	}
	info := server.ParseInfo(text)
	p := Place{ReplID: info["master_replid"]}
	if p.Offset, err = strconv.ParseInt(info["master_repl_offset"], 10, 64); err != nil || p.ReplID == "" {
		return Place{}, &Error{
			Err:  fmt.Errorf("%s: INFO replication has no master_replid and master_repl_offset", c.endpoint.Address),
			Hint: "a server from 4.0 on has them; a managed service may hide them: compare without --repair, or by the scan method",
		}
	}
	return p, nil
}
