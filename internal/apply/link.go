package apply

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/spool"
	"godwit/internal/topology"
)

// Source is one server whose data is carried.
type Source struct {
	Endpoint     server.Endpoint
	Capabilities command.Capabilities
	Version      string       // what the source is told that the replica is, see psync.Hello
	Now          func() int64 // the source's clock, see command.Options
	// Announce is by what host and port the source lists godwit as its replica, and
	// FAILOVER TO finds it; none if the port is 0.
	AnnounceHost string
	AnnouncePort int
}

// State of a link.
type State string

// The states of a link.
const (
	Attaching State = "attaching" // the source is being asked for its data
	Copying   State = "copying"   // the snapshot is on its way
	Copied    State = "copied"    // as a whole; the other sources' are still on their way
	Streaming State = "streaming" // the stream is on its way
	Broken    State = "broken"    // an end is out of reach, or refuses; it is tried again
)

// Link carries one source to the shards of the target. It belongs to an Engine.
type Link struct {
	source  Source                                 // where it is, is guarded by mu
	shards  func(context.Context) (*shards, error) // those of the target
	name    string                                 // of the migration and the source: in the names of checkpoints
	index   int                                    // among the sources
	owner   string
	several bool       // there are sources beside this one that have nothing to do with it
	slots   *slotTable // nil unless the source is a shard of a cluster
	// find tells where the source is by now.
	find  func(context.Context) (server.Endpoint, error)
	end   context.CancelFunc // ends it
	ended <-chan struct{}    // once it has ended

	knows  command.Capabilities // the target's
	coding rdb.TranscoderOptions
	drops  *Drops
	route  route.Route
	share  *Share // of the target, nil for all keys
	proof  *proof // nil where there is no rule to be proven
	spool  spool.Options
	crc    *rdb.CRC64
	log    *slog.Logger

	progress func() SourceProgress
	save     func(SourceProgress) error
	change   func(func(*SourceProgress) bool) error // saves what it was changed to, if f says that it was
	renewals chan struct{}                          // tells that there are slots to be renewed
	changed  func(node, was string) error           // is told before a setting of the target is changed
	lasting  func(error) bool                       // tells of an error that waiting would not mend

	in      *intake
	running atomic.Pointer[running]
	imports atomic.Int64 // how often the stream has said that the shard begins to be given slots
	refused []keyOf      // keys of slots that have moved, on which a shard refused a command; of follow

	gate gate // where the target is held back

	mu     sync.Mutex
	state  State
	reason error                // of Broken, and of what is waited for
	again  []topology.SlotRange // that Renew was called for since renew began with those it is at

	keys  atomic.Int64 // of the snapshot, that the target has
	left  atomic.Int64 // keys of the snapshot, and commands, of dbs that stay behind
	read  atomic.Int64 // offset of the source up to which lanes have been given its commands
	acked atomic.Int64 // offset up to which the target has everything
	// passed is the offset up to which commands were carried out or left to others; -1
	// as long as a batch that an earlier process has sent may still be carried out.
	passed atomic.Int64
	// renewing is how many slots are to be carried by value once more, for View, which must
	// not wait for progress to be saved.
	renewing atomic.Int64
	// held is the offset before the first command on a slot that is unsettled, 0 if there
	// was none: the target has not everything beyond it.
	held atomic.Int64
}

// follow carries the stream until ctx is done, or until an error that waiting cannot
// mend: errCopyAgain, or a *FatalError.
func (l *Link) follow(ctx context.Context) error {
	pause := firstRetry
	for {
		began := time.Now()
		err := l.stream(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if errors.Is(err, errFullResync) {
			err = l.fromHere(ctx, err)
		}
		if key := l.unsettled(err); key != nil {
			l.refused = append(l.refused, *key)
		} else if errors.Is(err, errCopyAgain) || l.lasting(err) {
			return err
		}
		if err != nil {
			l.set(Broken, err)
			l.log.Warn("the stream is read again from where the target stands", "source", l.source.Endpoint.Address, "error", err)
		}
		if time.Since(began) > lastRetry {
			pause = firstRetry
		}
		if !wait(ctx, pause) {
			return ctx.Err()
		}
		pause = min(2*pause, lastRetry)
	}
}

// Going on begins at once and slows down to this.
const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = time.Second
)

// FatalError ends a link: waiting would not mend it.
type FatalError struct{ Err error }

func (e *FatalError) Error() string { return e.Err.Error() }
func (e *FatalError) Unwrap() error { return e.Err }

