package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"godwit/internal/hold"
	"godwit/internal/refresh"
)

const (
	// heldTries is how often keys are read until the feed could be held at the very
	// offset, and liveTries how often they are written until they are found equal.
	heldTries = 10
	liveTries = 6
	// lockTimeout is how long it may take to end what Unlock has begun.
	lockTimeout = 5 * time.Second
)

// mendHeld repairs keys while the target stands where the source's values are from.
func (m *mender) mendHeld(ctx context.Context, db int, keys []*ailing) error {
	for try := 0; ; try++ {
		again, err := m.hold(ctx, db, keys)
		if again == nil {
			return err
		}
		if try == heldTries-1 {
			return again
		}
		if err := pause(ctx, firstPause<<min(try, 5)); err != nil {
			return err
		}
	}
}

// errMoved says that the target did not stand where it was stopped.
var errMoved = errors.New("the target's feed went on while it was to be held")

// hold repairs keys once. again says why it has to be tried again: for keys that
// were written it is not certain that they are what the source had.
func (m *mender) hold(ctx context.Context, db int, keys []*ailing) (again, err error) {
	held, err := m.run.trail(ctx, m.pair.source.shardsOf(db, keys[0].key))
	if err != nil {
		return heldError(ctx, err)
	}
	defer held.release()
	names := namesOf(keys)
	all, at, err := m.stopAt(ctx, held, db, names)
	var stopped *stoppedError
	switch {
	case errors.As(err, &stopped):
		return heldError(ctx, stopped.err)
	case err != nil:
		return nil, err
	}
	values := m.sole(all, keys)
	var had []refresh.Value // of a large value it is not asked: that it was found to differ must do
	var stood bool
	if len(keys) > 1 || len(values[0].Payload) < lookBytes {
		if had, stood, err = m.targetAt(ctx, db, names, at); err != nil {
			return nil, err
		}
		if !stood {
			return errMoved, nil
		}
	}
	write, err := m.plan(ctx, keys, values, had, max(latest(all), m.pair.now()))
	if err != nil || len(write.keys) == 0 {
		return nil, err
	}
	if err := m.writeHeld(ctx, db, at, write); err != nil {
		if errors.Is(err, errMoved) {
			return err, nil
		}
		return nil, err
	}
	now, stood, err := m.targetAt(ctx, db, namesOf(write.keys), at)
	if err == nil && held.err() != nil {
		stood = false
	}
	if err != nil {
		return nil, err
	}
	held.release() // what is left to do needs only what has been read
	if !stood {
		return errMoved, nil
	}
	return nil, m.check(ctx, write, now, m.pair.now())
}

// targetAt reads keys of a target that is stopped, and tells whether it stands where it
// is to. Of a primary that cannot be seen, nor of a replica that others feed as well: only
// its hold knows.
func (m *mender) targetAt(ctx context.Context, db int, keys [][]byte, at hold.Stand) (values []refresh.Value, stands bool, err error) {
	if at.ReplID == "" {
		values, err = m.pair.target.values(ctx, db, keys)
		return values, true, err
	}
	values, place, err := m.pair.target.readAt(ctx, db, keys)
	return values, samePlace(place, at), err
}

// check compares what was written with what the target has now.
func (m *mender) check(ctx context.Context, write writing, has []refresh.Value, now int64) error {
	for i, a := range write.keys {
		if a.outcome != "" {
			continue
		}
		kind, err := m.compare(ctx, &write.values[i], &has[i], now)
		if err != nil {
			return err
		}
		if kind != "" {
			a.failed(fmt.Errorf("it was written, and still differs: %s", kind))
			continue
		}
		a.outcome = a.written
	}
	return nil
}

func samePlace(a refresh.Place, b hold.Stand) bool {
	return a.ReplID == b.ReplID && a.Offset == b.Offset
}

// heldError is an error of a feed, which may come back: another try may do.
func heldError(ctx context.Context, err error) (again, final error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return &hintedError{
		fmt.Errorf("the target could not be held at an offset of the source: %w", err),
		"see that the migration's link is up, then repair again",
	}, nil
}

// writing is what is to be written, and for which keys.
type writing struct {
	keys   []*ailing
	values []refresh.Value
}

// plan compares both sides, and finds what is to be written. What has expired by
// now is not there on either. had is nil for one large value.
func (m *mender) plan(ctx context.Context, keys []*ailing, values, had []refresh.Value, now int64) (write writing, err error) {
	for i, a := range keys {
		kind := Changed
		switch {
		case a.outcome != "": // several servers have it
			continue
		case values[i].TooLarge > 0:
			a.failed(fmt.Errorf("a value of %d bytes is more than RESTORE takes", values[i].TooLarge))
			continue
		case had != nil && had[i].TooLarge == 0:
			if kind, err = m.compare(ctx, &values[i], &had[i], now); err != nil {
				return write, err
			}
		case !values[i].Exists():
			kind = Extra
		}
		if m.choose(a, kind) {
			write.keys, write.values = append(write.keys, a), append(write.values, values[i])
		}
	}
	return write, nil
}

