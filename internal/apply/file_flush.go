package apply

import (
	"bytes"
	"context"
	"strconv"

	"godwit/internal/refresh"
	"godwit/internal/route"
)

// empty has the shards come to a rest and deletes the keys one by one. It is done again
// where it is not known to have been done: a shard that has had any command after it has
// none of these keys, or has made them since. Nobody is to read the target meanwhile, so
// that a transaction need not be carried out at once.
func (x *player) empty(way *route.Way) error {
	x.divide()
	for _, l := range x.lanes {
		l.flush()
	}
	for i, l := range x.lanes {
		if err := l.drained(x.ctx); err != nil {
			return err
		}
		if x.end <= x.had[i].at || x.skip[i] > 0 {
			continue
		}
		if err := x.emptyAt(x.ctx, l, way); err != nil {
			return err
		}
	}
	return nil
}

// emptyAt is empty of one shard.
func (x *player) emptyAt(ctx context.Context, l *lane, way *route.Way) error {
	scan, err := refresh.Dial(ctx, l.shard)
	if err != nil {
		return err
	}
	defer func() { _ = scan.Close() }() // every reply was read
	c, err := dial(ctx, l.shard)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // every reply was read
	loaded, err := c.do("SCRIPT", "LOAD", unlinkScript)
	if err != nil {
		return err
	}
	pattern := string(globLiteral(way.Prefix)) + "*"
	for cursor := uint64(0); ; {
		next, names, err := scan.Scan(ctx, way.To, cursor, pattern, scanCount)
		if err != nil {
			return err
		}
		args := []string{"EVALSHA", string(loaded[0]), "0", strconv.Itoa(way.To)}
		for _, name := range names {
			from, _, ok := x.route.Back(way.To, name)
			if ok && from == way.From && !bytes.Equal(name, l.key) {
				args = append(args, string(name))
			}
		}
		if len(args) > 4 {
			if _, err := c.do(args...); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
