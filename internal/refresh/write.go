package refresh

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"godwit/internal/rdb"
	"godwit/internal/resp"
)

// Failure is a value that was not written.
type Failure struct {
	Index int // among the values
	Err   error
}

// WriteError says which values were not written; the others were.
type WriteError struct{ Failed []Failure }

func (e *WriteError) Error() string {
	first := e.Failed[0].Err.Error()
	if n := len(e.Failed) - 1; n > 0 {
		return fmt.Sprintf("%s (and %d more)", first, n)
	}
	return first
}

func (e *WriteError) Unwrap() error { return e.Failed[0].Err }

// HintText is what the user can do about the first; commands print it after the error.
func (e *WriteError) HintText() string { return hint(e.Failed[0].Err) }

// Write makes keys what the values say, whatever was there before, and deletes
// those that do not exist; in the db of the values. Nothing is kept of a key's use:
// its idle time begins anew. A TTL that has passed leaves no key at a primary.
//
// Errors are a *WriteError with a *KeyError for each value that the server refuses
// or cannot hold, or a *server.ConnError, after which some values are written and
// some not.
func (c *Conn) Write(ctx context.Context, values []Value) error {
	var failed WriteError
	for start := 0; start < len(values); {
		end := endOfDB(values, start)
		err := c.onDB(ctx, values[start].DB, func() error { return c.write(values[start:end], start, &failed) })
		if err != nil {
			return err
		}
		start = end
	}
	return failed.orNil()
}

// endOfDB is where the values of another db begin.
func endOfDB(values []Value, start int) int {
	end := start + 1
	for end < len(values) && values[end].DB == values[start].DB {
		end++
	}
	return end
}

// onDB is on for libraries, too.
func (c *Conn) onDB(ctx context.Context, db int, talk func() error) error {
	if db == Libraries {
		return c.exchange(ctx, talk)
	}
	return c.on(ctx, db, talk)
}

func (e *WriteError) orNil() error {
	if len(e.Failed) > 0 {
		return e
	}
	return nil
}

// write writes values of one db; the first is number base of all.
func (c *Conn) write(values []Value, base int, failed *WriteError) error {
	sent := make([]string, len(values)) // the command for each, "" for none
	for i, v := range values {
		var err error
		if sent[i], err = c.sendValue(v); err != nil {
			failed.add(base+i, v, err)
		}
	}
	for i, v := range values {
		if sent[i] == "" {
			continue
		}
		reply, err := c.next()
		if err != nil {
			return err
		}
		if reply.Kind == resp.Failure {
			c.notWritten(sent[i], reply, base+i, v, failed)
		}
		if err := c.pass(reply); err != nil {
			return err
		}
	}
	return nil
}

func (e *WriteError) add(index int, v Value, err error) {
	e.Failed = append(e.Failed, Failure{index, keyError(v.DB, v.Key, err)})
}

// notWritten takes an error reply to the command of a value.
func (c *Conn) notWritten(command string, reply resp.Reply, index int, v Value, failed *WriteError) {
	err := c.replied(command, reply)
	if command == deleteLibrary && strings.Contains(err.Error(), "not found") {
		return // as it is to be
	}
	failed.add(index, v, err)
}

const deleteLibrary = "FUNCTION DELETE"

// sendValue sends the command that writes a value, and names it.
func (c *Conn) sendValue(v Value) (string, error) {
	switch {
	case v.TooLarge > 0:
		return "", &TooLargeError{DB: v.DB, Key: v.Key, Size: v.TooLarge, Limit: c.limit}
	case v.DB == Libraries && v.Payload == nil:
		c.sendArgs([]byte("FUNCTION"), []byte("DELETE"), v.Key)
		return deleteLibrary, nil
	case v.DB == Libraries:
		c.sendArgs([]byte("FUNCTION"), []byte("LOAD"), []byte("REPLACE"), v.Payload)
		return "FUNCTION LOAD", nil
	}
	payload, err := c.writing.payload(v)
	if err != nil {
		return "", err
	}
	// 0 stands for no TTL in RESTORE, and no server has a key from before 1970.
	if payload == nil || v.ExpireAt == 0 || v.ExpireAt < rdb.None {
		c.sendKey("DEL", v.Key)
		return "DEL", nil
	}
	ttl := make([]byte, 0, 20)
	if v.ExpireAt == rdb.None {
		ttl = append(ttl, '0')
	} else {
		ttl = strconv.AppendInt(ttl, v.ExpireAt, 10)
	}
	c.sendArgs([]byte("RESTORE"), v.Key, ttl, payload, []byte("REPLACE"), []byte("ABSTTL"))
	return "RESTORE", nil
}
