package verify_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/hold"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/verify"
)

// timed is the feed of a target that nobody writes to. It tells for how long it was
// stopped at most.
type timed struct {
	trail func() // is called once, by the first Trail

	mu      sync.Mutex
	since   time.Time // that it is stopped; zero while it is not
	longest time.Duration
}

func (f *timed) Trail(context.Context) (verify.Hold, error) {
	if trail := f.trail; trail != nil {
		f.trail = nil
		trail()
	}
	return f, nil
}

func (f *timed) Stop(context.Context, int64) (hold.Stand, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.since = time.Now()
	return hold.Stand{}, nil
}

func (f *timed) Release() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.since.IsZero() {
		f.longest = max(f.longest, time.Since(f.since))
	}
	f.since = time.Time{}
}

func (f *timed) Held() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.longest
}

func (f *timed) Err() error { return nil }

// A shard that does not begin its snapshot keeps what the others feed only for a moment.
func TestShardThatCannotForkHoldsTheOthersShortly(t *testing.T) {
	t.Parallel()
	settings := sandbox.Options{Args: []string{"--repl-diskless-sync-delay 0"}}
	source := []*sandbox.Server{sandboxtest.Start(t, "redis-7.0", settings), sandboxtest.Start(t, "redis-7.0", settings)}
	target := sandboxtest.Start(t, "redis-7.0", settings)
	side := sideOf(source...)
	side.Slots = func(slot uint16) int { return int(slot) * 2 / 16384 }
	for _, s := range append(source, target) { // of which each shard has those that are not its own, too
		fill(t, s, dataset.Options{Keys: 1000, Now: time.Now().Truncate(time.Hour), NoFunctions: true})
	}
	busy := sandboxtest.Client(t, source[1])
	feeds := []*timed{{}, {trail: func() {
		do(t, busy, "CONFIG", "SET", "rdb-key-save-delay", 6000)
		do(t, busy, "BGSAVE")
		do(t, busy, "CONFIG", "SET", "rdb-key-save-delay", 0)
	}}}
	cfg := verify.Config{Source: side, Target: sideOf(target), Feeds: []verify.Feed{feeds[0], feeds[1]}}
	cfg.Options.Dir = t.TempDir()
	report := compare(t, cfg)
	mustFind(t, report, cfg.Options.Dir)
	if report.Took < 5*time.Second || feeds[0].longest > 4500*time.Millisecond {
		t.Errorf("took %v, the first feed was stopped for %v", report.Took, feeds[0].longest)
	}
	t.Logf("took %v, the first feed was stopped for %v", report.Took, feeds[0].longest)
}
