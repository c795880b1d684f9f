package verify

import (
	"context"
	"errors"
	"time"

	"godwit/internal/hold"
	"godwit/internal/refresh"
)

// sight is what was seen of some keys.
type sight struct {
	source, target []keyState
	// certain are those of which it is certain that they differ, if they do:
	//   - with a Feed, because both values are of one offset (lookHeld);
	//   - where the target is a replica of the source, because the source had that
	//     value from before the place at which the target was looked at until after
	//     it (lookAtPlaces);
	//   - else because neither side has changed for as long as it takes a key to get
	//     across (lookQuietly).
	// That a value has not changed is what the server says, by WATCH: equal values
	// prove nothing where a key toggles between two. What WATCH does not see, doubt does.
	certain []bool
}

const (
	// quiet is for how long both sides must have left a key alone where nothing else
	// tells that the target has got what the source has sent.
	quiet = time.Second
	// behind is for how long a replica may lag behind during a look.
	behind = 500 * time.Millisecond
	// holdTries is how often a feed is held for the same keys during a look.
	holdTries = 4
	// placeTries is how often a key by itself is read during a look, for one that
	// is written all the time.
	placeTries = 8
)

func newSight(n int) sight {
	return sight{make([]keyState, n), make([]keyState, n), make([]bool, n)}
}

func keysOf(suspects []*suspect) (db int, keys [][]byte) {
	keys = make([][]byte, len(suspects))
	for i, s := range suspects {
		keys[i] = s.Key
	}
	return suspects[0].DB, keys
}

// follows tells whether the target has the source's stream and offsets, as its
// replica.
func (s *settling) follows(ctx context.Context) (bool, error) {
	p := s.pair
	if p.source.sharded() || p.target.sharded() {
		return false, nil
	}
	source, err := p.source.where(ctx, 0)
	if err != nil {
		return false, err
	}
	target, err := p.target.where(ctx, 0)
	return source.ReplID != "" && source.ReplID == target.ReplID, err
}

// lookQuietly waits with those that were steady at the last two looks whether they
// stay so.
func (s *settling) lookQuietly(ctx context.Context, suspects []*suspect) (sight, error) {
	db, keys := keysOf(suspects)
	sizes, err := s.pair.sizes(ctx, db, keys)
	if err != nil {
		return sight{}, err
	}
	if !suspects[0].steady {
		seen := newSight(len(keys))
		seen.source, seen.target, err = s.pair.lookSized(ctx, db, keys, sizes)
		return seen, err
	}
	seen, unchanged, err := s.pair.lookWatched(ctx, db, keys, sizes, quiet)
	if err != nil {
		return seen, err
	}
	seen.certain = make([]bool, len(keys))
	for i, key := range suspects {
		key.tries++
		seen.certain[i] = unchanged
	}
	return seen, s.pair.doubt(ctx, db, keys, sizes, seen, s.pair.source, s.pair.target)
}

// lookAtPlaces reads the target where it has what the source was read with.
func (s *settling) lookAtPlaces(ctx context.Context, suspects []*suspect) (sight, error) {
	db, keys := keysOf(suspects)
	if db == libraries { // which cannot be watched, and hardly ever change
		return s.lookQuietly(ctx, suspects)
	}
	tries := 1
	if len(keys) == 1 {
		tries = placeTries
	}
	for try := 1; ; try++ {
		seen, err := s.lookOnce(ctx, db, keys)
		if err != nil {
			return seen, err
		}
		if !seen.certain[0] && try < tries && s.pair.anyDiffers(seen) {
			continue
		}
		for _, key := range suspects {
			key.tries++
		}
		return seen, nil
	}
}

func (s *settling) lookOnce(ctx context.Context, db int, keys [][]byte) (sight, error) {
	p := s.pair
	seen := newSight(len(keys))
	sizes, err := p.sizes(ctx, db, keys)
	if err != nil {
		return seen, err
	}
	if err := p.source.watch(ctx, db, keys); err != nil {
		return seen, err
	}
	var from, reached, last refresh.Place
	if seen.source, _, from, err = p.source.lookAt(ctx, db, keys, sizes); err != nil {
		return seen, err
	}
	for begun := time.Now(); ; {
		if seen.target, reached, last, err = p.target.lookAt(ctx, db, keys, sizes); err != nil {
			return seen, err
		}
		if reached.ReplID != from.ReplID || reached.Offset >= from.Offset || time.Since(begun) > behind {
			break
		}
		if err := pause(ctx, time.Millisecond); err != nil {
			return seen, err
		}
	}
	unchanged, then, err := p.source.unchanged(ctx, 0)
	if err != nil {
		return seen, err
	}
	until := then[0].at
	certain := unchanged && reached.ReplID == from.ReplID && until.ReplID == from.ReplID && last.ReplID == from.ReplID &&
		from.Offset <= reached.Offset && last.Offset <= until.Offset
	for i := range seen.certain {
		seen.certain[i] = certain
	}
	return seen, p.doubt(ctx, db, keys, sizes, seen, p.source)
}

