package apply

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"

	"godwit/internal/rdb"
	"godwit/internal/refresh"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// carrier reads keys of the source by value, each at an offset of its stream.
type carrier struct {
	source server.Endpoint
	conn   *refresh.Conn
	to     rdb.Format // what the target loads
	coding rdb.TranscoderOptions
	drops  *Drops
	coder  *rdb.Transcoder // from the format of payloads; nil before the first
	from   rdb.Format      // that format
	crc    *rdb.CRC64

	// ahead has the keys that were carried by value: up to the offset their commands
	// have been applied already.
	ahead map[string]int64
	until int64 // the largest of these offsets
	key   []byte
	body  []byte
	dump  []byte
	at    refresh.Value // the one at hand
}

// aheadField is the field of the checkpoint that has how far a key is ahead.
const aheadField = "ahead:"

// name is what a key of the target is called in ahead, and wherever a key is remembered.
func (c *carrier) name(db int, key []byte) []byte {
	c.key = strconv.AppendInt(c.key[:0], int64(db), 10)
	c.key = append(c.key, ':')
	c.key = append(c.key, key...)
	return c.key
}

// has tells whether a key has the effect of the command that ends at an offset already.
func (c *carrier) has(db int, key []byte, end int64) bool {
	if c.until < end {
		return false
	}
	return c.ahead[string(c.name(db, key))] >= end
}

// read reads keys at one offset. The values are valid until the next call.
func (c *carrier) read(ctx context.Context, replid string, db int, keys [][]byte) ([]refresh.Value, int64, error) {
	return c.readUpTo(ctx, replid, db, keys, refresh.DefaultLimit)
}

// readUpTo is read without values of more bytes than limit.
func (c *carrier) readUpTo(ctx context.Context, replid string, db int, keys [][]byte, limit int64) ([]refresh.Value, int64, error) {
	for again := true; ; again = false {
		if err := c.dial(ctx); err != nil {
			return nil, 0, err
		}
		c.conn.Limit(limit)
		values, place, err := c.conn.Read(ctx, db, keys)
		if err == nil && place.ReplID != replid {
			err = fmt.Errorf("%s: its replid is %s now, not %s", c.source.Address, place.ReplID, replid)
		}
		if err == nil {
			return values, place.Offset, nil
		}
		c.close()
		if !again || ctx.Err() != nil {
			return nil, 0, err
		}
	}
}

// dial connects, unless there is a connection.
func (c *carrier) dial(ctx context.Context) error {
	if c.conn != nil {
		return nil
	}
	conn, err := refresh.Dial(ctx, c.source)
	if err == nil {
		c.conn = conn
	}
	return err
}

// offset is where the source stands.
func (c *carrier) offset(ctx context.Context) (int64, error) {
	client, err := server.Dial(ctx, c.source, clientName)
	if err != nil {
		return 0, err
	}
	defer func() { _ = client.Close() }() // nothing was left unsent
	info, err := client.Info(ctx, "replication")
	return info.Int("master_repl_offset"), err
}

func (c *carrier) close() {
	if c.conn != nil {
		_ = c.conn.Close() // nothing was left unsent
		c.conn = nil
	}
}

// byValue makes keys of a db of the target what they are at the source by now, and has
// the commands on them passed by up to there. besides tells that no command of the source
// is the reason.
func (d *dispatcher) byValue(ctx context.Context, db int, keys [][]byte, besides bool) error {
	return d.byValues(ctx, db, keys, len(keys), besides)
}

