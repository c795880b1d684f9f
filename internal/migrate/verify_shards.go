package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"godwit/internal/hold"
	"godwit/internal/refresh"
	"godwit/internal/server"
)

// verifyLeft is what a comparison is to put back, or to end, at the primaries of a side.
// Its maps are replaced, never changed.
type verifyLeft struct {
	// Delays are what repl-diskless-sync-delay was, by node.
	Delays map[string]string `json:"delays,omitempty"`
	// Repaired are the nodes to which what a repair has sent may still be on its way.
	Repaired []string `json:"repaired,omitempty"`
	// Outdated tells that a result was made out of date for that: one after it holds, however
	// long such a node is away.
	Outdated bool `json:"outdated,omitempty"`
}

func (l verifyLeft) none() bool { return len(l.Delays) == 0 && len(l.Repaired) == 0 }

// left is what is to be put back at a side now.
func (c *core) left(s Side) verifyLeft {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head.Left[s]
}

// leave notes what is to be put back at a side.
func (c *core) leave(s Side, change func(*verifyLeft)) error {
	return c.change(func(r *header) {
		l := r.Left[s]
		change(&l)
		left := maps.Clone(r.Left)
		if left == nil {
			left = make(map[Side]verifyLeft)
		}
		if left[s] = l; l.none() {
			delete(left, s)
		}
		r.Left = left
	})
}

// leftError says what a comparison has left at a node.
type leftError struct {
	node, what, byHand string
	err                error
}

func (e *leftError) Error() string { return fmt.Sprintf("%s: %s: %v", e.node, e.what, e.err) }
func (e *leftError) Unwrap() error { return e.err }

// HintText is what the user can do about it.
func (e *leftError) HintText() string { return "if that node is still there: " + e.byHand }

// prepareShards has the primaries of a side give their snapshots at once when they are
// asked for one: those of several are to be of about the same moment, and what follows
// them is held until all of its own have begun. It notes to which of them a repair will
// write.
func (c *core) prepareShards(ctx context.Context, d *deployment, primaries []server.Endpoint, repair bool) error {
	if repair {
		var repaired []string
		for _, e := range primaries {
			repaired = append(repaired, e.Address)
		}
		if err := c.leave(d.side, func(l *verifyLeft) { l.Repaired, l.Outdated = repaired, false }); err != nil {
			return err
		}
	}
	for _, e := range primaries {
		if err := c.hurry(ctx, d, e.Address); err != nil {
			return err
		}
	}
	c.trace("verify-saved")
	return nil
}

// hurry has a node give its snapshot at once. Where godwit may not, it stays as it is:
// the comparison does without.
func (c *core) hurry(ctx context.Context, d *deployment, node string) error {
	return d.atNode(node, func(client *server.Client) error {
		value, found, err := client.ConfigGet(ctx, disklessSyncDelay)
		if err != nil || !found || value == "0" {
			return unlessRefused(err)
		}
		if err := c.leave(d.side, func(l *verifyLeft) {
			delays := map[string]string{node: value}
			maps.Copy(delays, l.Delays) // what an earlier one has noted is what it was
			l.Delays = delays
		}); err != nil {
			return err
		}
		return unlessRefused(client.ConfigSet(ctx, disklessSyncDelay, "0"))
	})
}

// unlessRefused is an error but for a server's reply.
func unlessRefused(err error) error {
	var refused *server.Error
	if errors.As(err, &refused) {
		return nil
	}
	return err
}

// restoreShards ends what is left of a repair at a side, and puts back what a comparison
// has changed there. What cannot be done now stays in the journal.
func (c *core) restoreShards(ctx context.Context, d *deployment) error {
	left := c.left(d.side)
	if left.none() {
		return nil
	}
	delayed := slices.Sorted(maps.Keys(left.Delays))
	repairs, delays := make([]error, len(left.Repaired)), make([]error, len(delayed))
	var group sync.WaitGroup // at once: one that is away keeps no other waiting
	for i, node := range left.Repaired {
		group.Go(func() { repairs[i] = c.cutAt(ctx, d, node) })
	}
	for i, node := range delayed {
		group.Go(func() {
			delays[i] = d.atNode(node, func(client *server.Client) error {
				return putBackSetting(ctx, client, disklessSyncDelay, left.Delays[node])
			})
		})
	}
	group.Wait()
	var failed []error
	rest := verifyLeft{Delays: make(map[string]string), Outdated: left.Outdated}
	for i, node := range left.Repaired {
		if err := repairs[i]; err != nil {
			failed = append(failed, &leftError{node, "a repair was not ended", "end its clients of the name " + refresh.Name + " by CLIENT KILL", err})
			rest.Repaired = append(rest.Repaired, node)
		}
	}
	for i, node := range delayed {
		if err := delays[i]; err != nil {
			failed = append(failed, &leftError{node, disklessSyncDelay + " was not put back", fmt.Sprintf("CONFIG SET %s %q", disklessSyncDelay, left.Delays[node]), err})
			rest.Delays[node] = left.Delays[node]
		}
	}
	return errors.Join(append(failed, c.leave(d.side, func(l *verifyLeft) { *l = rest }))...)
}

