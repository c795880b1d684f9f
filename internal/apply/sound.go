package apply

import (
	"context"
	"maps"
	"math"
	"slices"
	"sync/atomic"

	"godwit/internal/slot"
)

// A shard is sound up to an offset if it has everything up to there, and whatever
// it has let go of by itself, between commands that came late, has been carried by
// value since. Only this counts as applied: for the source, and for who asks whether
// the target has it all. The checkpoint has the place, too (safe): after a crash
// nobody remembers what the shard was about to be told, so the keys of the commands
// from there to the checkpoint are in doubt, and are carried by value.

// flaw is a place in the stream from which on a shard may have a key wrong.
type flaw struct {
	from mark
	// mended is the number of the batch that carries the key by value.
	mended int64
}

// What mended is as long as there is no such batch.
const (
	unseen = math.MaxInt64     // by the dispatcher
	seen   = math.MaxInt64 - 1 // it is being seen to
)

// sound is up to where the shard is.
func (l *lane) sound() mark {
	l.mu.Lock()
	defer l.mu.Unlock()
	least := l.answered
	for _, f := range l.flaws {
		if f.from.at < least.at {
			least = f.from
		}
	}
	return least
}

// mend says that what takeLosses gave is carried by value by the batch that was begun
// last, or is not wrong.
func (l *lane) mend(carried bool) {
	number := int64(0)
	if carried {
		number = l.number
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range l.flaws {
		if l.flaws[i].mended == seen {
			l.flaws[i].mended = number
		}
	}
	l.dropMended(l.finished)
}

// dropMended forgets what was mended by batches up to this one.
func (l *lane) dropMended(number int64) {
	l.flaws = slices.DeleteFunc(l.flaws, func(f flaw) bool { return f.mended <= number })
}

// alarm is raised by lanes that have something for the dispatcher.
type alarm struct {
	raised atomic.Bool
	wake   atomic.Pointer[context.CancelFunc] // ends its waiting; nil while it does not wait
}

func (a *alarm) raise() {
	a.raised.Store(true)
	if wake := a.wake.Load(); wake != nil {
		(*wake)()
	}
}

// waiting is a context for waiting, which ends when the alarm is raised.
func (a *alarm) waiting(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	a.wake.Store(&cancel)
	if a.raised.Load() {
		cancel()
	}
	return ctx, cancel
}

// doubts are keys of commands that a shard had before it was known to be sound.
type doubts struct {
	until int64               // the end of the last such command
	keys  map[string]struct{} // by the names of carrier.name
}

// suspect notes the keys that a command found, of slots that have had it and may have
// been wrong then.
func (d *dispatcher) suspect(args [][]byte) error {
	var err error
	if d.late, err = d.placer.AppendRead(d.late[:0], args); err != nil {
		return err
	}
	for _, key := range d.late {
		if had := d.had[d.mark[slot.Of(key)]]; d.end <= had.at && d.end > had.sound.at {
			name := string(d.values.name(d.to, key))
			d.doubts.keys[name] = struct{}{}
			d.gone[name] = struct{}{}
		}
	}
	return nil
}

// attend sees to what the lanes were told, and to keys in doubt once all are known.
func (d *dispatcher) attend(ctx context.Context) error {
	if d.lost.raised.Load() {
		if err := d.heed(ctx); err != nil {
			return err
		}
		if err := d.errand(ctx); err != nil {
			return err
		}
	}
	if d.doubts.keys == nil || d.offset < d.doubts.until {
		return nil
	}
	keys := map[int][][]byte{}
	for _, name := range slices.Sorted(maps.Keys(d.doubts.keys)) {
		if _, gone := d.gone[name]; !gone {
			continue // it was seen to meanwhile
		}
		db, key, err := named(name)
		if err != nil {
			return err
		}
		keys[db] = append(keys[db], key)
	}
	if err := d.carry(ctx, keys); err != nil {
		return err
	}
	d.doubts.keys = nil
	for _, l := range d.lanes {
		l.mend(true)
	}
	return nil
}
