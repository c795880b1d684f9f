package relay

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/psync"
)

// upstream is the connection to the source: one goroutine reads it into the
// spool, one sends ACKs.
type upstream struct {
	stream *psync.Stream
	cancel context.CancelFunc
	done   chan error // the reader's end, once
	wg     sync.WaitGroup
	since  time.Time
	sent   atomic.Int64          // UnixNano of the snapshot's end, 0 before and without one
	cause  atomic.Pointer[error] // why the connection was given up, nil for the reader's own error
}

// giveUp ends the connection: the reader ends, with this error, and the actor
// attaches again.
func (u *upstream) giveUp(err error) {
	u.cause.CompareAndSwap(nil, &err)
	_ = u.stream.Close() // nothing is left to say
}

func (l *Link) startUpstream(ctx context.Context, stream *psync.Stream, snapshot bool) {
	ctx, cancel := context.WithCancel(ctx)
	u := &upstream{stream: stream, cancel: cancel, done: make(chan error, 1), since: time.Now()}
	l.heard.Store(u.since.UnixNano())
	l.up, l.attached = u, true
	u.wg.Go(func() {
		var err error
		if snapshot {
			err = l.readSnapshot(ctx, u)
		}
		if err == nil {
			err = l.readStream(ctx, u)
		}
		if cause := u.cause.Load(); cause != nil {
			err = *cause
		}
		u.done <- err
	})
	u.wg.Go(func() { l.sendAcks(ctx, u) })
}

func (l *Link) stopUpstream() {
	if l.up == nil {
		return
	}
	l.breakHold("the source's connection has ended")
	l.up.cancel()
	_ = l.up.stream.Close() // ends the reader; there is nothing left to say
	l.up.wg.Wait()
	l.up = nil
}

// readStream copies the replication stream into the spool.
func (l *Link) readStream(ctx context.Context, u *upstream) error {
	if l.cfg.Editor != nil {
		return l.readEdited(ctx, u)
	}
	pace := newPace()
	defer pace.stop()
	for {
		space, err := l.spool.Reserve(ctx)
		if err != nil {
			return spoolError(ctx, err)
		}
		n, err := u.stream.Read(space)
		if n > 0 {
			l.arrived(n)
			l.spool.Commit(n)
		}
		if err != nil {
			return eof(err)
		}
		pace.wait(ctx, n < len(space))
	}
}

// arrived accounts for n bytes of the stream.
func (l *Link) arrived(n int) {
	now := time.Now()
	l.heard.Store(now.UnixNano())
	l.lag.Mark(l.end.Add(int64(n)), now)
}

// sendAcks tells the source what the target has applied: at once when that
// changes, and every second. While the target still loads it is told 0, which
// is true, and which makes a diskless source begin to stream (replconfCommand
// puts a replica online at its first ACK). That must come after its child has
// ended, which it does not tell: until the stream begins the ACKs are frequent,
// because all the while the source's output buffer fills.
func (l *Link) sendAcks(ctx context.Context, u *upstream) {
	timer := time.NewTimer(ackInterval)
	defer timer.Stop()
	var checkpointed time.Time
	for {
		interval := ackInterval
		if at := u.sent.Load(); at != 0 && l.end.Load() < l.start.Load() && time.Since(time.Unix(0, at)) < onlineWithin {
			interval = onlineInterval
		}
		timer.Reset(interval)
		var ticked time.Time
		select {
		case <-ctx.Done():
			return
		case <-l.ackSignal:
		case ticked = <-timer.C:
		}
		if time.Since(checkpointed) >= ackInterval && l.checkpoint() {
			checkpointed = time.Now()
		}
		switch {
		case ticked.IsZero():
		case l.spool.Stats().Full:
			l.heard.Store(ticked.UnixNano()) // it is we who do not read
		case ticked.Sub(time.Unix(0, l.heard.Load())) > l.silence:
			u.giveUp(fmt.Errorf("%w for %v", errSilent, l.silence)) // half-open
			return
		}
		if l.streamAt.Load() < 0 {
			continue // in the middle of a snapshot there is nothing to acknowledge
		}
		if err := u.stream.Ack(l.ackedSource()); err != nil {
			u.giveUp(fmt.Errorf("sending an ACK: %w", err))
			return
		}
	}
}

// checkpoint tells where both ends stand, if that is known: first at once, then
// once a second.
func (l *Link) checkpoint() bool {
	if l.cfg.Checkpoint == nil || l.acked.Load() == notLoaded {
		return false
	}
	at := l.offsets.checkpoint()
	l.mu.Lock()
	source := Position{ReplID: l.replid, Offset: at.source + 1, DB: at.db}
	target := Position{ReplID: l.told, Offset: at.target + 1}
	l.mu.Unlock()
	l.cfg.Checkpoint(source, target, l.drops.settle(at.source))
	return true
}

const (
	ackInterval    = time.Second           // as a replica of Redis does
	onlineInterval = 25 * time.Millisecond // from the snapshot's end to the stream's beginning,
	onlineWithin   = 30 * time.Second      // but no longer than a child takes to end: an idle source sends nothing
)

func eof(err error) error {
	if err == io.EOF { //nolint:errorlint // net.Conn returns it bare
		return io.ErrUnexpectedEOF
	}
	return err
}
