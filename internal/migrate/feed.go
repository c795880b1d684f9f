package migrate

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"godwit/internal/hold"
	"godwit/internal/refresh"
	"godwit/internal/relay"
	"godwit/internal/server"
	"godwit/internal/verify"
)

const (
	// trailDelay is how late a replica is fed from before a snapshot of the primary
	// is asked for until it must stop at its offset: longer than that offset takes
	// from the primary's fork to here.
	trailDelay = 20 * time.Millisecond
	// maxTrailDelay is how late it is fed at most, where that was not enough: each time
	// twice as late as before. It is not stopped meanwhile.
	maxTrailDelay = 640 * time.Millisecond
	// holdPoll is how often a replica that is to stop is asked where it stands: it
	// is held for as long as that takes to be noticed.
	holdPoll = 300 * time.Microsecond
	// lockTimeout is for how long a replica that was made writable is tried to be
	// made read-only again before it is fed all the same.
	lockTimeout = 5 * time.Second
)

// feed is what feeds the target as package verify sees it, for one comparison.
type feed struct {
	trace func(point string)
	trail func(ctx context.Context, delay time.Duration) (heldTarget, error)

	mu    sync.Mutex
	delay time.Duration // of the next hold
	hold  heldTarget    // the last one, nil for none
	why   error         // why there are no more holds
}

func (c *core) newFeed(trail func(context.Context, time.Duration) (heldTarget, error)) *feed {
	return &feed{trace: c.trace, trail: trail, delay: trailDelay}
}

// trailing is a hold that has the next one of its feed come later if it came too late.
type trailing struct {
	heldTarget

	feed *feed
}

// Stop is that of verify.Hold.
func (h trailing) Stop(ctx context.Context, offset int64) (hold.Stand, error) {
	stand, err := h.heldTarget.Stop(ctx, offset)
	var passed *hold.PassedError
	if errors.As(err, &passed) {
		h.feed.mu.Lock()
		h.feed.delay = min(2*h.feed.delay, maxTrailDelay)
		h.feed.mu.Unlock()
	}
	return stand, err
}

// heldTarget is a target that is held back, and that a repair may write to meanwhile.
type heldTarget interface {
	verify.Hold
	// unlock has it take a repair's writes, until lock is called, once nothing is on its
	// way any more.
	unlock(ctx context.Context) error
	lock(ctx context.Context) error
	// release is Release, which ends what a repair has still on its way.
	release(ctx context.Context)
}

// Trail is that of verify.Feed.
func (f *feed) Trail(ctx context.Context) (verify.Hold, error) {
	f.trace("verify-trail")
	f.mu.Lock()
	delay := f.delay
	f.mu.Unlock()
	h, err := f.trail(ctx, delay)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.why != nil {
		h.release(ctx)
		return nil, f.why
	}
	f.hold = h
	return trailing{h, f}, nil
}

// end feeds the target for good: whoever holds it back has lost it.
func (f *feed) end(ctx context.Context, why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.why == nil {
		f.why = why
	}
	if f.hold != nil {
		f.hold.release(ctx)
	}
}

// held is the last hold, nil for none.
func (f *feed) held() heldTarget {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hold
}

// unlock has the target take writes until the present holds of its feeds are released:
// only while its stream is held may anybody but godwit's link write to it. lock ends that
// before the release does; it is for when nothing is on its way to the target any more.
func (c *core) unlock(ctx context.Context, feeds []*feed) (lock func(context.Context) error, err error) {
	var holds []heldTarget
	for _, f := range feeds {
		h := f.held()
		if h == nil {
			continue
		}
		err := h.unlock(ctx)
		if errors.Is(err, errNotHeld) { // not this one
			continue
		}
		if err != nil {
			return nil, err
		}
		holds = append(holds, h)
	}
	if len(holds) == 0 {
		return nil, errNotHeld
	}
	c.trace("verify-unlocked")
	return func(ctx context.Context) error {
		var failed []error
		for _, h := range holds {
			failed = append(failed, h.lock(ctx))
		}
		c.trace("verify-locked")
		return errors.Join(failed...)
	}, nil
}

// errNotHeld is for a repair that has lost its hold.
var errNotHeld = errors.New("the target takes a repair's writes only while its feed is held")

// held is a replica that is held back.
type held struct {
	m    *Migration
	link *relay.Link
	hold *relay.Hold

	mu       sync.Mutex
	writes   mendable
	released bool
	stopped  time.Time     // when the replica stood where it was to stop; zero before
	stood    time.Duration // from then to the release
}

// Stop is that of verify.Hold.
func (h *held) Stop(ctx context.Context, offset int64) (hold.Stand, error) {
	h.m.trace("verify-stop")
	polling, cancel := context.WithCancel(ctx)
	var poller sync.WaitGroup
	poller.Go(func() { h.poll(polling) })
	replid, target, err := h.hold.Stop(ctx, offset)
	cancel()
	poller.Wait()
	if err == nil {
		h.mu.Lock()
		h.stopped = time.Now()
		h.mu.Unlock()
	}
	h.m.trace("verify-stopped")
	return hold.Stand{ReplID: replid, Offset: target}, err
}

// Err is that of verify.Hold.
func (h *held) Err() error { return h.hold.Err() }

// Held is that of verify.Hold.
func (h *held) Held() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	stood := h.stood
	if !h.released && !h.stopped.IsZero() {
		stood = time.Since(h.stopped)
	}
	return max(stood, h.hold.Held())
}

// Release is that of verify.Hold. A replica that takes writes takes none any more
// before it is fed: what is still on its way to it would be written over what the
// stream has brought since.
func (h *held) Release() { h.release(h.m.lifetime()) }

func (h *held) release(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	h.released = true
	h.m.trace("verify-release")
	h.writes.lockNow(ctx, h.hold.Ended())
	h.hold.Release()
	if !h.stopped.IsZero() {
		h.stood = time.Since(h.stopped)
	}
}

func (h *held) unlock(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return errNotHeld
	}
	return h.writes.unlock(ctx)
}

func (h *held) lock(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writes.lock(ctx)
}

// cutRepair ends the connections by which a replica is being repaired, by anyone.
func cutRepair(ctx context.Context, c *server.Client) error {
	reply, err := c.Do(ctx, "CLIENT", "LIST")
	list, _ := reply.(string)
	for line := range strings.Lines(list) {
		fields := strings.Fields(line)
		if !slices.Contains(fields, "name="+refresh.Name) {
			continue
		}
		id, _ := strings.CutPrefix(fields[0], "id=")
		if _, killErr := c.Do(ctx, "CLIENT", "KILL", "ID", id); killErr != nil && !server.IsCode(killErr, "ERR") { // it has ended meanwhile
			err = killErr
		}
	}
	return err
}

// poll has the link hear at once what the replica has applied.
func (h *held) poll(ctx context.Context) {
	tick := time.NewTicker(holdPoll)
	defer tick.Stop()
	for {
		h.m.askApplied(ctx, h.link, h.writes.replica)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
