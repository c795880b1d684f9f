package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"godwit/internal/refresh"
)

// maxRounds is how many pairs of snapshots the second look takes where buckets go on
// to differ that did not before.
const maxRounds = 4

// snapshot compares by snapshots: first all keys in sums, then, one by one, those
// in the buckets that were not the same.
func (r *run) snapshot(ctx context.Context) error {
	r.enter(StageSnapshot)
	first, err := r.takeLook(ctx, nil)
	if err != nil {
		return err
	}
	defer first.close()
	if err := r.startOver(); err != nil {
		return err
	}
	suspects := differing(first.source.table, first.target.table)
	if suspects.size() == 0 {
		first.holds(r)
		return nil
	}
	r.enter(StageSecondLook)
	for round := 1; ; round++ {
		second, err := r.takeLook(ctx, suspects)
		if err != nil {
			return err
		}
		defer second.close() // at most maxRounds of them
		differ := differing(second.source.table, second.target.table)
		settled := suspects.size() - suspects.common(differ)
		// Where both were seen at one offset twice, a bucket that differs only now was
		// made different by somebody who writes to the target. Elsewhere there are such
		// at all times, of keys on their way, as many as at the look before: more say
		// that something has become of a side, a FLUSHALL or a restart with other data.
		exact, before := second.aligned && r.stretch == 0, suspects.size()
		suspects.addAll(differ)
		fresh := suspects.size() - before
		if (exact && fresh > 0 || fresh > 2*before) && round < maxRounds {
			second.close()
			continue
		}
		if second.aligned {
			second.holds(r)
			r.settled(settled)
		}
		if err := r.judge(ctx, second); err != nil || !exact || fresh == 0 || r.differences() > 0 {
			return err
		}
		return &hintedError{
			fmt.Errorf("each of %d looks found other keys to differ, and no key of the look before", maxRounds+1),
			"somebody writes to the target: see that it is read-only, and that nothing else replicates to it",
		}
	}
}

