//go:build fault

package verify_test

import (
	"context"
	"testing"
	"time"

	"godwit/internal/verify"
	"sync"
)

// hooked does something before the feed is held.
type hooked struct {
	verify.Feed
	before func()
}

func (h *hooked) Trail(ctx context.Context) (verify.Hold, error) {
	h.before()
	return h.Feed.Trail(ctx)
}

// A target that does not answer is fed again after a while, and asked again.
func TestTargetThatHangs(t *testing.T) {
	t.Parallel()
	p := smallPair(t, options{source: "redis-7.0", target: "valkey-8.1"})
	startLoad(t, p.source, 2000, false)
	for _, tt := range []struct {
		pause time.Duration
		says  string
	}{{4 * time.Second, ""}, {time.Minute, "127.0.0.1"}} {
		cfg := p.config(t)
		var once sync.Once
		cfg.Feeds[0] = &hooked{cfg.Feeds[0], func() {
			once.Do(func() {
				_ = p.target.Pause()
				time.AfterFunc(tt.pause, func() { _ = p.target.Resume() })
			})
		}}
		began := time.Now()
		report := run(t, cfg)
		took := time.Since(began)
		t.Logf("%v: %+v", took, report)
		if tt.says == "" {
			mustFind(t, report, cfg.Options.Dir)
		} else {
			mustNotTell(t, report, tt.says, "")
		}
		_ = p.target.Resume()
		p.free(t, cfg.Options.Dir)
	}
}
