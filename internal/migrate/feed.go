package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"godwit/internal/relay"
	"godwit/internal/verify"
)

const (
	// trailDelay is how late a replica is fed from before a snapshot of the primary
	// is asked for until it must stop at its offset: longer than that offset takes
	// from the primary's fork to here.
	trailDelay = 20 * time.Millisecond
	// holdPoll is how often a replica that is to stop is asked where it stands: it
	// is held for as long as that takes to be noticed.
	holdPoll = 300 * time.Microsecond
	// lockTimeout is for how long a replica that was made writable is tried to be
	// made read-only again before it is fed all the same.
	lockTimeout = 5 * time.Second
)

// feed is the present link as package verify sees it, for one comparison.
type feed struct {
	m       *Migration
	link    *relay.Link
	replica *end

	mu   sync.Mutex
	hold *hold // the last one
	why  error // why there are no more holds
}

// Trail is that of verify.Feed.
func (f *feed) Trail(ctx context.Context) (verify.Hold, error) {
	f.m.trace("verify-trail")
	h, err := f.link.Trail(ctx, trailDelay)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.why != nil {
		h.Release()
		return nil, f.why
	}
	f.hold = &hold{feed: f, hold: h}
	return f.hold, nil
}

// end feeds the replica for good: whoever holds it back has lost it.
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

// Unlock has the replica take writes until the feed's present hold is released:
// only while its stream is held may anybody but godwit's link write to it. Whoever
// else writes to the replica within that time, a few milliseconds for each batch of
// keys, makes it differ from its primary, and nothing keeps them from it but that
// they have been told READONLY up to then. lock ends that before the release does.
func (f *feed) Unlock(ctx context.Context) (lock func(context.Context) error, err error) {
	f.mu.Lock()
	h := f.hold
	f.mu.Unlock()
	if h == nil {
		return nil, errors.New("the replica takes writes only while its feed is held")
	}
	return h.lock, h.unlock(ctx)
}

// hold is a replica that is held back.
type hold struct {
	feed *feed
	hold *relay.Hold

	mu       sync.Mutex
	unlocked bool
	released bool
}

// Stop is that of verify.Hold.
func (h *hold) Stop(ctx context.Context, offset int64) (replid string, target int64, err error) {
	h.feed.m.trace("verify-stop")
	polling, cancel := context.WithCancel(ctx)
	var poller sync.WaitGroup
	poller.Go(func() { h.feed.poll(polling) })
	replid, target, err = h.hold.Stop(ctx, offset)
	cancel()
	poller.Wait()
	h.feed.m.trace("verify-stopped")
	var passed *relay.PassedError
	if errors.As(err, &passed) {
		err = &verify.PassedError{Offset: passed.Offset, Passed: passed.Passed}
	}
	return replid, target, err
}

// Held is that of verify.Hold.
func (h *hold) Held() time.Duration { return h.hold.Held() }

// Release is that of verify.Hold. A replica that takes writes takes none any more
// before it is fed: what is still on its way to it would be written over what the
// stream has brought since.
func (h *hold) Release() {
	h.feed.m.mu.Lock()
	base := h.feed.m.base
	h.feed.m.mu.Unlock()
	h.release(base)
}

func (h *hold) release(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	h.released = true
	h.feed.m.trace("verify-release")
	if h.unlocked {
		h.lockNow(ctx)
	}
	h.hold.Release()
}

func (h *hold) unlock(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.released:
		return errors.New("the replica takes writes only while its feed is held")
	case h.unlocked:
		return nil
	case h.feed.m.saved(h.feed.replica.side, replicaReadOnly) == nil:
		return errors.New("nothing is to be written to the replica: no repair was asked for")
	}
	// It is waited for: lost on its way, it could come after the lock.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlTimeout)
	defer cancel()
	h.unlocked = true
	err := h.feed.replica.client.ConfigSet(ctx, replicaReadOnly, "no")
	h.feed.m.trace("verify-unlocked")
	return err
}

// lock has the replica refuse writes again.
func (h *hold) lock(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.unlocked {
		return nil
	}
	if err := h.feed.replica.client.ConfigSet(ctx, replicaReadOnly, "yes"); err != nil {
		return err
	}
	h.unlocked = false
	h.feed.m.trace("verify-locked")
	return nil
}

// lockNow is lock, whatever else ends: it tries again until the replica has lost its
// link. The stream goes on from where the replica stood then, and what was on its way
// to it is over before it has connected again. h.mu must be held.
func (h *hold) lockNow(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTimeout)
	defer cancel()
	for {
		err := h.feed.replica.client.ConfigSet(ctx, replicaReadOnly, "yes")
		if err == nil {
			h.unlocked = false
			h.feed.m.trace("verify-locked")
			return
		}
		select {
		case <-ctx.Done():
			h.feed.m.event(slog.LevelWarn, fmt.Sprintf("%s may still take writes: %v; it is made read-only as soon as it answers", h.feed.replica.address(), err))
			return
		case <-h.hold.Ended():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// poll has the link hear at once what the replica has applied.
func (f *feed) poll(ctx context.Context) {
	tick := time.NewTicker(holdPoll)
	defer tick.Stop()
	for {
		f.m.askApplied(ctx, f.link, f.replica)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
