package relay

import "time"

// Reconnecting begins at once and slows down to this.
const (
	firstRetry = 50 * time.Millisecond
	lastRetry  = 2 * time.Second
)

// backoff times the attempts to reach the source again.
type backoff struct {
	timer *time.Timer
	next  time.Duration
}

func newBackoff() *backoff {
	b := &backoff{timer: time.NewTimer(time.Hour), next: firstRetry}
	b.timer.Stop()
	return b
}

func (b *backoff) C() <-chan time.Time { return b.timer.C }

// lost arms the first attempt after a connection has ended: at once, or, where
// nothing came of it, as after a failed attempt.
func (b *backoff) lost(progress bool) {
	if !progress {
		b.again()
		return
	}
	b.next = firstRetry
	b.timer.Reset(0)
}

// again arms the next attempt, later each time.
func (b *backoff) again() {
	b.timer.Reset(b.next)
	b.next = min(2*b.next, lastRetry)
}

// disarm calls the next attempt off.
func (b *backoff) disarm() { b.timer.Stop() }
