package refresh

import (
	"context"
	"encoding/binary"
	"errors"
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
// its idle time begins anew. A TTL that has passed leaves no key at a primary, and
// at a replica one that is deleted when its primary says so.
//
// Errors are a *WriteError with a *KeyError for each value that the server refuses
// or cannot hold, or a *server.ConnError, after which some values are written and
// some not.
func (c *Conn) Write(ctx context.Context, values []Value) error {
	var failed WriteError
	for start := 0; start < len(values); {
		end := start + 1
		for end < len(values) && values[end].DB == values[start].DB {
			end++
		}
		talk := func() error { return c.write(values[start:end], start, &failed) }
		var err error
		if values[start].DB == Libraries {
			err = c.exchange(ctx, talk)
		} else {
			err = c.on(ctx, values[start].DB, talk)
		}
		if err != nil {
			return err
		}
		start = end
	}
	if len(failed.Failed) > 0 {
		return &failed
	}
	return nil
}

// write writes values of one db; the first is number base of all.
func (c *Conn) write(values []Value, base int, failed *WriteError) error {
	c.begin()
	sent := make([]string, len(values)) // the command for each, "" for none
	for i, v := range values {
		var err error
		if sent[i], err = c.sendValue(v); err != nil {
			failed.Failed = append(failed.Failed, Failure{base + i, keyError(v.DB, v.Key, err)})
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
			err = c.replied(sent[i], reply)
			if sent[i] == "FUNCTION DELETE" && strings.Contains(err.Error(), "not found") {
				continue // as it is to be
			}
			failed.Failed = append(failed.Failed, Failure{base + i, keyError(v.DB, v.Key, err)})
		}
		if err := c.pass(reply); err != nil {
			return err
		}
	}
	return nil
}

// sendValue sends the command that writes a value, and names it.
func (c *Conn) sendValue(v Value) (string, error) {
	switch {
	case v.TooLarge > 0:
		return "", &TooLargeError{DB: v.DB, Key: v.Key, Size: v.TooLarge, Limit: c.limit}
	case v.DB == Libraries && v.Payload == nil:
		c.sendArgs([]byte("FUNCTION"), []byte("DELETE"), v.Key)
		return "FUNCTION DELETE", nil
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
		c.sendArgs([]byte("DEL"), v.Key)
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

// Translate has Write say values in the words of the server's format where they
// are of another that it does not load. Without it they are written as they are.
func (c *Conn) Translate(to rdb.Format, o rdb.TranscoderOptions) {
	c.writing = translator{
		to: to, options: o, crc: rdb.NewCRC64(), known: make(map[source]*rdb.Transcoder),
	}
}

// translator rewrites payloads for one server.
type translator struct {
	to      rdb.Format
	options rdb.TranscoderOptions
	crc     *rdb.CRC64
	known   map[source]*rdb.Transcoder
	buf     []byte
}

// source is where a payload comes from.
type source struct {
	family  rdb.Family
	version int
}

const (
	// dumpFooter is the size of a payload's footer: a version and a checksum.
	dumpFooter = 2 + 8
	// common is the last version that means the same to every product.
	common = 11
)

// payload is that of a value as the server loads it, nil if it is left out. It is
// valid until the next call.
func (t *translator) payload(v Value) ([]byte, error) {
	if v.Payload == nil || t.known == nil {
		return v.Payload, nil
	}
	if len(v.Payload) <= dumpFooter {
		return nil, errors.New("the payload is cut short")
	}
	from := source{family: v.Family, version: int(binary.LittleEndian.Uint16(v.Payload[len(v.Payload)-dumpFooter:]))}
	if t.loads(from, v.Payload[0]) {
		return v.Payload, nil
	}
	transcoder := t.known[from]
	if transcoder == nil {
		transcoder = rdb.NewTranscoder(rdb.Format{Family: from.family, Version: from.version}, t.to, t.options)
		t.known[from] = transcoder
	}
	var err error
	t.buf, err = transcoder.Dump(t.buf[:0], v.Payload, t.crc)
	var noEqual *rdb.NoEqualError
	switch {
	case err == nil:
		return t.buf, nil
	case !errors.As(err, &noEqual):
		return nil, err
	}
	for _, f := range t.options.Drop {
		if f == noEqual.What {
			return nil, nil // the whole key is left out
		}
	}
	return nil, &noEqualError{err, noEqual.What}
}

// loads tells whether the server loads a payload as it is.
func (t *translator) loads(from source, code byte) bool {
	return from.version <= t.to.Version && (from.version <= common || from.family == t.to.Family) &&
		!t.to.Refused.HasType(rdb.Type(code)) && rdb.Type(code) != rdb.TypeModule2 && rdb.Opcode(code) != rdb.OpcodeKeyMeta
}

// noEqualError is a value that the server has no equal for.
type noEqualError struct {
	err  error
	what rdb.Feature
}

func (e *noEqualError) Error() string { return e.err.Error() }
func (e *noEqualError) Unwrap() error { return e.err }

// HintText is what the user can do about it.
func (e *noEqualError) HintText() string {
	return fmt.Sprintf("the target cannot hold it: delete it at the source, or leave it out knowingly: --drop %s", e.what)
}
