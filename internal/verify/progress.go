package verify

import (
	"context"
	"sync"
	"time"
)

// progressInterval is how often Config.Progress hears of a run, and the journal
// shows the differences found.
const progressInterval = 250 * time.Millisecond

// Stages of a run, as Progress.Stage tells them.
const (
	StageConnecting = "connecting"
	StageSnapshot   = "snapshot"
	StageSecondLook = "second look"
	StageSettling   = "settling"
	StageScan       = "scan"
	StageRepair     = "repair"
)

// enter says which stage the run is in.
func (r *run) enter(stage string) { r.stage.Store(&stage) }

// progress is what the run is at.
func (r *run) progress() Progress {
	return Progress{
		Stage: *r.stage.Load(), Source: r.source.read(), Target: r.target.read(),
		Differences: r.differences() + r.candidates.Load(),
	}
}

// watch reports the progress until stop is called, which reports it once more.
func (r *run) watch(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	tell := func() {
		r.mu.Lock()
		_ = r.journal.flush() // the next append fails likewise
		r.mu.Unlock()
		if r.cfg.Progress != nil {
			r.cfg.Progress(r.progress())
		}
	}
	group.Go(func() {
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				tell()
			}
		}
	})
	return func() {
		cancel()
		group.Wait()
		tell()
	}
}