// compare tells how a key differs.
func (m *mender) compare(ctx context.Context, source, target *refresh.Value, now int64) (Kind, error) {
	a, err := m.pair.source.sum(ctx, source, now)
	if err != nil {
		return "", err
	}
	b, err := m.pair.target.sum(ctx, target, now)
	return m.pair.differ(a, b, now), err
}

// writeHeld writes to the target while it is held at a place. After an error what was
// sent may still be on its way: only the hold's release sees to that.
func (m *mender) writeHeld(ctx context.Context, db int, at hold.Stand, write writing) error {
	lock := func(context.Context) error { return nil }
	var err error
	if m.run.cfg.Unlock != nil {
		if lock, err = m.run.cfg.Unlock(ctx); err != nil {
			return err
		}
	}
	var place refresh.Place
	if m.replica {
		place, err = m.pair.target.conns[0].WriteReplica(ctx, write.values)
		err = refusedValues(write.keys, err)
	} else {
		err = m.write(ctx, db, write)
	}
	if err != nil {
		return err
	}
	within, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTimeout)
	defer cancel()
	if err := lock(within); err != nil {
		return err
	}
	if place != (refresh.Place{}) && at.ReplID != "" && !samePlace(place, at) {
		return errMoved
	}
	return nil
}

// mendLive repairs keys while both sides are written to.
func (m *mender) mendLive(ctx context.Context, db int, keys []*ailing) error {
	for try := range liveTries {
		if try > 1 { // the first time it is read at once what was written
			if err := pause(ctx, firstPause<<try); err != nil {
				return err
			}
		}
		left, err := m.live(ctx, db, keys)
		if err != nil || len(left) == 0 {
			return err
		}
		keys = left
	}
	for _, a := range keys {
		a.failed(errors.New("it was written, and differs again: clients write to it on one side or on both"))
	}
	return nil
}

// live compares keys and writes those that differ. It returns those that it has
// written: they are to be compared again.
func (m *mender) live(ctx context.Context, db int, keys []*ailing) (written []*ailing, err error) {
	var source, target []refresh.Value
	names := namesOf(keys)
	err = m.pair.both(ctx, func(ctx context.Context, r *reader) (err error) {
		switch {
		case r == m.pair.source && r.side.scattered(db):
			var all []glimpse
			if all, err = r.readAll(ctx, db, names, nil); err == nil {
				source = m.sole(all, keys)
			}
		case r == m.pair.source:
			source, err = r.values(ctx, db, names)
		default:
			target, err = r.values(ctx, db, names)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	write, err := m.plan(ctx, keys, source, target, m.pair.now())
	if err != nil || len(write.keys) == 0 {
		return nil, err
	}
	if err := m.write(ctx, db, write); err != nil {
		return nil, err
	}
	for _, a := range write.keys {
		if a.outcome == "" {
			written = append(written, a)
		}
	}
	return written, nil
}

// write writes to the shards that serve the keys; libraries to every one.
func (m *mender) write(ctx context.Context, db int, write writing) error {
	target := m.pair.target
	if db == libraries {
		for shard := range target.conns {
			c, err := target.conn(ctx, target.conns, shard)
			if err != nil {
				return err
			}
			if err := refusedValues(write.keys, c.Write(ctx, write.values)); err != nil {
				return err
			}
		}
		return nil
	}
	values := target.side.placed(write.values)
	return target.eachShard(ctx, db, namesOf(write.keys), func(c *refresh.Conn, _ int, _ [][]byte, at []int) error {
		if at == nil {
			return refusedValues(write.keys, c.Write(ctx, values))
		}
		var own writing
		for _, i := range at {
			own.keys, own.values = append(own.keys, write.keys[i]), append(own.values, values[i])
		}
		return refusedValues(own.keys, c.Write(ctx, own.values))
	})
}

// values reads keys by value. They are valid until the next reading.
func (r *reader) values(ctx context.Context, db int, keys [][]byte) ([]refresh.Value, error) {
	if db == libraries && r.side.onEvery() {
		return r.librariesOnEvery(ctx, keys)
	}
	all := notThere(db, keys)
	if lacks, err := r.lacks(ctx, db); lacks || err != nil {
		return all, err
	}
	err := r.eachShard(ctx, db, keys, func(c *refresh.Conn, db int, keys [][]byte, at []int) error {
		values, err := c.Look(ctx, db, keys)
		for i, v := range values {
			if r.side.ruled() && db == libraries {
				v = addLibrary(all[place(at, i)], v)
			}
			if v.Exists() || !r.side.scattered(db) {
				all[place(at, i)] = v
			}
		}
		return err
	})
	if err == nil {
		r.side.named(all, db, keys)
	}
	return all, err
}
