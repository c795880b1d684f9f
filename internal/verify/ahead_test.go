package verify_test

import (
	"context"
	"testing"

	"godwit/internal/hold"
	"godwit/internal/refresh"
	"godwit/internal/route"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/verify"
)

// aheadOf is idle for a target that has some keys as the source had them a little later.
type aheadOf struct {
	idle

	values []refresh.Value
}

func (f *aheadOf) Trail(context.Context) (verify.Hold, error) { return f, nil }

func (f *aheadOf) Stop(ctx context.Context, offset int64) (hold.Stand, error) {
	stand, err := f.idle.Stop(ctx, offset)
	stand.Ahead = f.values
	return stand, err
}

// What a target is ahead by counts instead of what the source's snapshot has, by whatever
// names that side has its keys.
func TestAheadOfASourceWithARoute(t *testing.T) {
	t.Parallel()
	r, err := route.Parse([]string{"0:prefix=zero:"})
	if err != nil {
		t.Fatal(err)
	}
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	from, to := sandboxtest.Client(t, source), sandboxtest.Client(t, target)
	do(t, from, "SET", "zero:same", "v")
	do(t, to, "SET", "same", "v")
	do(t, from, "SET", "zero:ahead", "later")
	later := lookAt(t, source, "zero:ahead")
	later[0].Key = []byte("ahead") // the target's name
	do(t, from, "SET", "zero:ahead", "earlier")
	do(t, to, "SET", "ahead", "later")

	cfg := verify.Config{Source: sideOf(source), Target: sideOf(target), Feeds: []verify.Feed{&aheadOf{values: later}}}
	cfg.Source.Route = r
	cfg.Options.Dir = t.TempDir()
	report := compare(t, cfg)
	mustFind(t, report, cfg.Options.Dir)
	if report.SourceRead.Keys != 2 || report.TargetRead.Keys != 2 {
		t.Errorf("%+v", report)
	}
}

// lookAt reads keys of a server.
func lookAt(t *testing.T, s *sandbox.Server, names ...string) []refresh.Value {
	t.Helper()
	c, err := refresh.Dial(t.Context(), s.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	var keys [][]byte
	for _, name := range names {
		keys = append(keys, []byte(name))
	}
	values, err := c.Look(t.Context(), 0, keys)
	if err != nil {
		t.Fatal(err)
	}
	return values
}
