package refresh

import (
	"context"
	"fmt"
	"slices"
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
// Those before 6.2 have INFO in a transaction propagated, as they do not take it
// for a command that only reads (multi.c execCommand): a MULTI, after which they
// say that they stand, and an EXEC. ROLE tells the offset there.
//
// In a cluster the keys must be of one slot. Where keys were watched (WATCH), it is
// ErrChanged if one of them has changed, and they are watched no more.
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
		return c.inHistory(&q, func() error {
			c.ask(q)
			place, exact, err = c.answer(&q)
			return err
		})
	})
	if err != nil {
		return nil, Place{}, false, err
	}
	return c.values, place, exact, nil
}

// inHistory asks a question that has a place; of a server before 6.2 the replid
// before it, and whether it is the same after it.
func (c *Conn) inHistory(q *question, ask func() error) error {
	if c.version.AtLeast(6, 2) {
		return ask()
	}
	now := func() (Place, error) {
		c.send("INFO", "replication")
		return c.place()
	}
	before, err := now()
	if err != nil {
		return err
	}
	q.before = before
	if err := ask(); err != nil {
		return err
	}
	after, err := now()
	switch {
	case err != nil:
	case q.adrift && after.Offset != before.Offset:
		err = &Error{Err: fmt.Errorf("%s lost its primary while it was read", c.endpoint.Address), Hint: "see why, then try again"}
	case after.ReplID != before.ReplID:
		err = &Error{
			Err:  fmt.Errorf("%s: its replication history began anew (master_replid %s) while it was read", c.endpoint.Address, after.ReplID),
			Hint: "it was promoted, or attached to another primary: see to that, then try again",
		}
	}
	return err
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
		_, exact, err := c.answer(&q)
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
		_, exact, err := c.answer(&q)
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
