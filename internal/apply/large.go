package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"

	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/server"
)

const (
	// largeBytes is from which size of its encoding on a value is not sent as a whole:
	// a shard would hold it twice, and do nothing else while it takes it apart.
	largeBytes = 16 << 20
	// wholeBytes is the most that is sent as a whole of what cannot be sent in parts,
	// a stream or a value of a module: proto-max-bulk-len by default.
	wholeBytes = 512 << 20
	// partBytes is about how much of a large value one command carries.
	partBytes = 256 << 10
)

// whole tells of a value that cannot be sent in parts.
func whole(t rdb.Type) bool {
	kind := t.Kind()
	return kind == rdb.StreamValue || kind == rdb.ModuleValue
}

// TooLargeError says that a value cannot be given to a client's target, because it can be
// sent as a whole only.
type TooLargeError struct {
	DB  int
	Key []byte
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("db %d, key %.200q: its value takes more than %d MB, and cannot be sent in parts", e.DB, e.Key, wholeBytes>>20)
}

// HintText is what the user can do about it.
func (e *TooLargeError) HintText() string {
	return "make it smaller (XTRIM), or migrate to a standalone server that loads the snapshot as a replica"
}

// large carries the key that the scanner has just found the beginning of.
func large(ctx context.Context, to *loader, r *restorer, s *rdb.Scanner, k item) error {
	k.key = bytes.Clone(k.key)
	limit := int64(largeBytes)
	inParts := !whole(k.t)
	if !inParts {
		limit = wholeBytes
	}
	value := s.Value()
	r.large.Reset()
	n, err := io.Copy(&r.large, io.LimitReader(value, limit+1))
	switch {
	case err != nil:
		return err
	case n > limit && !inParts:
		return &FatalError{&TooLargeError{DB: k.db, Key: k.key}}
	case n > limit:
		p := &parts{key: k.key, kind: k.t.Kind(), shard: to.shard, ctx: ctx, refused: to.refused, ttls: r.fieldTTLs(&k)}
		err := p.carry(ctx, s.Format(), k, io.MultiReader(&r.large, value))
		r.large = bytes.Buffer{} // it has grown for this one
		to.keys.Add(1)
		return err
	}
	x, err := to.room(ctx, k.to)
	if err != nil {
		return err
	}
	if x.buf, err = r.restore(x.buf, &k, r.large.Bytes()); err != nil {
		return err
	}
	if r.large.Cap() > 2*scanBuffer {
		r.large = bytes.Buffer{}
	}
	return to.added(ctx)
}

// parts makes a large key by commands that each carry a part of it, over a connection
// of its own, in order.
type parts struct {
	rdb.Ignore
	key     []byte
	kind    rdb.ValueKind
	shard   server.Endpoint
	ctx     context.Context //nolint:containedctx // that of carry
	refused func(error)     // see loader
	ttls    *fieldTTLs
	conn    *conn
	name    string   // the command at hand, "" for none
	args    int      // that it has, without name and key
	body    []byte   // these
	out     []byte   // scratch
	after   [][]byte // TTLs of the fields of the command at hand: field and time in turn
	digits  []byte
}

func (p *parts) carry(ctx context.Context, f rdb.Format, k item, value io.Reader) error {
	c, err := dial(ctx, p.shard)
	if err != nil {
		return err
	}
	p.conn = c
	defer func() { _ = c.Close() }() // every reply was read, or there is an error that tells more
	if err := c.enter(k.to); err != nil {
		return err
	}
	if err := p.tell("DEL", 1, nil); err != nil {
		return err
	}
	if k.t == rdb.TypeString {
		err = p.text(value)
	} else {
		var d rdb.Decoder
		err = d.DecodeReader(f, k.t, value, p)
	}
	if err == nil {
		err = p.flush()
	}
	if err == nil && k.attributes.ExpireAt != rdb.None {
		err = p.tell("PEXPIREAT", 2, strconv.AppendInt(nil, k.attributes.ExpireAt, 10))
	}
	return err
}

// text carries a string.
func (p *parts) text(value io.Reader) error {
	r := rdb.NewReader(value, nil, partBytes)
	t := r.String()
	p.put("APPEND", t.Bytes)
	for t.Large() {
		if err := p.flush(); err != nil {
			return err
		}
		next := t.Next()
		if len(next) == 0 {
			break
		}
		p.put("APPEND", next)
	}
	r.End()
	return r.Err()
}

