package relay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/psync"
)

// downstream is the target's connection: one goroutine writes the spool to
// it, one reads its ACKs, one watches for silence.
type downstream struct {
	peer   *psync.Peer
	cancel context.CancelFunc
	done   chan error // the first end of any of its goroutines, once
	wg     sync.WaitGroup
	last   atomic.Int64  // UnixNano of the target's last sign of life
	idle   atomic.Bool   // it waits for more of a snapshot, and says nothing meanwhile
	online chan struct{} // closed at the first ACK
	sent   atomic.Int64  // position of the spool
	// through tells that a command or transaction is larger than the spool: what is
	// sent of it is given up.
	through atomic.Bool
}

func (l *Link) startDownstream(ctx context.Context, p *psync.Peer, position int64) {
	ctx, cancel := context.WithCancel(ctx)
	d := &downstream{peer: p, cancel: cancel, done: make(chan error, 1), online: make(chan struct{})}
	d.alive()
	l.down = d
	end := func(err error) {
		select {
		case d.done <- err:
		default:
		}
	}
	d.wg.Go(func() { end(l.writeTarget(ctx, d, position)) })
	d.wg.Go(func() { end(l.readAcks(d)) })
	d.wg.Go(func() { l.watch(ctx, d) })
}

func (l *Link) stopDownstream() {
	if l.down == nil {
		return
	}
	l.breakHold("the target's connection has ended")
	l.down.cancel()
	_ = l.down.peer.Close() // ends its goroutines; there is nothing left to say
	l.down.wg.Wait()
	l.down = nil
}

// writeTarget sends the spool from position on.
func (l *Link) writeTarget(ctx context.Context, d *downstream, position int64) error {
	waited := false
	for {
		at := l.streamAt.Load()
		d.idle.Store(at < 0 || position < at)
		b, err := l.spool.Next(ctx, position)
		if err != nil {
			return spoolError(ctx, err)
		}
		if d.idle.Swap(false) {
			// While it receives a snapshot a replica says nothing (replication.c
			// readSyncBulkPayload): that it takes the bytes is its sign of life.
			d.alive()
		}
		if at := l.streamAt.Load(); !waited && at >= 0 && position < at && position+int64(len(b)) >= at {
			// The snapshot's last bytes. After them a replica that reads until a
			// marker must get nothing before its ACK: what follows would be taken
			// for part of the snapshot.
			b = b[:at-position]
			if _, err := d.peer.Write(b); err != nil {
				return err
			}
			position = at
			waited = true
			d.alive()
			l.shift(Copying, Loading)
			select {
			case <-d.online:
				l.shift(Loading, Streaming)
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		if h := l.hold.Load(); h != nil {
			if b, err = h.allow(ctx, position, b); err != nil {
				return err
			}
		}
		n, err := d.peer.Write(b)
		position += int64(n)
		if err != nil {
			return err
		}
		d.sent.Store(position)
		if at := l.streamAt.Load(); at < 0 || position <= at || d.through.Load() {
			l.spool.Release(position) // a snapshot is never sent twice
		}
	}
}

// readAcks takes the target's ACKs. They come once a second; Acknowledge is
// told more often.
func (l *Link) readAcks(d *downstream) error {
	first := true
	for {
		offset, err := d.peer.ReadAck()
		if err != nil {
			return eof(err)
		}
		d.alive()
		if offset < 0 {
			continue
		}
		l.acknowledge(offset)
		if first {
			first = false
			close(d.online)
		}
	}
}

func (d *downstream) alive() { d.last.Store(time.Now().UnixNano()) }

// watch ends a connection that has been silent for too long: half-open. And it
// sees what else would wait for ever, see unstick.
func (l *Link) watch(ctx context.Context, d *downstream) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	stuck := stuck{acked: notLoaded}
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			l.unstick(d, &stuck)
			if !d.idle.Load() && now.Sub(time.Unix(0, d.last.Load())) > l.silence {
				select {
				case d.done <- fmt.Errorf("%w for %v", errSilent, l.silence):
				default:
				}
				_ = d.peer.Close() // ends the other two
				return
			}
		}
	}
}

// stuck is a target that acknowledges nothing of what it has got, and since when.
type stuck struct {
	acked int64
	since time.Time
}

// unstick begins to give up what is sent where the spool is full and the target
// has got all of it: if it still tells the same offset, it has not come to the end
// of a command or transaction. One that tells nothing has only stopped.
func (l *Link) unstick(d *downstream, s *stuck) {
	acked, sent := l.acked.Load(), d.sent.Load()
	if acked != s.acked {
		d.through.Store(false)
	}
	_, to := l.spool.Range()
	if acked != s.acked || acked == notLoaded || sent < to || !l.spool.Stats().Full {
		*s = stuck{acked: acked, since: time.Now()}
		return
	}
	if d.last.Load() < s.since.UnixNano() || d.through.Swap(true) {
		return
	}
	l.spool.Release(sent)
	l.cfg.Notify(slog.LevelWarn, "a command or transaction is larger than the spool: if a connection ends within it, a full resync may be needed")
}

var errSilent = errors.New("it was silent")