// judge joins what the second look has kept. Where it saw both sides at one offset
// these are the differences, else they are looked at again.
func (r *run) judge(ctx context.Context, l *look) error {
	var batch candidates
	judgement := judgement{stretch: r.stretch, expired: l.expired, source: r.source, target: r.target}
	err := join(ctx, l.source.records, l.target.records, func(source, target []record) error {
		for _, d := range judgement.differences(source, target) {
			if l.aligned && d.Kind != Twice { // which one look does not prove, see settling.lookAt
				if err := r.found(d); err != nil {
					return err
				}
				continue
			}
			if batch.add(d); batch.full() {
				if err := r.settleBatch(ctx, &batch); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.settleBatch(ctx, &batch)
}

// candidates are differences that may settle, as many as memory is meant to hold.
type candidates struct {
	list  []Difference
	bytes int
}

const (
	maxCandidates     = 20_000
	maxCandidateBytes = 8 << 20
)

func (c *candidates) add(d Difference) {
	c.list = append(c.list, d)
	c.bytes += len(d.Key)
}

func (c *candidates) full() bool {
	return len(c.list) >= maxCandidates || c.bytes >= maxCandidateBytes
}

// settleBatch has them looked at again until it is known what they are.
func (r *run) settleBatch(ctx context.Context, c *candidates) error {
	if len(c.list) == 0 {
		return nil
	}
	r.enter(StageSettling)
	r.candidates.Store(int64(len(c.list)))
	defer r.candidates.Store(0)
	err := r.settle(ctx, c.list)
	c.list, c.bytes = c.list[:0], 0
	return err
}

// look is what one snapshot of each side has given.
type look struct {
	source, target seen
	aligned        bool   // both at the same place of the source's stream:
	replid         string // this one
	offset         int64
	expired        int64             // keys that expire then or before count as none, in milliseconds since 1970
	ahead          [][]refresh.Value // what the target has as each shard of the source had it a little later; nil unless aligned
}

// seen is what a look has of a side.
type seen struct {
	table   *table
	records *collector // nil in a look at sums alone
	// libraries are those of several servers; nil for one.
	libraries *librariesSeen
}

func (l *look) close() {
	for _, s := range []seen{l.source, l.target} {
		if s.records != nil {
			s.records.close()
		}
	}
}

// holds says that the result is that of this look.
func (l *look) holds(r *run) {
	if l.aligned {
		r.holds(l.replid, l.offset)
	}
}

// maxTries is how often a look is begun before it is given up.
const maxTries = 5

// takeLook takes a snapshot of each side, and sums them up; of keys in wanted
// buckets it keeps a record each. A snapshot that is cut off, by a FLUSHALL or a
// lost connection, begins anew, and with it the other side's.
func (r *run) takeLook(ctx context.Context, wanted *buckets) (*look, error) {
	for try := 1; ; try++ {
		l, err := r.tryLook(ctx, wanted)
		if err == nil {
			return l, nil
		}
		var passing *passingError
		if ctx.Err() != nil || !errors.As(err, &passing) {
			return nil, err
		}
		if try == maxTries {
			return nil, &hintedError{fmt.Errorf("given up after %d tries: %w", try, err), passing.hint}
		}
		if err := pause(ctx, time.Duration(try)*retryPause); err != nil {
			return nil, err
		}
	}
}

const retryPause = 300 * time.Millisecond

// passingError is one that may be none the next time.
type passingError struct {
	err  error
	hint string // for when it has been one too often
}

func (e *passingError) Error() string { return e.err.Error() }
func (e *passingError) Unwrap() error { return e.err }

func (r *run) tryLook(ctx context.Context, wanted *buckets) (*look, error) {
	l := &look{
		source: seen{table: newTable(), libraries: newLibrariesSeen(r.source)},
		target: seen{table: newTable(), libraries: newLibrariesSeen(r.target)},
	}
	if wanted != nil {
		l.source.records = newCollector(r.cfg.Options.Dir, 0)
		l.target.records = newCollector(r.cfg.Options.Dir, 0)
	}
	if err := r.fill(ctx, l, wanted); err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// fill has both sides begin a snapshot, and reads them.
func (r *run) fill(ctx context.Context, l *look, wanted *buckets) error {
	attached, err := r.attach(ctx, l)
	if err != nil {
		return err
	}
	defer attached.close()
	r.mu.Lock()
	options := r.digest
	r.mu.Unlock()
	l.expired = r.present(ctx)
	options.Expired = l.expired
	r.source.reset()
	r.target.reset()
	group, ctx := errgroup.WithContext(ctx)
	for _, side := range []struct {
		snapshots []*incoming
		seen      seen
	}{{attached.source, l.source}, {attached.target, l.target}} {
		limiter := newLimiter(r.cfg.Options.MaxRate)
		for _, in := range side.snapshots {
			reading := &reading{run: r, in: in, shard: in.shard.number, seen: side.seen, wanted: wanted, options: options, limiter: limiter}
			if in.shard.side == r.source && l.aligned {
				reading.besides = newAhead(l.ahead[in.shard.number])
			}
			group.Go(func() error { return reading.do(ctx) })
		}
	}
	if err := group.Wait(); err != nil {
		return err
	}
	all := &reading{run: r, seen: l.target, wanted: wanted, options: options}
	if err := all.librariesOfAll(r.target); err != nil {
		return err
	}
	for shard, values := range l.ahead {
		instead := &reading{run: r, shard: shard, seen: l.source, wanted: wanted, options: options}
		if err := instead.values(values); err != nil {
			return err
		}
	}
	return nil
}

// present is the time by which keys have expired: the latest of any server's clock,
// now that all snapshots are as they are. Until a server deletes them they are there
// for nobody, and one may delete them before another.
func (r *run) present(ctx context.Context) int64 {
	latest := int64(0)
	for _, s := range []*side{r.source, r.target} {
		for _, shard := range s.shards {
			latest = max(latest, shard.time(ctx))
		}
	}
	return latest
}

// burst is what may be read at once where the rate is limited.
const burst = 64 << 10

// newLimiter limits bytes a second; nil is no limit.
func newLimiter(bytesPerSecond int64) *rate.Limiter {
	if bytesPerSecond == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytesPerSecond), burst)
}

// throttle waits until n bytes, burst at most, may have been read. A limiter does not
// begin to wait where that would take longer than ctx lasts: its end is waited for,
// to fail by that.
func throttle(ctx context.Context, l *rate.Limiter, n int) error {
	if l == nil || l.WaitN(ctx, n) == nil {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}

// pause waits, but not longer than ctx.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