// stream carries the stream from where the shards stand until something ends it.
func (l *Link) stream(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	p := l.progress()
	if p.ReplID == "" {
		return errFullResync // it has joined the others, and stands nowhere yet
	}
	if err := l.locate(ctx); err != nil {
		return err
	}
	now, err := l.shards(ctx)
	if err != nil {
		return err
	}
	if p.Begun {
		if err := l.arrivals(now); err != nil {
			return err
		}
	}
	at, err := l.stand(ctx, now)
	if err == nil && p.Begun {
		err = l.relapsed(p, at)
	}
	if err != nil {
		return err
	}
	ids, err := now.identities(ctx)
	if err != nil {
		return err
	}
	switch {
	case at.sealed || !now.same(p.Lanes) || p.Begun && len(now.moved(p.Lanes, ids)) > 0:
		if err := l.regroup(ctx, now); err != nil {
			return err
		}
		return l.stream(parent)
	case !p.Begun:
		if err := l.found(ctx, now, p, at); err != nil {
			return err
		}
		return l.stream(parent)
	}
	if err := l.remember(now, ids); err != nil {
		return err
	}
	d, err := l.dispatcher(ctx, now, p, at)
	if d != nil {
		defer d.values.close()
	}
	var wg sync.WaitGroup
	defer func() { l.breakHold(context.Cause(ctx)) }()
	defer wg.Wait()
	defer func() {
		cancel(nil)
		for _, x := range d.lanes {
			x.stop()
		}
	}()
	if err == nil && l.gate.mending.Load() {
		err = l.cut(ctx, d.lanes)
	}
	if err != nil {
		return err
	}
	if _, there := l.in.position(d.offset); !there || !l.atSource() {
		if err := l.in.attach(parent, p.ReplID, d.offset); err != nil {
			return err
		}
	} else if !l.in.attached() { // something else ended tend while it tried to
		if err := l.in.again(parent); err != nil {
			return err
		}
	}
	if !l.atSource() {
		return fmt.Errorf("%s: the stream goes on from %s", l.source.Endpoint.Address, l.in.source.Address)
	}
	if err := l.inherit(ctx, d.values.until); err != nil {
		return err
	}
	if err := l.recheck(at); err != nil {
		return err
	}
	for i, x := range d.lanes {
		safe := at.lanes[i].at
		if d.doubts.until > 0 {
			safe = mark{at: d.offset, db: d.db} // until all of them are seen to
		}
		x.start(ctx, at.lanes[i].at, safe)
		wg.Go(func() {
			select {
			case err := <-x.failed:
				cancel(err)
			case <-ctx.Done():
			}
		})
	}
	l.read.Store(d.offset)
	l.acked.Store(d.offset) // what it was before, may have been lost
	l.gate.alarm.Store(&d.lost)
	l.countRenewing()
	l.set(Streaming, nil)
	wg.Go(func() { l.acknowledge(ctx, d.lanes) })
	wg.Go(func() { cancel(l.tend(ctx, parent)) })
	wg.Go(func() {
		if err := l.renew(ctx, d, now); err != nil {
			cancel(err)
		}
	})
	l.running.Store(&running{ctx, d, now.cluster, cancel})
	err = d.run(ctx)
	l.running.Store(nil)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return err
}

// atSource tells whether the stream is read where values are: a primary that was replaced
// between the two questions goes on as a replica, and gives no values.
func (l *Link) atSource() bool { return l.in.source.Address == l.source.Endpoint.Address }

// dispatcher prepares to carry the stream to the shards as they are now.
func (l *Link) dispatcher(ctx context.Context, now *shards, p SourceProgress, at *standing) (*dispatcher, error) {
	d := &dispatcher{
		several: l.several, route: l.route, share: newShare(l.share), proof: l.proof, slots: l.slots, held: &l.held,
		log:    l.log,
		source: l.source.Endpoint, in: l.in, placer: command.NewPlacer(l.source.Capabilities),
		shard: new([slot.Count]uint16), mark: &at.mark, had: at.had, read: &l.read,
		gone: map[string]struct{}{}, heard: math.MaxInt64, link: l,
		values: &carrier{source: l.source.Endpoint, crc: l.crc, to: l.knows.Format, coding: l.coding, drops: l.drops, ahead: at.ahead},
		offset: at.lanes[0].safe.at,
		doubts: doubts{keys: map[string]struct{}{}}, errands: make(chan errand, 1),
	}
	o := command.Options{Drop: l.coding.Drop, Client: true, Dropped: l.drops.ofStream}
	if l.in.arrivals.now != nil {
		o.Now = func() int64 { return l.in.arrivals.of(d.end) }
	}
	knows := l.knows
	knows.Databases = 0 // they are seen to by the route
	d.rewriter = command.NewRewriter(l.source.Capabilities, knows, o)
	db := at.lanes[0].safe.db
	for i, lane := range p.Lanes {
		x, err := openLane(ctx, now.primaries[now.of[lane.Slots[0].First]], lane.Key, at.claim, &d.lost, l.changed)
		if err != nil {
			return d, err
		}
		d.lanes = append(d.lanes, x)
		each(lane.Slots, func(of uint16) { d.shard[of] = uint16(i) })
		if m := at.lanes[i].safe; m.at < d.offset {
			d.offset, db = m.at, m.db
		}
	}
	for _, m := range at.had {
		if m.sound.at < m.at {
			d.doubts.until = max(d.doubts.until, m.at)
		}
	}
	d.leads(at.ahead)
	for _, key := range l.refused {
		d.gone[string(d.values.name(key.db, key.key))] = struct{}{}
	}
	if l.slots != nil && (l.route.Maps() || db == unknownDB) {
		var err error
		if d.oneDB, err = hasOneDB(ctx, d.source, l.route.Maps()); err != nil {
			return d, err
		}
		if d.oneDB {
			db = 0
		}
	}
	d.selection = selects(l.route, db)
	d.rewriter.Reset(max(db, 0))
	var err error
	if d.heard, err = d.values.offset(ctx); err != nil {
		return d, err
	}
	return d, nil
}