// byValues is byValue that carries the first keys, and of the others those that are not
// large, if they can be read with them.
func (d *dispatcher) byValues(ctx context.Context, db int, keys [][]byte, needed int, besides bool) error {
	if d.share != nil {
		var err error
		if keys, needed, err = d.share.only(ctx, keys, needed); err != nil || len(keys) == 0 {
			return err
		}
	}
	if d.slots == nil {
		for _, x := range d.atSource(db, keys, needed) {
			if err := d.byValueAtOnce(ctx, x, besides); err != nil {
				return err
			}
		}
		return nil
	}
	// A cluster's node reads only keys of one slot at once.
	sorted := slices.Clone(keys[:needed])
	slices.SortStableFunc(sorted, func(a, b []byte) int { return cmp.Compare(slot.Of(a), slot.Of(b)) })
	for begin, end := 0, 0; begin < len(sorted); begin = end {
		of := slot.Of(sorted[begin])
		for end = begin; end < len(sorted) && slot.Of(sorted[end]) == of; end++ {
		}
		takes, err := d.takes(of)
		for _, x := range d.atSource(db, sorted[begin:end], end-begin) {
			if takes && err == nil {
				err = d.byValueAtOnce(ctx, x, besides)
			}
		}
		if redirected(err) {
			err = d.unsettle(func(i uint16) bool { return i == of })
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// byValueAtOnce is byValues of keys that the source reads at one offset.
func (d *dispatcher) byValueAtOnce(ctx context.Context, x wanted, besides bool) error {
	limit := int64(refresh.DefaultLimit)
	if x.needed < len(x.keys) {
		limit = foreseenBytes
	}
	for _, l := range d.lanes {
		l.flush() // the shards need not wait for the source
	}
	c := d.values
	values, at, err := c.readUpTo(ctx, d.in.history(), x.from, x.names, limit)
	if err != nil {
		return err
	}
	for i := range values {
		values[i].DB, values[i].Key = x.db, x.keys[i]
	}
	if x.needed < len(x.keys) {
		large := func(v refresh.Value) bool { return v.TooLarge > 0 }
		if slices.ContainsFunc(values[:x.needed], large) {
			x.keys, x.names = x.keys[:x.needed], x.names[:x.needed]
			return d.byValueAtOnce(ctx, x, besides)
		}
		values = slices.DeleteFunc(values, large)
	}
	if at < d.offset {
		return fmt.Errorf("%s: stands at offset %d, before %d which it has sent", d.source.Address, at, d.offset)
	}
	if h := d.link.gate.hold.Load(); h != nil { // after the reading: a hold that began since is not passed by it
		h.keep(c, func(i int) (int, []byte) { return values[i].DB, values[i].Key }, values, at)
	}
	for _, v := range values {
		of := slot.Of(v.Key)
		if !besides && d.end <= d.had[d.mark[of]].at {
			continue
		}
		name := c.name(v.DB, v.Key)
		if besides && d.several && !v.Exists() {
			// It may be another source's. If it is ours, what deleted it is still to come.
			d.gone[string(name)] = struct{}{}
			continue
		}
		delete(d.gone, string(name))
		c.ahead[string(name)] = at
		c.until = max(c.until, at)
		l := d.lanes[d.shard[of]]
		l.leads = append(l.leads, lead{string(name), at})
		d.touched[d.shard[of]] = d.touched[d.shard[of]] || !besides
		l.give(max(d.end, d.offset))
		c.body = appendBulk(c.body[:0], []byte("HSET"))
		c.body = appendBulk(c.body, l.key)
		c.body = appendBulk(c.body, append([]byte(aheadField), name...))
		c.body = appendBulk(c.body, strconv.AppendInt(nil, at, 10))
		if err := l.enter(ctx, 0); err != nil {
			return err
		}
		if err := l.repeat(ctx, 4, c.body, 0); err != nil {
			return err
		}
		if err := d.place(ctx, v); err != nil {
			return err
		}
	}
	return nil
}

// place gives a value to the lane of its slot.
func (d *dispatcher) place(ctx context.Context, v refresh.Value) error {
	n, err := d.values.put(v)
	if err != nil {
		return err
	}
	of := slot.Of(v.Key)
	l := d.lanes[d.shard[of]]
	if err := l.enter(ctx, v.DB); err != nil {
		return err
	}
	if err := l.repeat(ctx, n, d.values.body, v.ExpireAt); err != nil {
		return err
	}
	l.recent[of] = l.number
	return nil
}

// put says a value as a command, in body.
func (c *carrier) put(v refresh.Value) (int, error) {
	var payload []byte
	var err error
	if v.Exists() {
		c.at = v
		payload, err = c.payload(v)
	}
	lacking := mayLack(err, c.coding)
	if lacking {
		c.drops.ofStream(rdb.LeftOut{Feature: lackedBy(err), DB: v.DB, Key: v.Key})
	}
	if !v.Exists() || lacking {
		c.body = appendBulk(c.body[:0], []byte("DEL"))
		c.body = appendBulk(c.body, v.Key)
		return 2, nil
	}
	if err != nil {
		return 0, fmt.Errorf("db %d, key %.200q: %w", v.DB, v.Key, err)
	}
	c.body = appendBulk(c.body[:0], []byte("RESTORE"))
	c.body = appendBulk(c.body, v.Key)
	c.body = appendBulk(c.body, strconv.AppendInt(nil, max(v.ExpireAt, 0), 10))
	c.body = appendBulk(c.body, payload)
	c.body = appendBulk(c.body, []byte("REPLACE"))
	c.body = appendBulk(c.body, []byte("ABSTTL"))
	return 6, nil
}

// payload is a value as the target's DUMP would have it.
func (c *carrier) payload(v refresh.Value) ([]byte, error) {
	from, _, err := rdb.OpenDump(v.Payload, c.crc)
	if err != nil {
		return nil, err
	}
	from.Family = v.Family
	if c.coder == nil || c.from.Family != from.Family || c.from.Version != from.Version {
		coding := c.coding
		coding.Dropped = func(f rdb.Feature, detail string) {
			c.drops.ofStream(rdb.LeftOut{Feature: f, DB: c.at.DB, Key: c.at.Key, Detail: detail})
		}
		c.from, c.coder = from, rdb.NewTranscoder(from, c.to, coding)
	}
	c.dump, err = c.coder.Dump(c.dump[:0], v.Payload, c.crc)
	return c.dump, err
}
