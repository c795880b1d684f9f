package apply

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/psync"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// feedLink reads the stream of one shard, whoever is its primary, for a Feed.
type feedLink struct {
	feed  *Feed
	name  string // its slots
	slots [slot.Count]bool

	attaching sync.Mutex                      // guards what in is attached to
	primary   atomic.Pointer[server.Endpoint] // that was attached to last; nil before
	// stale tells that the shard's history has parted from what in has read.
	stale bool // guarded by attaching

	// debt is what the replica needs before it can go on in a history of the shard that has
	// parted from that in its checkpoint: of the session.
	debt *debt

	selecting // of the shard's stream; before that counts it is followed under attaching

	gate    gate // where the replica is held back
	feeding bool // a feeder carries the stream; guarded by mu of the feed

	read    atomic.Int64 // offset of the shard up to which its commands were given away
	given   atomic.Int64 // offset up to which there was something to be given
	applied atomic.Int64 // offset up to which the replica has what it was given
}

// reached is the offset of the shard up to which the replica has everything.
func (l *feedLink) reached() int64 {
	read := l.read.Load()
	given := l.given.Load() // what is given after this ends beyond read
	if applied := l.applied.Load(); applied < given {
		return min(read, applied)
	}
	return read
}

// stand sets where the replica stands in the stream of the shard.
func (l *feedLink) stand(offset int64) {
	l.applied.Store(offset)
	l.given.Store(offset)
	l.read.Store(offset)
}

func (l *feedLink) address() string {
	if e := l.primary.Load(); e != nil {
		return e.Address
	}
	return ""
}

// attachTries is how often a shard is asked for its stream from its present place on. One
// that has no backlog makes it, and a new replid, when it is first asked for its stream
// (replication.c syncCommand), and can go on the next time.
const attachTries = 5

// attachNow begins to read the shard where it stands, without a snapshot.
func (l *feedLink) attachNow(ctx context.Context) (ShardStand, error) {
	l.attaching.Lock()
	defer l.attaching.Unlock()
	for try := 1; ; try++ {
		e, err := l.feed.primaryOf(ctx, l.name)
		if err != nil {
			return ShardStand{}, err
		}
		info, err := askPrimary(ctx, e)
		if err != nil {
			return ShardStand{}, err
		}
		at := ShardStand{Shard: l.name, ReplID: info["master_replid"], Offset: info.Int("master_repl_offset")}
		l.in.source = e
		if info["repl_backlog_active"] == "0" {
			err = l.prime(ctx)
		} else if err = l.in.attach(ctx, at.ReplID, at.Offset); err == nil {
			l.primary.Store(&e)
			l.stand(at.Offset)
			l.from(at.Offset)
			return at, l.stir(ctx, e)
		}
		if !errors.Is(err, errFullResync) || try == attachTries {
			return at, fmt.Errorf("%s: its stream cannot be read from offset %d on: %w", e.Address, at.Offset, err)
		}
		if !wait(ctx, firstRetry) {
			return at, ctx.Err()
		}
	}
}

// primeTimeout is how long a shard is given for an answer to what is not meant.
const primeTimeout = 100 * time.Millisecond

// prime has a shard make a backlog, at once, by asking it for a full resync. It answers, and
// forks, only after its repl-diskless-sync-delay, when nobody waits for that any more.
func (l *feedLink) prime(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, primeTimeout)
	defer cancel()
	if stream, _, err := l.in.ask(within, "?", psync.NoOffset); err == nil {
		_ = stream.Close() // it is not read
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return errFullResync
}

// attachAt begins to read the shard's stream from a place on, unless it is read already
// and has not been let go of. It waits for a primary as long as there is none. It returns
// the place from which on it is read, which is before that if the shard has forgotten
// what the replica has, and then the keys that may differ. ahead is the checkpoint's.
func (l *feedLink) attachAt(ctx, lifetime context.Context, at ShardStand, ahead map[string]int64) (ShardStand, []string, error) {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		from, names, err := l.tryAt(ctx, lifetime, at, ahead)
		if err == nil || ends(err) {
			return from, names, err
		}
		l.feed.set(Broken, err.Error())
		if !wait(ctx, pause) {
			return at, nil, context.Cause(ctx)
		}
	}
}

