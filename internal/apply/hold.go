package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"godwit/internal/hold"
	"godwit/internal/lag"
	"godwit/internal/refresh"
)

// Hold keeps commands of a source's stream from the target: each for a while, from
// Trail on, so that Stop comes in time, and then all those after an offset. The
// source is read meanwhile as ever. A hold ends with Release, or by itself: once the
// spool is full, and with what carries the stream, whatever is the end of that: a lost
// shard, slots that have moved, a full resync, the engine's own.
//
// What is read by value is newer than the offset at which the target stops, if it was
// read since. Such keys are ahead of it, and stay so: the value at that very offset is
// not to be had any more. The hold remembers with which values they are, see
// hold.Stand.
type Hold struct {
	gate    *gate
	in      *intake // of the stream
	delay   time.Duration
	ended   chan struct{} // closed when it has
	stopped chan struct{} // closed by Stop
	rested  chan struct{} // closed once the target has come to a rest there, or cannot

	mu      sync.Mutex
	stop    int64     // no command that ends after this offset is given away, once stopped is closed
	granted int64     // offset up to which commands may have been
	since   time.Time // when the first of them was kept back after Stop
	held    time.Duration
	over    bool
	err     error // why it ended by itself

	before int64              // offset of the newest value that was read before it; -1 while none was since
	values map[string]keptOne // those that were read since, by the names of carrier.ahead
	size   int                // of these, in bytes
	stand  hold.Stand         // once rested is closed
	failed error              // why there is none
}

// keptOne is a value that a key was given during a hold, and its offset.
type keptOne struct {
	refresh.Value
	at int64
}

const (
	// maxKept is how many bytes of values a hold remembers: they wait in memory.
	maxKept = 64 << 20
	// fullCheck is how often it is looked whether the spool is full.
	fullCheck = 10 * time.Millisecond
)

// errReleased is returned once there is no hold any more.
var errReleased = errors.New("the hold was released")

// Trail has the target given each command of a source's stream, by the number of the
// source, not before delay has gone by since it was read, to a millisecond or two,
// until the hold is released. Errors: hold.ErrHeld, and others where nothing is
// streaming.
func (e *Engine) Trail(source int, delay time.Duration) (*Hold, error) {
	return e.all()[source].trail(delay)
}

// TrailFrom is Trail by the address of the source's primary.
func (e *Engine) TrailFrom(address string, delay time.Duration) (*Hold, error) {
	for _, l := range e.all() {
		if v := l.View(); v.Source == address {
			if v.Unsettled > 0 {
				return nil, fmt.Errorf("the target is not to be compared yet: %d slots of the source are on the move", v.Unsettled)
			}
			return l.trail(delay)
		}
	}
	return nil, fmt.Errorf("%s is not read, so its target cannot be held back", address)
}

func (l *Link) trail(delay time.Duration) (*Hold, error) {
	slots := l.Renewing() // before mu is taken: a progress that is being saved waits for a view
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.gate.hold.Load() != nil:
		return nil, hold.ErrHeld
	case len(slots) > 0:
		return nil, fmt.Errorf("the target is not to be compared yet: slots are carried by value once more, from %d on", slots[0].First)
	case l.state != Streaming:
		return nil, fmt.Errorf("the link is %s, so its target cannot be held back", l.state)
	}
	return l.gate.held(l.in, delay), nil
}

// Stop has the target given the stream up to exactly that offset of the source's,
// which must be a command's end and may still be to come, and returns once every
// shard has carried that out. It may be called once. Errors: *hold.PassedError,
// *hold.BrokenError.
func (h *Hold) Stop(ctx context.Context, offset int64) (hold.Stand, error) {
	if err := h.stopAt(offset); err != nil {
		return hold.Stand{}, err
	}
	h.gate.alarm.Load().raise() // it may be waiting for bytes
	select {
	case <-h.rested:
	case <-h.ended:
	case <-ctx.Done():
		return hold.Stand{}, ctx.Err()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return hold.Stand{}, h.causeLocked()
	}
	return h.stand, h.failed
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
	if offset < h.granted {
		return &hold.PassedError{Offset: offset, Passed: h.granted}
	}
	h.stop = offset
	close(h.stopped)
	return nil
}