// tend attaches to the source again when its connection has ended.
func (l *Link) tend(ctx, parent context.Context) error {
	pause := firstRetry
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-l.in.failed:
			l.log.Warn("the source's connection has ended", "source", l.source.Endpoint.Address, "error", err)
		}
		for {
			err := l.in.again(parent)
			if err == nil && (!l.atSource() || l.in.history() != l.progress().ReplID) {
				return fmt.Errorf("%s: the stream goes on from %s", l.source.Endpoint.Address, l.in.source.Address)
			}
			if err == nil {
				pause = firstRetry
				l.set(Streaming, nil)
				break
			}
			if errors.Is(err, errFullResync) || ctx.Err() != nil {
				return err
			}
			l.set(Broken, err)
			if !wait(ctx, pause) {
				return nil
			}
			pause = min(2*pause, lastRetry)
		}
	}
}

// acknowledge works out what the target has, tells the source, and lets go of what
// is not needed any more.
func (l *Link) acknowledge(ctx context.Context, lanes []*lane) {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
		}
		acked := l.read.Load()
		kept := acked
		for _, x := range lanes {
			x.silent()
			applied := x.sound().at
			kept = min(kept, applied)
			// What was given to it after that only makes this less.
			if applied < x.given.Load() {
				acked = min(acked, applied)
			}
		}
		l.passed.Store(acked)
		// The source is told of what is left to others, too: SETSLOT of Valkey from 8.0 on
		// waits for all replicas, so no slot would ever settle.
		l.in.acked.Store(acked)
		if question := l.in.question.Load(); question > 0 && acked >= question {
			l.in.question.CompareAndSwap(question, 0)
			signal(l.in.hurry)
		}
		if held := l.held.Load(); held > 0 {
			if l.slots.open.Load() == 0 {
				l.held.CompareAndSwap(held, 0)
			}
			acked = min(acked, held)
		}
		l.acked.Store(acked)
		// A replica that becomes the primary of its shard may have less.
		if position, ok := l.in.position(kept); ok {
			l.in.spool.Release(position - l.spool.MemoryLimit/2)
			l.in.arrivals.forget(kept - l.spool.MemoryLimit/2)
		}
	}
}

func (l *Link) set(s State, reason error) {
	l.mu.Lock()
	l.state, l.reason = s, reason
	l.mu.Unlock()
}

// View is what a link has done so far.
type View struct {
	Source string
	State  State
	Reason string
	Hint   string // what the user can do about the reason
	Keys   int64  // of the snapshot, that the target has
	Left   int64  // keys of the snapshot, and commands since, of dbs that stay behind
	Copied int64  // bytes of the snapshot that were read
	Total  int64  // that it has, 0 if that is not known
	Read   int64  // offset of the source that was read
	Acked  int64  // that the target has
	// Unsettled is how many slots of a cluster that is the source are carried neither by
	// this link nor by another, for they change their shard. Until it is 0, Acked stands.
	Unsettled int
	// Renewing is how many slots are carried by value once more, as they have changed their
	// shard at the target.
	Renewing int
	Held     bool   // the target is held back, see Hold
	ReplID   string // of the stream
	Spool    spool.Stats
}

// View tells what has been done so far.
func (l *Link) View() View {
	l.mu.Lock()
	defer l.mu.Unlock()
	v := View{
		Source: l.source.Endpoint.Address, State: l.state, Keys: l.keys.Load(), Left: l.left.Load(),
		Copied: l.in.copied.Load(), Total: l.in.total.Load(), Read: l.in.end.Load(), Acked: l.acked.Load(),
		Renewing: int(l.renewing.Load()), ReplID: l.in.history(), Held: l.gate.hold.Load() != nil, Spool: l.in.spool.Stats(),
	}
	if l.reason != nil {
		v.Reason, v.Hint = l.reason.Error(), hintOf(l.reason)
	}
	if l.slots != nil {
		v.Unsettled = int(l.slots.open.Load())
	}
	return v
}
