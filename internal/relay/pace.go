package relay

import (
	"context"
	"time"
)

// pace spaces the reads of a busy stream. A source under load writes to its
// replicas after each round of its event loop, a few kilobytes a time; taking
// them one by one costs godwit, the source and the target a wake-up each, on
// processors that they may share with the clients. A stream at rest is read at
// once.
type pace struct {
	timer *time.Timer
	last  time.Time // of the last read's return
}

// paceInterval is how close together two reads must be for the third to wait,
// and the least that it waits; the resolution of Go's timers makes that a
// millisecond or so. Longer ones make the target apply more at a stretch, and
// keep a processor that the source's clients may be waiting for.
const paceInterval = 100 * time.Microsecond

func newPace() *pace {
	p := &pace{timer: time.NewTimer(time.Hour)}
	p.timer.Stop()
	return p
}

// wait is called after a read, drained if it took all there was. If it came
// right after the one before, the next one waits until more has gathered.
func (p *pace) wait(ctx context.Context, drained bool) {
	now := time.Now()
	if drained && now.Sub(p.last) < paceInterval {
		p.timer.Reset(paceInterval)
		select {
		case <-p.timer.C:
		case <-ctx.Done():
		}
		now = time.Now()
	}
	p.last = now
}

func (p *pace) stop() { p.timer.Stop() }
