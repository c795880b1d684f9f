package relay

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"godwit/internal/hold"
	"godwit/internal/lag"
)

// Hold keeps bytes of a link's stream from its target: each for a while, from
// Trail on, so that Stop comes in time, and then all those after an offset. The
// source is read meanwhile as ever. A hold ends with Release, or by itself with
// either connection, a full resync included, and once the spool is full.
type Hold struct {
	link    *Link
	delay   time.Duration
	ended   chan struct{} // closed when it has
	stopped chan struct{} // closed by Stop
	applied chan struct{} // the target has acknowledged more

	mu      sync.Mutex
	stop    int64         // nothing after this offset of the source's is sent, once stopped is closed
	granted int64         // position of the spool up to which bytes may have been sent
	since   time.Time     // when the first byte after stop was there to be sent
	held    time.Duration // from then to the end
	over    bool
	err     error // why it ended by itself
}

// fullCheck is how often a writer that sends nothing looks whether the spool is full.
const fullCheck = 10 * time.Millisecond

// errReleased is returned by Stop once there is no hold any more.
var errReleased = errors.New("the hold was released")

// trailRequest asks the link's actor for a hold.
type trailRequest struct {
	delay  time.Duration
	answer chan trailAnswer
}

type trailAnswer struct {
	hold *Hold
	err  error
}

// Trail has the target sent each byte of the stream not before delay has gone by
// since it was read from the source, to a millisecond or two, until the hold is
// released. Errors: hold.ErrHeld, ErrLinkEnded, and others where nothing is streaming.
func (l *Link) Trail(ctx context.Context, delay time.Duration) (*Hold, error) {
	req := trailRequest{delay: delay, answer: make(chan trailAnswer, 1)}
	select {
	case l.trails <- req:
	case <-l.done:
		return nil, ErrLinkEnded
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	a := <-req.answer
	return a.hold, a.err
}

// trail is Trail by the actor: it alone begins and ends connections.
func (l *Link) trail(delay time.Duration) (*Hold, error) {
	if l.hold.Load() != nil {
		return nil, hold.ErrHeld
	}
	if state := l.State(); state != Streaming || l.up == nil || l.down == nil {
		return nil, fmt.Errorf("the link is %s, so its target cannot be held back", state)
	}
	h := &Hold{
		link: l, delay: delay,
		ended: make(chan struct{}), stopped: make(chan struct{}), applied: make(chan struct{}, 1),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	l.hold.Store(h)
	// What the writer has taken before it saw the hold was in the spool by now.
	_, h.granted = l.spool.Range()
	return h, nil
}

// Stop has the target sent the stream up to exactly that offset of the source's,
// which must be a command's end and may still be to come, and returns once it has
// applied that: with the replid and the offset by which the target calls the
// place. How soon that is noticed rests on how often Acknowledge is called. It may
// be called once. Errors: *hold.PassedError, *hold.BrokenError.
func (h *Hold) Stop(ctx context.Context, offset int64) (replid string, target int64, err error) {
	if err := h.stopAt(offset); err != nil {
		return "", 0, err
	}
	l := h.link
	for {
		reached, acked := l.end.Load() >= offset, l.acked.Load()
		replid, target = l.toldNow(), l.offsets.toTarget(offset)
		select {
		case <-h.ended: // what was read may be of another stream
			return "", 0, h.cause()
		default:
		}
		switch {
		case reached && acked == target:
			return replid, target, nil
		case reached && acked > target:
			return "", 0, &hold.PassedError{Offset: offset, Passed: l.offsets.toSource(acked)}
		}
		select {
		case <-h.applied:
		case <-h.ended:
		case <-ctx.Done():
			return "", 0, ctx.Err()
		}
	}
}

func (h *Hold) stopAt(offset int64) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return h.causeLocked()
	}
	select {
	case <-h.stopped:
		return fmt.Errorf("the target is stopped already, at offset %d", h.stop)
	default:
	}
	l := h.link
	if offset < l.end.Load() && h.granted > l.positionAfter(offset) {
		sent := h.granted - l.streamAt.Load() + l.start.Load() - 1
		return &hold.PassedError{Offset: offset, Passed: l.offsets.toSource(sent)}
	}
	h.stop = offset
	close(h.stopped)
	return nil
}

