package apply

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/route"
	"godwit/internal/slot"
)

// byValue makes keys of a db of the shard's at the replica what they are at the shard by
// now, and has the commands on them passed by up to there. A replica lets nothing expire,
// so there is no more to it. The checkpoint says which keys are ahead, as the shard calls
// them.
func (x *feeder) byValue(ctx context.Context, db int, keys [][]byte) error {
	c := x.values
	values, at, err := c.read(ctx, x.link.in.history(), db, keys)
	if err != nil {
		return err
	}
	if at < x.end {
		return fmt.Errorf("%s: stands at offset %d, before %d which it has sent", c.source.Address, at, x.end)
	}
	theirs := slices.Clone(values) // by the replica's names
	for i, v := range values {
		var ok bool
		if theirs[i].DB, theirs[i].Key, ok = x.link.feed.cfg.Route.Back(db, v.Key); !ok {
			return &route.HomelessError{DB: db, Key: bytes.Clone(v.Key)}
		}
	}
	if h := x.link.gate.hold.Load(); h != nil { // after the reading: a hold that began since is not passed by it
		h.keep(c, func(i int) (int, []byte) { return db, values[i].Key }, theirs, at)
	}
	b, err := x.filling(ctx)
	if err != nil {
		return err
	}
	for i, v := range theirs {
		name := string(c.name(db, values[i].Key))
		if err := x.hasDB(ctx, v.DB); err != nil {
			return err
		}
		c.ahead[name] = at
		c.until = max(c.until, at)
		b.put(checkpointDB, []byte("HSET"), x.key, []byte(aheadField+name), strconv.AppendInt(nil, at, 10))
		n, err := c.put(v)
		if err != nil {
			return err
		}
		b.add(v.DB, append(fmt.Appendf(nil, "*%d\r\n", n), c.body...))
	}
	x.link.given.Store(x.end)
	return nil
}

// otherwise carries a command of which a key is ahead: it has had its effect there. The
// other keys that it wrote are carried by value, as the effect on them may depend on that
// key.
func (x *feeder) otherwise(ctx context.Context, args [][]byte) error {
	var err error
	if x.written, err = x.placer.AppendWritten(x.written[:0], args); err != nil {
		return err
	}
	late := x.written[:0]
	for _, key := range x.written {
		if !x.values.has(x.db, key, x.end) {
			late = append(late, key)
		}
	}
	if len(late) == 0 {
		return nil
	}
	return x.byValue(ctx, x.db, late)
}

// passed forgets the keys that are no further ahead than an offset, and returns their
// fields of the checkpoint.
func (c *carrier) passed(offset int64) [][]byte {
	var fields [][]byte
	if len(c.ahead) == 0 || c.until > offset && len(c.ahead) < passedFrom {
		return nil
	}
	c.until = 0
	for name, until := range c.ahead {
		if until > offset {
			c.until = max(c.until, until)
			continue
		}
		fields = append(fields, []byte(aheadField+name))
		delete(c.ahead, name)
	}
	return fields
}

// passedFrom is from how many keys on that are ahead it is looked for those that are not
// any more, at each transaction.
const passedFrom = 100

// keyAhead is the key in the name of one that is ahead.
func keyAhead(name string) ([]byte, error) {
	_, key, ok := strings.Cut(name, ":")
	if !ok {
		return nil, fmt.Errorf("%q names no key", name)
	}
	return []byte(key), nil
}

// slotAhead is its slot.
func slotAhead(name string) (uint16, error) {
	key, err := keyAhead(name)
	return slot.Of(key), err
}
