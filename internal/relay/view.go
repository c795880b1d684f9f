package relay

import (
	"godwit/internal/rdb"
	"time"

	"godwit/internal/spool"
)

// State is where the link stands.
func (l *Link) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// Snapshot is what a link shows of itself.
type Snapshot struct {
	State       State
	Reason      string // of Waiting and Broken
	ReplID      string
	ReadOffset  int64 // last byte read from the source
	AckedOffset int64 // applied by the target, in the source's count; 0 while it loads
	Lag         time.Duration
	Held        bool          // the target is stopped at an offset, see Hold: it has no part in the lag
	Silent      time.Duration // since something came from the source, 0 before the first time
	CopyBytes   int64
	CopyTotal   int64 // 0 while unknown
	FullResyncs int
	Rewritten   int64 // keys that the last snapshot had in another encoding than the target has got
	Dropped     rdb.Dropped
	Spool       spool.Stats
}

// Snapshot is cheap and free to any goroutine.
func (l *Link) Snapshot() Snapshot {
	l.mu.Lock()
	s := Snapshot{State: l.state, Reason: l.reason, ReplID: l.replid, FullResyncs: l.full, Rewritten: l.rewritten}
	l.mu.Unlock()
	s.ReadOffset, s.AckedOffset = l.end.Load(), l.ackedSource()
	s.CopyBytes, s.CopyTotal = l.copied.Load(), l.total.Load()
	s.Lag = l.lag.Behind(s.AckedOffset, s.ReadOffset)
	if at := l.heard.Load(); at != 0 {
		s.Silent = time.Since(time.Unix(0, at))
	}
	s.Held = l.held()
	s.Dropped = l.drops.all()
	s.Spool = l.spool.Stats()
	return s
}

func (l *Link) replidNow() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.replid
}

func (l *Link) toldNow() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.told
}

// SourceOffset is the place of the source's stream that the target calls so.
func (l *Link) SourceOffset(target int64) int64 { return l.offsets.toSource(target) }

// TargetOffset is what the target calls that place of the source's stream, as
// far as that was read.
func (l *Link) TargetOffset(source int64) int64 { return l.offsets.toTarget(source) }

// TargetReplID is what the target calls the stream, "" while it has none of it.
func (l *Link) TargetReplID() string { return l.toldNow() }

// ackedSource is what the target has applied in the source's count, 0 while it loads.
func (l *Link) ackedSource() int64 {
	acked := l.acked.Load()
	if acked == notLoaded {
		return 0
	}
	return l.offsets.toSource(acked)
}
