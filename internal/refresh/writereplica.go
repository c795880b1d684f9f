package refresh

import (
	"context"

	"godwit/internal/resp"
)

// WriteReplica is Write to a replica that has been made to take writes
// (replica-read-only no) while its stream is held: values of one db, in one
// transaction, and it takes none any more after it. It tells the place at which
// the replica stood, which is where the values must be from; a zero Place says that
// nothing was written. What the server refuses by itself is left out, and the
// *WriteError tells.
//
// The transaction begins by making the replica read-only: that is asked before
// EXEC, not within it (server.c processCommand). So no client can write once we
// have, and no TTL is one that the replica has got from a client and would see to
// by itself (expire.c rememberSlaveKeyWithExpire): it goes on leaving the end of
// keys to its primary, which may have changed the TTL before. A TTL that has passed
// makes a key that is deleted when the primary says so.
func (c *Conn) WriteReplica(ctx context.Context, values []Value) (Place, error) {
	if len(values) == 0 {
		return Place{}, nil
	}
	t := &transaction{Conn: c, values: values, out: make([]bool, len(values))}
	err := c.onDB(ctx, values[0].DB, func() error {
		for {
			t.send()
			if done, err := t.receive(); done || err != nil {
				return err
			}
		}
	})
	if err != nil {
		return Place{}, err
	}
	return t.place, t.failed.orNil()
}

// transaction is one of values that are written to a replica.
type transaction struct {
	*Conn
	values []Value
	sent   []string // the command for each, "" for none
	out    []bool   // those that are refused
	failed WriteError
	place  Place
}

// before are the commands that come before the values.
func (t *transaction) before() [][]string {
	return [][]string{{"MULTI"}, {"INFO", "replication"}, {"CONFIG", "SET", "replica-read-only", "yes"}}
}

// send sends the values that are not out.
func (t *transaction) send() {
	for _, command := range t.before() {
		t.Conn.send(command...)
	}
	t.sent = make([]string, len(t.values))
	for i, v := range t.values {
		if t.out[i] {
			continue
		}
		var err error
		if t.sent[i], err = t.sendValue(v); err != nil {
			t.out[i] = true
			t.failed.add(i, v, err)
		}
	}
	t.Conn.send("EXEC")
}

// receive reads the replies. It is not done if values were refused while the
// transaction was put together: then none was written.
func (t *transaction) receive() (done bool, err error) {
	var other error // that ends it
	for _, command := range t.before() {
		failure, err := t.queuedOne(command[0])
		if err != nil {
			return false, err
		}
		if other == nil && failure != nil {
			other = &Error{Hint: hint(failure), Err: failure}
		}
	}
	refused := false
	for i, v := range t.values {
		if t.sent[i] == "" {
			continue
		}
		failure, err := t.queuedOne(t.sent[i])
		if err != nil {
			return false, err
		}
		if failure != nil {
			refused, t.out[i] = true, true
			t.failed.add(i, v, failure)
		}
	}
	reply, err := t.next()
	switch {
	case err != nil:
		return false, err
	case other == nil && !refused && reply.Kind == resp.Array && !reply.Null:
		return true, t.executed()
	case other == nil && !refused:
		other = t.refused("EXEC", reply)
	}
	if err := t.pass(reply); err != nil {
		return false, err
	}
	return false, other
}

// queuedOne reads a reply to a command that is to be queued.
func (t *transaction) queuedOne(command string) (failure, err error) {
	reply, err := t.next()
	if err != nil {
		return nil, err
	}
	if reply.Kind == resp.Failure {
		return t.replied(command, reply), nil
	}
	return nil, t.pass(reply)
}

// executed reads EXEC's elements.
func (t *transaction) executed() error {
	place, other := t.Conn.place()
	if t.broken != nil {
		return t.broken
	}
	if err := t.status("CONFIG SET"); err != nil && other == nil {
		other = err
	}
	for i, v := range t.values {
		if t.sent[i] == "" {
			continue
		}
		reply, err := t.next()
		if err != nil {
			return err
		}
		if reply.Kind == resp.Failure {
			t.notWritten(t.sent[i], reply, i, v, &t.failed)
		}
		if err := t.pass(reply); err != nil {
			return err
		}
	}
	t.place = place
	return other
}