func (l *feedLink) tryAt(ctx, lifetime context.Context, at ShardStand, ahead map[string]int64) (ShardStand, []string, error) {
	from, names := at, []string(nil)
	if d := l.debt; d != nil && at.ReplID != d.from.ReplID { // the replica has not had it
		from, names = d.from, d.names
	} else {
		l.debt = nil
	}
	if l.has(from.Offset) {
		return from, names, nil
	}
	if l.debt == nil {
		var err error
		if from, names, err = l.parted(ctx, at, ahead); err != nil {
			return at, nil, err
		}
		if from != at { // an attempt to attach empties the spool
			l.debt = &debt{from, names}
		}
	}
	e, err := l.feed.primaryOf(ctx, l.name)
	if err != nil {
		return at, nil, err
	}
	l.attaching.Lock()
	defer l.attaching.Unlock()
	l.in.source = e
	l.stand(from.Offset) // in the history that it is about to have
	if err := l.in.attach(lifetime, from.ReplID, from.Offset); err != nil {
		return at, nil, l.refused(at, err)
	}
	l.stale = false
	l.primary.Store(&e)
	return from, names, nil
}

// has tells whether what comes after an offset is being read, or was read and kept.
func (l *feedLink) has(offset int64) bool {
	l.attaching.Lock()
	defer l.attaching.Unlock()
	_, there := l.in.position(offset)
	return there && !l.stale
}

// refused is the error of a shard that was asked for its stream from a place on.
func (l *feedLink) refused(s ShardStand, err error) error {
	if !errors.Is(err, errFullResync) {
		return err
	}
	return &WayBackLostError{
		Replica: l.feed.cfg.Replica.Address, Shard: l.name,
		Reason: fmt.Sprintf("%s has its stream after offset %d (replid %s) no more, or never had it", l.in.source.Address, s.Offset, s.ReplID),
	}
}

// tend attaches to the shard again when its connection has ended, to whoever is its
// primary then, and lets go of what nobody needs.
func (l *feedLink) tend(ctx context.Context) {
	look := time.NewTicker(tendInterval)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-look.C:
			l.release(ctx)
			continue
		case err := <-l.in.failed:
			l.feed.cfg.Log.Warn("the shard's connection has ended", "shard", l.name, "error", err)
			l.breakHold(err)
		}
		l.again(ctx)
	}
}

// tendInterval is how often it is looked what the replica has got of a shard.
const tendInterval = 5 * time.Millisecond

// again attaches where the spool ends.
func (l *feedLink) again(ctx context.Context) {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		err := l.toPrimary(ctx)
		switch {
		case err == nil || ctx.Err() != nil:
			return
		case errors.Is(err, errFullResync):
			// It has had less than we, or has lost it. What the replica has got decides.
			l.attaching.Lock()
			l.stale = true
			l.attaching.Unlock()
			l.feed.interrupt(fmt.Errorf("%s: %w", l.address(), err))
			return
		case ends(err):
			l.feed.fail(err)
			return
		}
		l.feed.set(Broken, err.Error())
		if !wait(ctx, pause) {
			return
		}
	}
}

func (l *feedLink) toPrimary(ctx context.Context) error {
	e, err := l.feed.primaryOf(ctx, l.name)
	if err != nil {
		return err
	}
	l.attaching.Lock()
	defer l.attaching.Unlock()
	if l.stale {
		return nil // the next session sees to it
	}
	l.in.source = e
	if err := l.in.again(ctx); err != nil {
		return err
	}
	l.primary.Store(&e)
	l.feed.resumed()
	return nil
}

// release lets go of what the replica has, and tells the shard so. Before it is known from
// where on the stream counts, it counts from no earlier than the present.
func (l *feedLink) release(ctx context.Context) {
	l.attaching.Lock()
	defer l.attaching.Unlock()
	has := l.reached()
	if !l.feed.begun() {
		if err := l.follow(ctx); err != nil {
			l.feed.fail(err)
			return
		}
		has = l.followed
	}
	l.in.acked.Store(has)
	if position, ok := l.in.position(has); ok {
		l.in.spool.Release(position - l.feed.cfg.Spool.MemoryLimit/2)
	}
}

// stir has the shard select a db, so that it is known which, see stir.
func (l *feedLink) stir(ctx context.Context, shard server.Endpoint) error {
	own := l.feed.cfg.Own
	own.Address, own.Network = shard.Address, shard.Network
	ranges, err := slotsOf(l.name)
	if err != nil {
		return err
	}
	return stir(ctx, own, l.feed.cfg.Name, ranges[0].First)
}
