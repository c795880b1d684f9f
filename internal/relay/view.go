package relay

import (
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
	Silent      time.Duration // since something came from the source, 0 before the first time
	CopyBytes   int64
	CopyTotal   int64 // 0 while unknown
	FullResyncs int
	Rewritten   int64 // keys that the last snapshot had in another encoding than the target has got
	Dropped     Dropped
	Spool       spool.Stats
}

// Snapshot is cheap and free to any goroutine.
func (l *Link) Snapshot() Snapshot {
	l.mu.Lock()
	s := Snapshot{State: l.state, Reason: l.reason, ReplID: l.replid, FullResyncs: l.full, Rewritten: l.rewritten}
	l.mu.Unlock()
	s.ReadOffset, s.AckedOffset = l.end.Load(), l.ackedSource()
	s.CopyBytes, s.CopyTotal = l.copied.Load(), l.total.Load()
	s.Lag = l.lag.behind(s.AckedOffset, s.ReadOffset)
	if at := l.heard.Load(); at != 0 {
		s.Silent = time.Since(time.Unix(0, at))
	}
	s.Dropped = l.drops.all()
	s.Spool = l.spool.Stats()
	return s
}
