package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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
	trail func(ctx context.Context) (heldTarget, error)

	mu   sync.Mutex
	hold heldTarget // the last one, nil for none
	why  error      // why there are no more holds
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
	h, err := f.trail(ctx)
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
	return h, nil
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

// Unlock has the target take writes until the feed's present hold is released: only
// while its stream is held may anybody but godwit's link write to it. lock ends that
// before the release does; it is for when nothing is on its way to the target any more.
func (f *feed) Unlock(ctx context.Context) (lock func(context.Context) error, err error) {
	f.mu.Lock()
	h := f.hold
	f.mu.Unlock()
	if h == nil {
		return nil, errNotHeld
	}
	err = h.unlock(ctx)
	f.trace("verify-unlocked")
	return func(ctx context.Context) error {
		err := h.lock(ctx)
		f.trace("verify-locked")
		return err
	}, err
}

// errNotHeld is for a repair that has lost its hold.
var errNotHeld = errors.New("the target takes a repair's writes only while its feed is held")

// held is a replica that is held back. Whoever else writes to it while it takes writes,
// a few milliseconds for each batch of keys, makes it differ from its primary, and
// nothing keeps them from it but that they have been told READONLY up to then.
type held struct {
	m       *Migration
	link    *relay.Link
	replica *end
	hold    *relay.Hold

	mu       sync.Mutex
	unlocked bool
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
func (h *held) Release() {
	h.m.mu.Lock()
	base := h.m.base
	h.m.mu.Unlock()
	h.release(base)
}

func (h *held) release(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	h.released = true
	h.m.trace("verify-release")
	if h.unlocked {
		h.lockNow(ctx)
	}
	h.hold.Release()
	if !h.stopped.IsZero() {
		h.stood = time.Since(h.stopped)
	}
}

func (h *held) unlock(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.released:
		return errNotHeld
	case h.unlocked:
		return nil
	case h.m.saved(h.replica.side, replicaReadOnly) == nil:
		return errors.New("nothing is to be written to the replica: no repair was asked for")
	}
	// It is waited for: lost on its way, it could come after the lock.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlTimeout)
	defer cancel()
	h.unlocked = true
	return h.replica.client.ConfigSet(ctx, replicaReadOnly, "no")
}

// lock has the replica refuse writes again.
func (h *held) lock(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.unlocked {
		return nil
	}
	if err := h.replica.client.ConfigSet(ctx, replicaReadOnly, "yes"); err != nil {
		return err
	}
	h.unlocked = false
	return nil
}

// lockNow is lock for a repair that has not come to its end: what it has sent may
// still be on its way, however long the network takes, and is not carried out any
// more once its connection was ended. It is tried until the replica has lost its
// link, too. h.mu must be held.
func (h *held) lockNow(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTimeout)
	defer cancel()
	for {
		cut := cutRepair(ctx, h.replica.client)
		err := h.replica.client.ConfigSet(ctx, replicaReadOnly, "yes")
		if err == nil {
			if cut != nil { // not permitted
				h.m.event(slog.LevelWarn, fmt.Sprintf("%s: what the repair has sent may still be on its way: %v", h.replica.address(), cut))
			}
			h.unlocked = false
			return
		}
		select {
		case <-ctx.Done():
			h.m.event(slog.LevelWarn, fmt.Sprintf("%s may still take writes: %v; it is made read-only as soon as it answers", h.replica.address(), err))
			return
		case <-h.hold.Ended():
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
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
		h.m.askApplied(ctx, h.link, h.replica)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
