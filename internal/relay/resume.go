package relay

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"godwit/internal/psync"
)

// canContinue tells whether the spool holds what the target calls the stream
// from offset on, and where.
func (l *Link) canContinue(replid string, offset int64) (position int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.streamAt.Load()
	if l.replid == "" || at < 0 {
		return 0, false
	}
	if replid != l.told && (replid != l.previous || offset > l.prevEnd+1) {
		return 0, false
	}
	if l.offsets.toSource(offset-1) > l.shared {
		return 0, false
	}
	position = offset - l.start.Load() + at
	from, to := l.spool.Range()
	return position, position >= from && position <= to && position >= at
}

// errBehindTarget asks the target to come again.
var errBehindTarget = errors.New("the stream is being read again, and has not come to where the target stands")

// catchUpTimeout is for how long a target that is ahead is put off: what it has
// was read by an earlier link, from a source that must send it again. While the
// source is out of reach that cannot begin, and the target waits for it.
const catchUpTimeout = 30 * time.Second

// catchingUpWith tells whether the target stands beyond what the spool of a link
// that began at a checkpoint has so far.
func (l *Link) catchingUpWith(replid string, offset int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.streamAt.Load()
	if l.cfg.Knows.ReplID == "" || at < 0 || replid != l.told || l.end.Load() > l.shared {
		return false
	}
	if _, to := l.spool.Range(); offset-l.start.Load()+at <= to {
		return false
	}
	if l.behindSince.IsZero() || l.up == nil {
		l.behindSince = time.Now()
	}
	return time.Since(l.behindSince) < l.catchUp
}

// resume attaches to the source again, where the spool's stream ends.
func (l *Link) resume(ctx context.Context) error {
	if l.replidNow() == "" {
		return nil // the target asks, then
	}
	next := l.end.Load() + 1
	stream, answer, err := l.attach(ctx, psync.Hello{EOF: true}, l.replidNow(), next, nil)
	if err != nil {
		return err
	}
	if answer.Full {
		// Nobody is there to take the snapshot yet. The target is sent to ask
		// itself, and gets the same answer.
		_ = stream.Close() // nothing was read of it
		l.cfg.Notify(slog.LevelWarn, l.cfg.Source.Address+" cannot continue the stream: a full resync is needed")
		l.forget()
		l.stopDownstream()
		l.set(Waiting, "for the target, for a full resync")
		return nil
	}
	if answer.ReplID != "" && answer.ReplID != l.replidNow() {
		if err := l.narrow(ctx, next-1); err != nil {
			_ = stream.Close() // nothing was read of it
			return err
		}
		l.mu.Lock()
		l.replid = answer.ReplID
		if !l.cfg.OwnReplID {
			l.previous, l.prevEnd, l.told = l.told, l.offsets.toTarget(next-1), answer.ReplID
		}
		l.mu.Unlock()
		if !l.cfg.OwnReplID {
			// A replica learns the new replid only from an answer to PSYNC.
			l.stopDownstream()
		}
		if l.attached { // a server that was just promoted has one, and that is no news
			l.cfg.Notify(slog.LevelInfo, l.cfg.Source.Address+" has a new replid; the stream goes on")
		}
	}
	l.startUpstream(ctx, stream, false)
	if l.down == nil {
		l.set(Waiting, "for the target")
		return nil
	}
	l.set(Loading, "")
	if l.acked.Load() != notLoaded {
		l.shift(Loading, Streaming)
	}
	return nil
}

// narrow is called when the source has another replid than where the link begins.
// It has all up to offset of the one before, but the target may have had more of
// that from an earlier link: where the source was restarted from a snapshot, say.
func (l *Link) narrow(ctx context.Context, offset int64) error {
	if l.cfg.Knows.ReplID == "" || l.acked.Load() != notLoaded {
		return nil
	}
	if l.cfg.Shared != nil {
		until, err := l.cfg.Shared(ctx, l.replidNow())
		if err != nil {
			return err
		}
		offset = max(offset, until)
	}
	l.shared = min(l.shared, offset)
	return nil
}
