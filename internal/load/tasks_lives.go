package load

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"godwit/internal/shards"
)

const (
	// shortLife is what every key of mortals is given first.
	shortLife = 1200 * time.Millisecond
	// rescueAt is how long before its end a key's life is extended, at the earliest.
	rescueAt = 400 * time.Millisecond
	// longLife is what half of the rescued keys are given; the others lose their TTL.
	longLife = 24 * time.Hour
)

// mortals sets keys with a short TTL, and extends the life of every other one shortly
// before its end. Those must be there in the end, and all others must be gone.
type mortals struct {
	id       int
	key      string // before its number
	lives    []life
	rescue   int // the first that has not been looked at since
	rescuing bool
}

// life is one key.
type life struct {
	due     time.Duration // of Load.now, when it is to be rescued
	born    outcome
	rescued outcome
	there   bool // as the reply to the rescue has it
}

func (t *mortals) name() string {
	if t.rescuing {
		return "PEXPIRE"
	}
	return "SET PX"
}

func (t *mortals) keyOf(n int) string { return t.key + strconv.Itoa(n) }

func (t *mortals) next(now time.Duration) write {
	for t.rescue < len(t.lives) && (t.rescue%2 == 1 || t.lives[t.rescue].born == refused) {
		t.rescue++
	}
	t.rescuing = t.rescue < len(t.lives) && t.lives[t.rescue].due <= now
	if !t.rescuing {
		key := t.keyOf(len(t.lives))
		t.lives = append(t.lives, life{due: now + shortLife - rescueAt, rescued: never})
		return newWrite(key, "SET", key, "mortal", "PX", strconv.FormatInt(shortLife.Milliseconds(), 10))
	}
	key := t.keyOf(t.rescue)
	t.rescue++
	if t.persists(t.rescue - 1) {
		return newWrite(key, "PERSIST", key)
	}
	return newWrite(key, "PEXPIRE", key, strconv.FormatInt(longLife.Milliseconds(), 10))
}

// persists tells in which way a key's life is extended.
func (t *mortals) persists(n int) bool { return n%4 == 0 }

func (t *mortals) end(is outcome, r reply) {
	if t.rescuing {
		l := &t.lives[t.rescue-1]
		l.rescued, l.there = is, r.integer == 1
		return
	}
	t.lives[len(t.lives)-1].born = is
}

// lives: SET with a short TTL, then PERSIST or PEXPIRE just in time, or nothing.
func lives() work {
	return work{
		start: func(prefix string, id int) task { return &mortals{id: id, key: fmt.Sprintf("%s%d:life:", prefix, id)} },
		check: func(ctx context.Context, a *audit, tasks []task) error {
			if err := a.awaitDeaths(ctx); err != nil {
				return err
			}
			for _, t := range tasks {
				if err := t.(*mortals).check(ctx, a); err != nil {
					return err
				}
			}
			return nil
		},
	}
}

// awaitDeaths waits until every short life is over.
func (a *audit) awaitDeaths(ctx context.Context) error {
	over := time.NewTimer(time.Duration(a.load.stopped.Load()) + shortLife + 100*time.Millisecond - a.load.now())
	defer over.Stop()
	select {
	case <-over.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *mortals) check(ctx context.Context, a *audit) error {
	for first := 0; first < len(t.lives); first += pageSize {
		last := min(first+pageSize, len(t.lives))
		commands := make([]shards.Command, 0, pageSize)
		for n := first; n < last; n++ {
			commands = append(commands, shards.Command{"PTTL", t.keyOf(n)})
		}
		ttls, err := a.ask(ctx, commands...)
		if err != nil {
			return err
		}
		for i, ttl := range ttls {
			ms, _ := ttl.(int64)
			t.checkLife(a, first+i, time.Duration(ms)*time.Millisecond, ms)
		}
	}
	return nil
}

// checkLife takes the reply to PTTL: -2 for a key that is not there, -1 for one
// without a TTL.
func (t *mortals) checkLife(a *audit, n int, ttl time.Duration, reply int64) {
	l, key := t.lives[n], t.keyOf(n)
	if l.born == acked {
		a.report.Found++ // its death is as it should be, or its life is
	}
	gone := reply == -2
	rescued := l.rescued == acked && l.there
	switch {
	case rescued && gone:
		a.lost(1, "%s is gone, its life was extended", key)
		return
	case rescued && t.persists(n) != (reply == -1):
		a.lost(1, "%s: PTTL is %d after its life was extended", key, reply)
		return
	case rescued && reply >= 0 && (ttl > longLife || ttl < longLife-time.Duration(a.load.now())-time.Minute):
		a.lost(1, "%s: PTTL is %d after its life was extended to %v", key, reply, longLife)
		return
	case !gone && !rescued && l.rescued != unknown:
		a.doubled(1, "%s is there, its life is over", key)
	}
	if l.rescued == acked {
		a.report.Found++
	}
}