// Release feeds the target again, with all that it was not sent. It may be called
// more than once.
func (h *Hold) Release() { h.end(nil) }

// Held is for how long there were bytes that Stop kept from the target.
func (h *Hold) Held() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over && !h.since.IsZero() {
		return time.Since(h.since)
	}
	return h.held
}

// Ended is closed once the target is fed again, for whatever reason.
func (h *Hold) Ended() <-chan struct{} { return h.ended }

// Err is why the target is not held any more, nil while it is.
func (h *Hold) Err() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.over {
		return nil
	}
	return h.causeLocked()
}

func (h *Hold) end(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return
	}
	if !h.since.IsZero() {
		h.held = time.Since(h.since)
	}
	h.over, h.err = true, err
	h.link.hold.CompareAndSwap(h, nil)
	close(h.ended)
}

func (h *Hold) cause() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.causeLocked()
}

func (h *Hold) causeLocked() error {
	if h.err != nil {
		return h.err
	}
	return errReleased
}

// wake has Stop look again at what the target has applied.
func (h *Hold) wake() {
	select {
	case h.applied <- struct{}{}:
	default:
	}
}

// breakHold ends the link's hold, if there is one: what it was for cannot be any more.
func (l *Link) breakHold(reason string) {
	if h := l.hold.Load(); h != nil {
		h.end(&hold.BrokenError{Reason: reason})
	}
}

// held tells whether the target is stopped at an offset.
func (l *Link) held() bool {
	h := l.hold.Load()
	if h == nil {
		return false
	}
	select {
	case <-h.stopped:
		return true
	default:
		return false
	}
}

// positionAfter is the spool's position after that offset of the source's, or of
// the last place before it that the target's stream has, too.
func (l *Link) positionAfter(offset int64) int64 {
	return l.offsets.toTarget(offset) - l.start.Load() + l.streamAt.Load() + 1
}

// allow waits until some of b, which begins at position, may be sent, and returns that.
func (h *Hold) allow(ctx context.Context, position int64, b []byte) ([]byte, error) {
	n, wait := h.grant(position, len(b))
	if n > 0 {
		return b[:n], nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	stopped := h.stopped
	for {
		select {
		case <-h.ended:
			return b, nil
		case <-stopped:
			stopped = nil
		case <-timer.C:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if h.link.spool.Stats().Full {
			h.end(&hold.BrokenError{Reason: "the spool is full, and the source must not wait"})
		}
		if n, wait = h.grant(position, len(b)); n > 0 {
			return b[:n], nil
		}
		timer.Reset(wait)
	}
}

// grant tells how many of n bytes from position on may be sent now, and if none,
// when to ask again.
func (h *Hold) grant(position int64, n int) (granted int, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return n, 0
	}
	limit, wait, last := h.limit()
	room := h.link.positionAfter(limit) - position
	if room <= 0 {
		if last && h.since.IsZero() {
			h.since = time.Now()
		}
		return 0, wait
	}
	n = int(min(int64(n), room))
	h.granted = max(h.granted, position+int64(n))
	return n, 0
}

// limit is the source's offset up to which bytes may be sent now, and when that
// may be another, or that it is the last before the end. h.mu must be held.
func (h *Hold) limit() (offset int64, wait time.Duration, last bool) {
	read := h.link.end.Load()
	select {
	case <-h.stopped:
		if read <= h.stop {
			return read, lag.Resolution, false
		}
		return h.stop, fullCheck, true
	default:
		offset, due := h.link.lag.ArrivedBy(time.Now().Add(-h.delay))
		return offset, max(time.Until(due.Add(h.delay)), lag.Resolution), false
	}
}
