package apply

import (
	"context"
	"fmt"

	"godwit/internal/command"
	"godwit/internal/refresh"
	"godwit/internal/reserved"
	"godwit/internal/slot"
)

// beyond carries a command that concerns two dbs.
func (d *dispatcher) beyond(ctx context.Context, args [][]byte) error {
	b, err := d.placer.Beyond(args)
	switch {
	case err != nil:
		return err
	case b.Key == nil:
		return d.swap(b)
	}
	if d.written, err = d.placer.AppendWritten(d.written[:0], args); err != nil {
		return err
	}
	if len(d.written) > 0 {
		if err := d.carryOf(ctx, d.selection, d.written); err != nil || b.DB == d.db {
			return err
		}
	}
	return d.carryOf(ctx, selects(d.route, b.DB), [][]byte{b.Key})
}

// carryOf carries keys of a db of the source by value, unless it stays behind.
func (d *dispatcher) carryOf(ctx context.Context, s selection, keys [][]byte) error {
	if s.way == nil {
		return d.wayless(s, slot.Of(keys[0]))
	}
	if s.way.Stays {
		return nil
	}
	names := make([][]byte, len(keys))
	for i, key := range keys {
		var err error
		if names[i], err = s.way.AppendName(nil, key); err != nil {
			return err
		}
	}
	return d.byValue(ctx, s.to, names, false)
}

// swap is for a SWAPDB: by what names the keys of both dbs go to the target, and where
// to, is another thing from then on for all of them.
func (d *dispatcher) swap(b command.Beyond) error {
	if b.DB != b.With && !d.route.Maps() {
		return fmt.Errorf("SWAPDB: %w", errCopyAgain)
	}
	if err := d.route.Swap(b.DB, b.With); err != nil {
		return fmt.Errorf("%w: %w", err, errCopyAgain)
	}
	return nil
}

// flushDB deletes the keys of a db, where the target may have others in the
// same db. Slots that have had the command keep what they were given after it, and keys
// that are ahead of it what they have.
func (d *dispatcher) flushDB(ctx context.Context, s selection) error {
	had := true
	for i := range d.lanes {
		had = had && d.hadBy(i)
	}
	if had {
		return nil
	}
	if d.inside {
		// What the transaction wrote before is not there yet to be found.
		return fmt.Errorf("the keys of db %d are deleted within a transaction: %w", s.db, errCopyAgain)
	}
	for _, l := range d.lanes {
		l.flush()
	}
	for i, l := range d.lanes {
		if d.hadBy(i) {
			continue
		}
		if err := l.reached(ctx, l.number); err != nil {
			return err
		}
		if err := d.flushDBAt(ctx, s, i); err != nil {
			return err
		}
	}
	return nil
}

// flushDBAt is flushDB of the keys of one lane, which is at a rest.
func (d *dispatcher) flushDBAt(ctx context.Context, s selection, i int) error {
	l := d.lanes[i]
	c, err := refresh.Dial(ctx, l.shard)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // every reply was read, or there is an error that tells more
	pattern := string(globLiteral(s.way.Prefix)) + "*"
	d.touched[i] = true
	l.give(d.end)
	for cursor := uint64(0); ; {
		next, names, err := c.Scan(ctx, s.to, cursor, pattern, scanCount)
		if err != nil {
			return err
		}
		for _, name := range names {
			of := slot.Of(name)
			from, _, ok := d.route.Back(s.to, name)
			if !ok || from != s.db || int(d.shard[of]) != i || reserved.Is(name) ||
				d.end <= d.had[d.mark[of]].at || d.values.has(s.to, name, d.end) {
				continue
			}
			if err := d.place(ctx, refresh.Value{DB: s.to, Key: name}); err != nil {
				return err
			}
			if l.now.full() {
				l.flush()
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
