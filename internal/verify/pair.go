package verify

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/rdb"
)

// keyState is what one side has of a key.
type keyState struct {
	Found
	there bool
	// torn says that what was read of it is not one value: it changed meanwhile.
	torn bool
	// servers are the addresses of those of a divided side that have it, and twice says that
	// they are more than one.
	servers string
	twice   bool
}

// at is what there is of it at that time: the servers delete a key that has
// expired when they come to it, one sooner than the other.
func (s keyState) at(now int64) keyState {
	if s.lastsUntil(now) && !s.twice { // then one may expire, and the other not
		return keyState{}
	}
	return s
}

// lastsUntil tells whether it expires then or before.
func (s keyState) lastsUntil(then int64) bool {
	return s.there && s.ExpireAt != rdb.None && s.ExpireAt <= then
}

func (s keyState) isStream() bool { return s.there && s.Type == "stream" }

// same tells whether nothing has become of it between two looks.
func (s keyState) same(before keyState) bool { return s == before && !s.torn }

// found is what a Difference says of it.
func (s keyState) found() *Found {
	if !s.there {
		return nil
	}
	return &s.Found
}

// pair reads keys of both sides. It is for one goroutine.
type pair struct {
	source, target *reader
	stretch        int64 // see run.stretch
}

// differ is in what way a key differs at that time, "" if it does not.
func (p *pair) differ(source, target keyState, now int64) Kind {
	source, target = source.at(now), target.at(now)
	switch {
	case source.twice:
		return Twice
	case source.there && target.there:
		return compareFound(&source.Found, &target.Found, p.stretch)
	case source.there && !source.lastsUntil(now+p.stretch):
		return Missing
	case target.there && !target.lastsUntil(now+p.stretch):
		return Extra
	default: // neither has it, or one only because it lives longer there
		return ""
	}
}

func (p *pair) close() {
	p.source.close()
	p.target.close()
}

// both does the same on both sides at the same time.
func (p *pair) both(ctx context.Context, do func(context.Context, *reader) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return do(ctx, p.source) })
	group.Go(func() error { return do(ctx, p.target) })
	return group.Wait()
}

// setClocks finds out what time it is for the servers.
func (p *pair) setClocks(ctx context.Context) error {
	return p.both(ctx, func(ctx context.Context, r *reader) error { return r.setClock(ctx) })
}

// now is the later of the servers' two clocks, in milliseconds since 1970: what has
// expired by it has, or is about to, on both sides.
func (p *pair) now() int64 {
	return max(p.source.now(), p.target.now())
}

// sizes are what the keys take in the servers' memory: the larger of both sides,
// 0 where neither has it.
func (p *pair) sizes(ctx context.Context, db int, keys [][]byte) ([]int64, error) {
	var source, target []int64
	err := p.both(ctx, func(ctx context.Context, r *reader) (err error) {
		if r == p.source {
			source, err = r.sizes(ctx, db, keys)
		} else {
			target, err = r.sizes(ctx, db, keys)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for i, n := range target {
		source[i] = max(source[i], n)
	}
	return source, nil
}

// look reads keys on both sides at the same time.
func (p *pair) look(ctx context.Context, db int, keys [][]byte) (source, target []keyState, err error) {
	sizes, err := p.sizes(ctx, db, keys)
	if err != nil {
		return nil, nil, err
	}
	return p.lookSized(ctx, db, keys, sizes)
}

// lookSized is look for keys whose sizes are known.
func (p *pair) lookSized(ctx context.Context, db int, keys [][]byte, sizes []int64) (source, target []keyState, err error) {
	err = p.both(ctx, func(ctx context.Context, r *reader) (err error) {
		if r == p.source {
			source, err = r.look(ctx, db, keys, sizes)
		} else {
			target, err = r.look(ctx, db, keys, sizes)
		}
		return err
	})
	return source, target, err
}

// anyDiffers tells whether any key does.
func (p *pair) anyDiffers(s sight) bool {
	now := p.now()
	for i := range s.source {
		if p.differ(s.source[i], s.target[i], now) != "" {
			return true
		}
	}
	return false
}

// doubt takes the certainty from streams that differ and are no longer, on those
// sides, what they were when seen: WATCH tells nothing of XREADGROUP, XACK, XCLAIM and
// XGROUP, none of which signals that the key was modified (t_stream.c). The times and
// numbers of deliveries keep a stream that is consumed from being again what it was.
func (p *pair) doubt(ctx context.Context, db int, keys [][]byte, sizes []int64, seen sight, sides ...*reader) error {
	var at []int
	var names [][]byte
	var theirs []int64
	now := p.now()
	for i, key := range keys {
		source, target := seen.source[i], seen.target[i]
		if seen.certain[i] && (source.isStream() || target.isStream()) && p.differ(source, target, now) != "" {
			at, names, theirs = append(at, i), append(names, key), append(theirs, sizes[i])
		}
	}
	for _, r := range sides {
		again, err := r.look(ctx, db, names, theirs)
		if err != nil {
			return err
		}
		before := seen.source
		if r == p.target {
			before = seen.target
		}
		for n, i := range at {
			seen.certain[i] = seen.certain[i] && again[n].same(before[i])
		}
	}
	return nil
}

// lookWatched is lookSized that tells whether nothing has changed from before until
// wait after it, on both sides. It waits only if something differs.
func (p *pair) lookWatched(ctx context.Context, db int, keys [][]byte, sizes []int64, wait time.Duration) (seen sight, unchanged bool, err error) {
	err = p.both(ctx, func(ctx context.Context, r *reader) error { return r.watch(ctx, db, keys) })
	if err != nil {
		return sight{}, false, err
	}
	if seen.source, seen.target, err = p.lookSized(ctx, db, keys, sizes); err != nil {
		return sight{}, false, err
	}
	if p.anyDiffers(seen) {
		if err := pause(ctx, wait); err != nil {
			return sight{}, false, err
		}
	}
	var source, target bool
	err = p.both(ctx, func(ctx context.Context, r *reader) (err error) {
		if r == p.source {
			source, _, err = r.unchanged(ctx)
		} else {
			target, _, err = r.unchanged(ctx)
		}
		return err
	})
	return seen, source && target, err
}
