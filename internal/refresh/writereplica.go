package refresh

import (
	"context"
	"errors"
	"slices"

	"godwit/internal/resp"
)

// WriteReplica is Write to a replica that takes writes (replica-read-only no) while
// its stream is held: in transactions, one for each run of values of one db. It
// tells the place at which the replica stood in the first one, and the last
// place: where they differ, the stream has gone on, and may have been overwritten.
//
// Within a transaction the replica takes no writes by its setting: it is asked only
// before (server.c processCommand). So no TTL is one that the replica has got from a
// client, and would see to by itself (expire.c rememberSlaveKeyWithExpire): it goes
// on leaving the end of keys to its primary, which may have changed the TTL before.
// A TTL that has passed makes a key that is deleted when the primary says so.
//
// Where the server refuses one value, it is written without; the *WriteError tells.
func (c *Conn) WriteReplica(ctx context.Context, values []Value) (first, last Place, err error) {
	var failed WriteError
	for start := 0; start < len(values); {
		end := endOfDB(values, start)
		err := c.onDB(ctx, values[start].DB, func() error {
			before, after, err := c.transact(values[start:end], start, &failed)
			if start == 0 {
				first = before
			}
			last = after
			return err
		})
		if err != nil {
			return first, last, err
		}
		start = end
	}
	return first, last, failed.orNil()
}

// transact writes values of one db in a transaction. Those that are refused while
// it is put together are left out of another.
func (c *Conn) transact(values []Value, base int, failed *WriteError) (before, after Place, err error) {
	out := make([]bool, len(values))
	for {
		sent := make([]string, len(values))
		c.send("MULTI")
		c.send("INFO", "replication")
		c.send("CONFIG", "SET", "replica-read-only", "yes")
		for i, v := range values {
			if out[i] {
				continue
			}
			if sent[i], err = c.sendValue(v); err != nil {
				out[i] = true
				failed.add(base+i, v, err)
			}
		}
		c.send("CONFIG", "SET", "replica-read-only", "no")
		c.send("INFO", "replication")
		c.send("EXEC")
		refused, err := c.queuedValues(values, sent, base, out, failed)
		switch {
		case err == nil:
			return c.executed(values, sent, base, failed)
		case !refused:
			return Place{}, Place{}, err
		case !slices.Contains(out, false):
			return Place{}, Place{}, nil // failed tells why of each
		}
	}
}

// queuedValues reads the replies up to the beginning of EXEC's. refused says that
// values were, which are noted; whatever else is refused is an error by itself.
func (c *Conn) queuedValues(values []Value, sent []string, base int, out []bool, failed *WriteError) (refused bool, err error) {
	var other error
	expect := func(command string, note func(resp.Reply)) error {
		reply, err := c.next()
		if err != nil {
			return err
		}
		if reply.Kind == resp.Failure {
			if note != nil {
				note(reply)
			} else if other == nil {
				other = c.refused(command, reply)
			}
		}
		return c.pass(reply)
	}
	for _, command := range []string{"MULTI", "INFO", "CONFIG SET"} {
		if err := expect(command, nil); err != nil {
			return false, err
		}
	}
	for i, v := range values {
		if sent[i] == "" {
			continue
		}
		if err := expect(sent[i], func(reply resp.Reply) {
			refused, out[i] = true, true
			failed.add(base+i, v, c.replied(sent[i], reply))
		}); err != nil {
			return false, err
		}
	}
	for _, command := range []string{"CONFIG SET", "INFO"} {
		if err := expect(command, nil); err != nil {
			return false, err
		}
	}
	reply, err := c.next()
	switch {
	case err != nil:
		return false, err
	case reply.Kind == resp.Array && !reply.Null && other == nil && !refused:
		return false, nil
	case reply.Kind == resp.Failure && other == nil && !refused:
		other = c.refused("EXEC", reply)
	}
	if err := c.pass(reply); err != nil {
		return false, err
	}
	if other != nil {
		return false, other
	}
	return true, errors.New("some values were refused")
}

// executed reads EXEC's elements.
func (c *Conn) executed(values []Value, sent []string, base int, failed *WriteError) (before, after Place, err error) {
	before, failure := c.place()
	if c.broken != nil {
		return before, after, failure
	}
	setting := func() {
		if err := c.status("CONFIG SET"); failure == nil {
			failure = err
		}
	}
	setting()
	for i, v := range values {
		if sent[i] == "" || c.broken != nil {
			continue
		}
		reply, err := c.next()
		if err != nil {
			return before, after, err
		}
		if reply.Kind == resp.Failure {
			c.notWritten(sent[i], reply, base+i, v, failed)
		}
		if err := c.pass(reply); err != nil {
			return before, after, err
		}
	}
	setting()
	after, err = c.place()
	if c.broken != nil || failure == nil {
		failure = err
	}
	return before, after, failure
}
