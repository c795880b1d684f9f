package refresh

import (
	"fmt"
	"slices"
	"strconv"

	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/server"
)

// question is a transaction that reads keys.
type question struct {
	keys   [][]byte
	rounds int  // of PTTLs, for servers before 7.0; else 0
	place  bool // with INFO replication and TIME
	at     func(Place) error
	before Place // of INFO replication, where ROLE is to tell the offset; else zero
	adrift bool  // ROLE had no offset, see placeOf
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
	switch {
	case q.place && q.before.ReplID != "":
		c.send("ROLE")
	case q.place:
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
func (c *Conn) answer(q *question) (place Place, exact bool, err error) {
	if err := c.queued("DUMP", q.size(), q.keyOf); err != nil {
		return Place{}, false, err
	}
	var failed error // the replies to come are read all the same
	if q.place {
		if place, failed = c.placeOf(q); c.broken != nil {
			return Place{}, false, failed
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
	if exact, err = c.readTTLs(*q, c.values[values:]); err != nil || !q.place {
		return Place{}, exact, err
	}
	if place.Time, err = c.time(); err == nil {
		err = failed
	}
	return place, exact, err
}

// placeOf reads a reply of ROLE or, where there was nothing before, of INFO replication,
// and tells at. A replica that has no primary at present has -1 for an offset in ROLE
// (replication.c roleCommand); as it does not move, it stands where it stood before.
func (c *Conn) placeOf(q *question) (p Place, err error) {
	if q.before.ReplID == "" {
		p, err = c.place()
	} else {
		p.ReplID = q.before.ReplID
		if p.Offset, err = c.role(); p.Offset < 0 {
			p.Offset, q.adrift = q.before.Offset, true
		}
	}
	if err == nil && q.at != nil {
		err = q.at(p)
	}
	return p, err
}

// role reads the offset in a reply of ROLE: of a primary "master", offset, replicas;
// of a replica "slave", host, port, state, offset (replication.c roleCommand).
func (c *Conn) role() (offset int64, err error) {
	n, err := c.array("ROLE", -1)
	if err != nil {
		return 0, err
	}
	role, err := c.text("ROLE")
	if err != nil {
		return 0, err
	}
	place := int64(1)
	if role != "master" {
		place = 4
	}
	for i := int64(1); i < n && err == nil; i++ {
		if i == place {
			offset, err = c.integer("ROLE")
		} else {
			err = c.skip()
		}
	}
	return offset, err
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
		case refused == nil && reply.Kind == resp.Array && reply.Null:
			return ErrChanged
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

// integer reads a reply that is to be a number.
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
