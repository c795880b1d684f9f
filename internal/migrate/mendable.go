package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"godwit/internal/apply"
	"godwit/internal/server"
)

// mendable is a replica that a repair may write to while it is held back. Whoever else
// writes to it while it takes writes, a few milliseconds for each batch of keys, makes it
// differ from its primary, and nothing keeps them from it but that they have been told
// READONLY up to then.
type mendable struct {
	c       *core
	replica *end
	takes   bool // writes
}

// unlock has it take writes.
func (w *mendable) unlock(ctx context.Context) error {
	switch {
	case w.takes:
		return nil
	case w.c.saved(w.replica.side, replicaReadOnly) == nil:
		return errors.New("nothing is to be written to the replica: no repair was asked for")
	}
	// It is waited for: lost on its way, it could come after the lock.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), controlTimeout)
	defer cancel()
	w.takes = true
	return w.replica.client.ConfigSet(ctx, replicaReadOnly, "no")
}

// lock has it refuse writes again.
func (w *mendable) lock(ctx context.Context) error {
	if !w.takes {
		return nil
	}
	if err := w.replica.client.ConfigSet(ctx, replicaReadOnly, "yes"); err != nil {
		return err
	}
	w.takes = false
	return nil
}

// lockNow is lock for a repair that has not come to its end: what it has sent may
// still be on its way, however long the network takes, and is not carried out any
// more once its connection was ended. It is tried until the replica has lost its
// link, too, which ended tells.
func (w *mendable) lockNow(ctx context.Context, ended <-chan struct{}) {
	if !w.takes {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTimeout)
	defer cancel()
	for {
		cut := cutRepair(ctx, w.replica.client)
		err := w.replica.client.ConfigSet(ctx, replicaReadOnly, "yes")
		if err == nil {
			if cut != nil { // not permitted
				w.c.event(slog.LevelWarn, fmt.Sprintf("%s: what the repair has sent may still be on its way: %v", w.replica.address(), cut))
			}
			w.takes = false
			return
		}
		select {
		case <-ctx.Done():
			w.c.event(slog.LevelWarn, fmt.Sprintf("%s may still take writes: %v; it is made read-only as soon as it answers", w.replica.address(), err))
			return
		case <-ended:
			return
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// prepareReplica has a replica give its snapshot at once when it is asked for one, and
// notes what a repair will change there.
func (c *core) prepareReplica(ctx context.Context, replica *end, repair bool) error {
	if err := c.setForVerify(ctx, replica, disklessSyncDelay, "0"); err != nil {
		return err
	}
	if !repair {
		return nil
	}
	value, found, err := replica.client.ConfigGet(ctx, replicaReadOnly)
	if err == nil && !found {
		err = errors.New("it is not known there")
	}
	if err != nil {
		return hinted("permit CONFIG GET and CONFIG SET to godwit's user there, or verify without --repair",
			"%s takes no writes, and godwit cannot ask for its %s: %w", replica.address(), replicaReadOnly, err)
	}
	return c.save(replica.side, replicaReadOnly, value)
}

// setForVerify changes a setting, noting it first. Where godwit may not, it stays:
// the comparison does without.
func (c *core) setForVerify(ctx context.Context, e *end, name, value string) error {
	current, found, err := e.client.ConfigGet(ctx, name)
	var refused *server.Error
	switch {
	case errors.As(err, &refused):
		return nil
	case err != nil:
		return err
	case !found || current == value:
		return nil
	}
	if err := c.save(e.side, name, current); err != nil {
		return err
	}
	c.trace("verify-saved")
	if err := e.client.ConfigSet(ctx, name, value); err != nil && !errors.As(err, &refused) {
		return err
	}
	return nil
}

// tendMended puts back what a comparison has left at a server that was killed, or could
// not.
func (c *core) tendMended(ctx context.Context, e *end) {
	c.mu.Lock()
	left := c.verifying == nil && c.head.has(e.side, verifySettings()...)
	c.mu.Unlock()
	if !left {
		return
	}
	var cut error
	if c.saved(e.side, replicaReadOnly) != nil {
		// What it had sent may still be on its way to a server that is to be a primary.
		cut = cutRepair(ctx, e.client)
		c.outdated("a repair was cut off, and " + e.address() + " may have taken writes")
	}
	if err := c.restore(ctx, e, verifySettings()...); err != nil {
		c.log.Debug("settings of a comparison", "server", e.address(), "error", err)
		return
	}
	if cut != nil { // not permitted
		c.event(slog.LevelWarn, fmt.Sprintf("%s: what a repair had sent may still be on its way: %v", e.address(), cut))
	}
}

// heldBack is the old primary, with what comes from one shard of the way back held.
type heldBack struct {
	stopped

	mu       sync.Mutex
	writes   mendable
	locked   func() // takes back what the hold knows of unlock; nil where there is nothing
	released bool
}

// Release is that of verify.Hold. A replica that takes writes takes none any more before
// it is fed: what is still on its way to it would be written over what the stream has
// brought since.
func (h *heldBack) Release() { h.release(h.c.lifetime()) }

func (h *heldBack) release(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	h.released = true
	h.c.trace("verify-release")
	h.writes.lockNow(ctx, h.hold[0].Ended())
	h.hold.Release()
}

func (h *heldBack) unlock(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return errNotHeld
	}
	if h.locked == nil {
		var err error
		if h.locked, err = h.hold.unlock(); err != nil {
			return err
		}
	}
	return h.writes.unlock(ctx)
}

func (h *heldBack) lock(ctx context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.writes.lock(ctx); err != nil {
		return err
	}
	if h.locked != nil {
		h.locked()
		h.locked = nil
	}
	return nil
}

// back is what feeds the old primary, one for each shard.
func (c *core) back(replica *end, way *apply.Feed, shards []server.Endpoint) []*feed {
	var feeds []*feed
	for _, e := range shards {
		feeds = append(feeds, c.newFeed(func(_ context.Context, delay time.Duration) (heldTarget, error) {
			h, err := way.TrailFrom(e.Address, delay)
			if err != nil {
				return nil, err
			}
			return &heldBack{stopped: stopped{c, holds{h}}, writes: mendable{c: c, replica: replica}}, nil
		}))
	}
	return feeds
}