// Unlock says that somebody writes to the shards while they are held, until lock is
// called, after every reply. If the hold ends before that, what is still on its way
// is ended before the target is given anything more: by CLIENT KILL of the
// connections of package refresh.
func (h *Hold) Unlock() (lock func(), err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return nil, h.causeLocked()
	}
	h.gate.mending.Store(true)
	return func() { h.gate.mending.Store(false) }, nil
}

// Release has the target given all that it was not. It may be called more than once.
func (h *Hold) Release() { h.end(nil) }

// Held is for how long there was something, or might have been, that Stop kept from
// the target: the time until the shards stood there included.
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
	h.over, h.err, h.values = true, err, nil
	h.gate.hold.CompareAndSwap(h, nil)
	close(h.ended)
}

func (h *Hold) causeLocked() error {
	if h.err != nil {
		return h.err
	}
	return errReleased
}

// breakHold ends the link's hold with its lanes, and lets in no other one.
func (l *Link) breakHold(cause error) {
	reason := errors.New("the stream to the shards has ended")
	if cause != nil && !errors.Is(cause, context.Canceled) {
		reason = fmt.Errorf("%w: %w", reason, cause)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state, l.reason = Broken, reason
	if h := l.gate.hold.Load(); h != nil {
		h.end(&hold.BrokenError{Reason: reason.Error()})
	}
}

// grant tells up to which offset commands may be given away now, and when to ask
// again for those after it.
func (h *Hold) grant() (upTo int64, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	select {
	case <-h.stopped:
		h.granted = h.stop
		return h.stop, fullCheck
	default:
	}
	upTo, due := h.in.clock.ArrivedBy(time.Now().Add(-h.delay))
	h.granted = max(h.granted, upTo)
	return upTo, max(time.Until(due.Add(h.delay)), lag.Resolution)
}

// stopsAt tells whether no command after an offset may be given away any more.
func (h *Hold) stopsAt(offset int64) bool {
	select {
	case <-h.stopped:
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.stop <= offset
	default:
		return false
	}
}

// keep remembers values that the source had at an offset, and the target is given. known
// tells the db and the key by which the carrier knows the i-th.
func (h *Hold) keep(c *carrier, known func(i int) (int, []byte), values []refresh.Value, at int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return
	}
	if h.before < 0 {
		h.before = c.until
	}
	for i, v := range values {
		name := string(c.name(known(i)))
		h.size += len(v.Payload) - len(h.values[name].Payload)
		v.Key, v.Payload = bytes.Clone(v.Key), bytes.Clone(v.Payload)
		h.values[name] = keptOne{v, at}
	}
}

// arrive says that the target has come to a rest, or why it has not. had is what some of
// it has had before the stream was read again.
func (h *Hold) arrive(c *carrier, had int64, failed error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.before < 0 {
		h.before = c.until
	}
	passed := max(h.before, had)
	switch {
	case failed != nil:
		h.failed = failed
	case passed > h.stop:
		h.failed = &hold.PassedError{Offset: h.stop, Passed: passed}
	}
	for name, v := range h.values {
		if v.at > h.stop && c.ahead[name] == v.at {
			h.stand.Ahead = append(h.stand.Ahead, v.Value)
		}
	}
	close(h.rested)
}

// crowded ends a hold that would make the source wait, or takes too much memory.
func (h *Hold) crowded() {
	h.mu.Lock()
	size := h.size
	h.mu.Unlock()
	switch {
	case h.in.spool.Stats().Full:
		h.end(&hold.BrokenError{Reason: "the spool is full, and the source must not wait"})
	case size > maxKept:
		h.end(&hold.BrokenError{Reason: fmt.Sprintf("%d bytes of values were read by value meanwhile", size)})
	}
}