// Element is that of rdb.Handler.
func (p *parts) Element(e rdb.Element) error {
	switch p.kind {
	case rdb.ListValue:
		p.put("RPUSH", e.Value)
	case rdb.SetValue:
		p.put("SADD", e.Value)
	case rdb.ZsetValue:
		p.digits = strconv.AppendFloat(p.digits[:0], e.Score, 'g', 17, 64)
		p.put("ZADD", p.digits, e.Value)
	case rdb.HashValue:
		p.put("HSET", e.Field, e.Value)
		at, err := p.ttls.at(e)
		if err != nil {
			return err
		}
		if at != rdb.None {
			p.after = append(p.after, bytes.Clone(e.Field), strconv.AppendInt(nil, at, 10))
		}
	default:
		return fmt.Errorf("values of kind %d have no parts", p.kind)
	}
	if len(p.body) < partBytes && p.args < 5000 {
		return nil
	}
	return p.flush()
}

// fieldTTLs says when the fields of a large hash are to expire at the target.
type fieldTTLs struct {
	rdb.Ignore
	r       *restorer
	k       *item
	dropped bool // one was left out
}

func (r *restorer) fieldTTLs(k *item) *fieldTTLs { return &fieldTTLs{r: r, k: k} }

// at is when a field is, rdb.None for never. The error is of a time that the target cannot
// be given.
func (x *fieldTTLs) at(e rdb.Element) (int64, error) {
	r := x.r
	switch {
	case e.ExpireAt == rdb.None:
		return rdb.None, nil
	case r.becomes(x.k.t) != rdb.TypeHash && !r.later:
		return e.ExpireAt, nil
	case r.becomes(x.k.t) != rdb.TypeHash:
		at, err := later(e.ExpireAt)
		if err != nil {
			err = fmt.Errorf("db %d, key %.200q: %w", x.k.db, x.k.key, err)
		}
		return at, err
	case !slices.Contains(r.coding.Drop, rdb.FeatureHashFieldTTL):
		return 0, &rdb.NoEqualError{What: rdb.FeatureHashFieldTTL, To: r.to, DB: x.k.db, Key: x.k.key}
	case !x.dropped && r.coding.Dropped != nil: // once for each hash
		r.coding.Dropped(rdb.FeatureHashFieldTTL, "")
	}
	x.dropped = true
	return rdb.None, nil
}

// Element is that of rdb.Handler, for who looks at the TTLs alone.
func (x *fieldTTLs) Element(e rdb.Element) error {
	_, err := x.at(e)
	return err
}

// put adds arguments to the command at hand.
func (p *parts) put(name string, args ...[]byte) {
	p.name = name
	for _, a := range args {
		p.body = appendBulk(p.body, a)
	}
	p.args += len(args)
}

// flush sends the command at hand, and what belongs to it.
func (p *parts) flush() error {
	if p.args == 0 {
		return nil
	}
	p.out = append(p.out[:0], '*')
	p.out = strconv.AppendInt(p.out, int64(2+p.args), 10)
	p.out = append(p.out, "\r\n"...)
	p.out = appendBulk(p.out, []byte(p.name))
	p.out = appendBulk(p.out, p.key)
	p.out = append(p.out, p.body...)
	p.args, p.body = 0, p.body[:0]
	if err := p.send(p.name); err != nil {
		return err
	}
	for i := 0; i < len(p.after); i += 2 {
		p.out = resp.AppendArgs(p.out[:0], []byte("HPEXPIREAT"), p.key, p.after[i+1], []byte("FIELDS"), []byte("1"), p.after[i])
		if err := p.send("HPEXPIREAT"); err != nil {
			return err
		}
	}
	p.after = p.after[:0]
	return nil
}

// tell sends a small command, of n arguments: the key, and arg if there are two.
func (p *parts) tell(name string, n int, arg []byte) error {
	args := [][]byte{[]byte(name), p.key, arg}
	p.out = resp.AppendArgs(p.out[:0], args[:1+n]...)
	return p.send(name)
}

// send sends the command in out, again and again while the shard refuses it for a while.
func (p *parts) send(name string) error {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		err := p.sendOnce(name)
		var refused *CommandError
		if err == nil || !errors.As(err, &refused) || !refused.temporary() || refused.demoted() {
			return err
		}
		p.refused(err)
		if !wait(p.ctx, pause) {
			return context.Cause(p.ctx)
		}
	}
}

func (p *parts) sendOnce(name string) error {
	if _, err := p.conn.Write(p.out); err != nil {
		return server.Failed(p.shard.Address, name, err)
	}
	reply, err := p.conn.r.Next()
	switch {
	case err != nil:
		return server.Failed(p.shard.Address, name, eof(err))
	case reply.Kind == resp.Failure:
		return &CommandError{Shard: p.shard.Address, Command: name, Key: p.key, Offset: -1, Reply: string(reply.Line)}
	}
	return p.conn.r.Skip(reply)
}
