package apply

import (
	"context"
	"errors"
	"fmt"
	"time"

	"godwit/internal/hold"
	"godwit/internal/refresh"
	"godwit/internal/server"
)

// TrailFrom has the replica given each command of one shard's stream, by the address of
// its primary, not before delay has gone by since it was read, to a millisecond or two,
// until the hold is released. The other shards' go on. Errors: hold.ErrHeld, and others
// where nothing is streaming.
func (f *Feed) TrailFrom(address string, delay time.Duration) (*Hold, error) {
	for _, l := range f.all() {
		if l.address() == address {
			return l.trail(delay)
		}
	}
	return nil, fmt.Errorf("%s is not read, so the way back cannot be held", address)
}

func (l *feedLink) trail(delay time.Duration) (*Hold, error) {
	f := l.feed
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case l.gate.hold.Load() != nil:
		return nil, hold.ErrHeld
	case !l.feeding || f.state != Streaming:
		return nil, fmt.Errorf("the way back is %s, so it cannot be held", f.state)
	}
	return l.gate.held(l.in, delay), nil
}

// opened is called when a feeder begins to carry the link's stream.
func (l *feedLink) opened(x *feeder) {
	l.feed.mu.Lock()
	defer l.feed.mu.Unlock()
	l.gate.alarm.Store(&x.woken)
	l.feeding = true
}

// closed is called when it does not any more: the hold ends with it.
func (l *feedLink) closed(cause error) {
	l.feed.mu.Lock()
	l.feeding = false
	l.feed.mu.Unlock()
	l.breakHold(cause)
}

// breakHold ends the link's hold, if there is one.
func (l *feedLink) breakHold(cause error) {
	reason := errors.New("the stream to the old primary has ended")
	if cause != nil && !errors.Is(cause, context.Canceled) {
		reason = fmt.Errorf("%w: %w", reason, cause)
	}
	if h := l.gate.hold.Load(); h != nil {
		h.end(&hold.BrokenError{Reason: reason.Error()})
	}
}

// The feeder is one that carries.
var _ carrying = (*feeder)(nil)

func (x *feeder) stands() int64 { return x.offset }

func (x *feeder) letGo(ctx context.Context) error {
	x.link.read.Store(x.offset)
	return x.flush(ctx)
}

func (x *feeder) comeToRest(ctx context.Context) (whole bool, err error) {
	if x.inside {
		return false, nil
	}
	return true, x.rest(ctx)
}

func (x *feeder) further() (values *carrier, had int64) { return x.values, 0 }

func (x *feeder) lockOut(ctx context.Context) error { return x.link.lockOut(ctx) }

// lockOut ends what others may still be writing to the replica: a repair whose hold is
// over.
func (l *feedLink) lockOut(ctx context.Context) error {
	f := l.feed
	c, err := dial(ctx, f.cfg.Replica)
	if err != nil {
		return err
	}
	err = c.endClients(refresh.Name)
	_ = c.Close() // every reply was read
	var refused *server.Error
	if errors.As(err, &refused) { // not permitted
		f.cfg.Log.Warn("what a repair has sent may still be on its way", "replica", f.cfg.Replica.Address, "error", err)
		err = nil
	}
	if err == nil {
		l.gate.mending.Store(false)
	}
	return err
}