// lookHeld reads both sides at the same offset.
func (s *settling) lookHeld(ctx context.Context, suspects []*suspect) (sight, error) {
	db, keys := keysOf(suspects)
	all := newSight(len(keys))
	sizes, err := s.pair.sizes(ctx, db, keys)
	if err != nil {
		return all, err
	}
	for start := 0; start < len(keys); {
		end := s.pair.source.together(db, keys, sizes, start)
		part := sight{all.source[start:end], all.target[start:end], all.certain[start:end]}
		if sizes[start] > s.pair.source.large {
			err = s.holdLarge(ctx, db, keys[start:end], sizes[start:end], part)
		} else {
			err = s.holdSmall(ctx, db, keys[start:end], part)
		}
		if err != nil {
			if ctx.Err() != nil {
				return all, err
			}
			// The feed may come back: its keys, of which nothing is known, are looked at again.
			s.failed = err
			for i := range part.source {
				part.source[i] = keyState{torn: true}
			}
		}
		start = end
	}
	return all, nil
}

// holdSmall reads keys at an offset of the source, and of the target at the same.
func (s *settling) holdSmall(ctx context.Context, db int, keys [][]byte, to sight) error {
	for try := 1; ; try++ {
		err := s.holdOnce(ctx, db, keys, to)
		var passed *hold.PassedError
		if !errors.As(err, &passed) || try == holdTries {
			return err
		}
	}
}

func (s *settling) holdOnce(ctx context.Context, db int, keys [][]byte, to sight) error {
	p := s.pair
	held, err := s.run.trail(ctx, p.source.shardsOf(db, keys[0]))
	if err != nil {
		return err
	}
	defer held.release()
	inSource, err := p.source.readAll(ctx, db, keys, nil)
	if err != nil {
		return err
	}
	stands, err := held.stop(ctx, offsets(inSource))
	if err != nil {
		return err
	}
	for i, stand := range stands {
		newAhead(s.run.ahead(stand.Ahead)).replace(inSource[i].values)
	}
	inTarget, err := p.target.values(ctx, db, keys)
	if err == nil {
		err = held.err()
	}
	held.release()
	if err != nil {
		return err
	}
	now := p.now()
	for i := range keys {
		if to.source[i], err = p.source.sumAll(ctx, inSource, i, now); err != nil {
			return err
		}
		if to.target[i], err = p.target.sum(ctx, &inTarget[i], now); err != nil {
			return err
		}
		to.certain[i] = true
	}
	return nil
}

// holdLarge is for values that take longer to be read than a feed may be held: they
// are read before, and watched up to an offset at which neither has changed.
func (s *settling) holdLarge(ctx context.Context, db int, keys [][]byte, sizes []int64, to sight) error {
	p := s.pair
	err := p.both(ctx, func(ctx context.Context, r *reader) error { return r.watch(ctx, db, keys) })
	if err != nil {
		return err
	}
	source, target, err := p.lookSized(ctx, db, keys, sizes)
	if err != nil {
		return err
	}
	copy(to.source, source)
	copy(to.target, target)
	shards := p.source.shardsOf(db, keys[0])
	held, err := s.run.trail(ctx, shards)
	if err != nil {
		return err
	}
	defer held.release()
	inSource, at, err := p.source.unchanged(ctx, shards...)
	if err != nil || !inSource {
		return err
	}
	if _, err := held.stop(ctx, offsets(at)); err != nil {
		return err
	}
	// One that is ahead there has been written since it was read.
	inTarget, _, err := p.target.unchanged(ctx)
	if err == nil {
		err = held.err()
	}
	held.release()
	if err != nil {
		return err
	}
	for i := range to.certain {
		to.certain[i] = inTarget
	}
	return p.doubt(ctx, db, keys, sizes, to, p.source, p.target)
}