// cutAt ends what a repair may still have on its way to a node.
func (c *core) cutAt(ctx context.Context, d *deployment, node string) error {
	return d.atNode(node, func(client *server.Client) error {
		err := cutRepair(ctx, client)
		if err != nil && unlessRefused(err) == nil {
			c.event(slog.LevelWarn, fmt.Sprintf("%s: what the repair has sent may still be on its way: %v", node, err))
			return nil
		}
		return err
	})
}

// tendShards puts back what a comparison has left at a side that was killed, or could not.
func (c *core) tendShards(ctx context.Context, d *deployment) {
	c.mu.Lock()
	left, idle := c.head.Left[d.side], c.verifying == nil
	c.mu.Unlock()
	if !idle || left.none() {
		return
	}
	if len(left.Repaired) > 0 && !left.Outdated {
		c.outdated("a repair was cut off, and may have written to " + d.address())
		if err := c.leave(d.side, func(l *verifyLeft) { l.Outdated = true }); err != nil {
			c.log.Error("the journal could not be written", "error", err)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	if err := c.restoreShards(ctx, d); err != nil {
		c.log.Debug("what a comparison has left", "side", d.side, "error", err)
	}
}

// follow is what feeds the primaries of a side, one for each primary that they follow.
func (c *core) follow(d *deployment, trail func(from string, delay time.Duration) (holds, error), sources []server.Endpoint) []*feed {
	var feeds []*feed
	for _, e := range sources {
		feeds = append(feeds, c.newFeed(func(_ context.Context, delay time.Duration) (heldTarget, error) {
			h, err := trail(e.Address, delay)
			if err != nil {
				return nil, err
			}
			return &heldShards{stopped: stopped{c, h}, d: d}, nil
		}))
	}
	return feeds
}

// stopped is what comes from one primary, held back.
type stopped struct {
	c    *core
	hold holds
}

// Stop is that of verify.Hold.
func (h stopped) Stop(ctx context.Context, offset int64) (hold.Stand, error) {
	h.c.trace("verify-stop")
	stand, err := h.hold.Stop(ctx, offset)
	h.c.trace("verify-stopped")
	return stand, err
}

// Err is that of verify.Hold.
func (h stopped) Err() error { return h.hold.Err() }

// Held is that of verify.Hold.
func (h stopped) Held() time.Duration { return h.hold.Held() }

// heldShards are the primaries of a side, with what comes from one primary held back.
type heldShards struct {
	stopped

	d *deployment

	mu       sync.Mutex
	locked   func() // ends what unlock has begun; nil where nothing has
	released bool
}

// Release is that of verify.Hold.
func (h *heldShards) Release() { h.release(h.c.lifetime()) }

// release ends a repair that has not come to its end, and only then has the shards fed:
// what is still on its way, however long the network takes, would be written over what
// the stream has brought since. The engine does so before it feeds them, too, but a
// switch, or an abort, may not wait for the engine.
func (h *heldShards) release(ctx context.Context) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.released {
		return
	}
	h.released = true
	h.c.trace("verify-release")
	if h.locked != nil {
		h.cut(ctx)
	}
	h.hold.Release()
}

// cut is tried at each shard until it has answered, or all have lost their link: no
// switch can be made then, and the engine does it before it feeds them again.
func (h *heldShards) cut(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), lockTimeout)
	defer cancel()
	for _, node := range h.c.left(h.d.side).Repaired {
		for {
			err := h.c.cutAt(ctx, h.d, node)
			if err == nil {
				break
			}
			select {
			case <-ctx.Done():
				h.c.event(slog.LevelWarn, fmt.Sprintf("%s: what the repair has sent may still be on its way: %v; it is ended as soon as the shard answers", node, err))
				return
			case <-time.After(10 * time.Millisecond):
			}
			if h.hold.ended() {
				return
			}
		}
	}
}

func (h *heldShards) unlock(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.released:
		return errNotHeld
	case h.locked != nil:
		return nil
	}
	var err error
	h.locked, err = h.hold.unlock()
	return err
}

func (h *heldShards) lock(context.Context) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.locked != nil {
		h.locked()
		h.locked = nil
	}
	return nil
}
