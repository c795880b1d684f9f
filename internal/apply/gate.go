package apply

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"godwit/internal/refresh"
	"godwit/internal/server"
)

// gate is where a Hold keeps the commands of one source's stream from a target.
type gate struct {
	hold    atomic.Pointer[Hold]  // nil for none
	alarm   atomic.Pointer[alarm] // wakes whoever reads the stream
	mending atomic.Bool           // somebody else may write to the target, see Hold.Unlock
}

// carrying is who reads the stream, and gives the target its commands.
type carrying interface {
	// stands is the offset of the source up to which commands were given away.
	stands() int64
	// letGo gives away what was gathered, that it need not wait for the next command.
	letGo(ctx context.Context) error
	// comeToRest returns once the target has carried out all that it was given; whole is false
	// within a transaction, of which a part was given.
	comeToRest(ctx context.Context) (whole bool, err error)
	// further is what the target is ahead of the stream by: keys that were carried by value,
	// and an offset up to which some of it had the stream before it was read again.
	further() (values *carrier, had int64)
	// lockOut ends what others may still be writing to the target, and takes back mending.
	lockOut(ctx context.Context) error
}

// held makes the hold of a gate that has none. The caller has seen to it that the stream is
// being carried, and that breakHold is called with its end.
func (g *gate) held(in *intake, delay time.Duration) *Hold {
	h := &Hold{
		gate: g, in: in, delay: delay, before: -1, values: map[string]keptOne{},
		ended: make(chan struct{}), stopped: make(chan struct{}), rested: make(chan struct{}),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	g.hold.Store(h)
	// What was taken by one that had not seen the hold yet was read by now.
	h.granted = in.end.Load()
	return h
}

// shut tells whether the target is held back, or somebody else may still be writing to it.
func (g *gate) shut() bool { return g.hold.Load() != nil || g.mending.Load() }

// allow waits until the command that ends at an offset may be given away. upTo is what a
// hold has let pass.
func (g *gate) allow(ctx context.Context, c carrying, end int64, upTo *int64) error {
	for gone := false; ; {
		h := g.hold.Load()
		if h == nil || end <= *upTo {
			return nil
		}
		var pause time.Duration
		if *upTo, pause = h.grant(); end <= *upTo {
			return nil
		}
		if h.stopsAt(end - 1) {
			if err := g.halt(ctx, c, h); err != nil {
				return err
			}
			continue
		}
		if !gone {
			gone = true
			if err := c.letGo(ctx); err != nil {
				return err
			}
		}
		h.crowded()
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-h.stopped:
		case <-h.ended:
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// haltHere comes to a rest if a hold stops where the stream has been carried to.
func (g *gate) haltHere(ctx context.Context, c carrying) error {
	if h := g.hold.Load(); h != nil && h.stopsAt(c.stands()) {
		return g.halt(ctx, c, h)
	}
	return nil
}

// halt brings the target to a rest, and waits for the end of the hold.
func (g *gate) halt(ctx context.Context, c carrying, h *Hold) error {
	h.mu.Lock()
	h.since = time.Now()
	stop := h.stop
	h.mu.Unlock()
	var failed error
	if err := c.letGo(ctx); err != nil {
		return err
	}
	if c.stands() != stop {
		failed = fmt.Errorf("the offset %d, at which the target was to stop, is within a command after %d", stop, c.stands())
	} else if whole, err := c.comeToRest(ctx); err != nil {
		return err
	} else if !whole {
		failed = fmt.Errorf("the offset %d, at which the target was to stop, is within a transaction", stop)
	}
	values, had := c.further()
	h.arrive(values, had, failed)
	again := time.NewTicker(fullCheck)
	defer again.Stop()
	for {
		select {
		case <-again.C:
			h.crowded()
		case <-h.ended:
			if !g.mending.Load() {
				return nil
			}
			return c.lockOut(ctx)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// The dispatcher is one that carries.
var _ carrying = (*dispatcher)(nil)

func (d *dispatcher) stands() int64 { return d.offset }

func (d *dispatcher) letGo(ctx context.Context) error {
	if err := d.proof.flush(ctx); err != nil {
		return err
	}
	d.read.Store(d.offset)
	for _, l := range d.lanes {
		l.flush()
	}
	return nil
}

func (d *dispatcher) comeToRest(ctx context.Context) (whole bool, err error) {
	if err := d.settleLanes(ctx); err != nil {
		return false, err
	}
	for _, l := range d.lanes {
		if l.now != nil {
			return false, nil
		}
	}
	return true, nil
}

func (d *dispatcher) further() (values *carrier, had int64) {
	for _, p := range d.had {
		had = max(had, p.at)
	}
	return d.values, had
}

func (d *dispatcher) lockOut(ctx context.Context) error { return d.link.cut(ctx, d.lanes) }

// settleLanes waits until the shards have carried out everything that lanes were given,
// and whatever they had let go of by themselves meanwhile has been seen to. Slots that
// have had more than the dispatcher has come to have passed the offset anyway.
func (d *dispatcher) settleLanes(ctx context.Context) error {
	for {
		for _, l := range d.lanes {
			if l.flush(); l.now != nil {
				return nil // within a transaction
			}
		}
		for _, l := range d.lanes {
			if err := l.reached(ctx, l.number); err != nil {
				return err
			}
		}
		if !d.lost.raised.Load() && (d.doubts.keys == nil || d.offset < d.doubts.until) {
			return nil
		}
		if err := d.attend(ctx); err != nil {
			return err
		}
	}
}

// cut ends what others may still be writing to the shards: a repair whose hold is over.
func (l *Link) cut(ctx context.Context, lanes []*lane) error {
	for _, x := range lanes {
		c, err := dial(ctx, x.shard)
		if err != nil {
			return err
		}
		err = c.endClients(refresh.Name)
		_ = c.Close() // every reply was read
		var refused *server.Error
		if errors.As(err, &refused) { // not permitted
			l.log.Warn("what a repair has sent may still be on its way", "shard", x.shard.Address, "error", err)
			err = nil
		}
		if err != nil {
			return err
		}
	}
	l.gate.mending.Store(false)
	return nil
}
