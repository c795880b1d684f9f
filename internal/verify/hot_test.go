package verify_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/verify"
)

// startHot writes to a few keys, over and over: counters, keys that come and go, and
// keys that expire at once.
func startHot(t *testing.T, s *sandbox.Server, perSecond int) *atomic.Int64 {
	t.Helper()
	written := new(atomic.Int64)
	client := sandboxtest.Client(t, s)
	const batch = 20
	background(t, func(ctx context.Context) {
		began := time.Now()
		rng := rand.New(rand.NewPCG(3, 4))
		for n := 0; ctx.Err() == nil; n += batch {
			time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(perSecond))))
			pipe := client.Redis().Pipeline()
			for range batch {
				i := rng.IntN(10)
				switch rng.IntN(5) {
				case 0, 1:
					pipe.Do(ctx, "INCR", fmt.Sprint("counter:", i))
				case 2:
					pipe.Do(ctx, "SET", fmt.Sprint("toggle:", i), "v")
				case 3:
					pipe.Do(ctx, "DEL", fmt.Sprint("toggle:", i))
				default:
					pipe.Do(ctx, "SET", fmt.Sprint("short:", i), n, "PX", 1+rng.IntN(50))
				}
			}
			_, _ = pipe.Exec(ctx) // the end of ctx
			written.Add(batch)
		}
	})
	return written
}

// A key that changes at every look, on a side that the other knows nothing of, is
// unstable: nobody can say what it is compared with.
func TestUnstableKeys(t *testing.T) {
	t.Parallel()
	a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	do(t, from, "SET", "planted", 1)
	do(t, to, "SET", "planted", 2)
	do(t, from, "SET", "same", 1)
	do(t, to, "SET", "same", 1)
	for i := range 10 {
		do(t, to, "SET", fmt.Sprint("counter:", i), -1)
	}
	startHot(t, a, 2_000)
	// A key that comes to the source behind a SCAN is none that this one has to find.
	for i := range 10 {
		for do(t, from, "EXISTS", fmt.Sprint("counter:", i)) != int64(1) {
			time.Sleep(time.Millisecond)
		}
	}
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprint("unstable 0 counter:", i))
	}
	cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Options: verify.Options{Method: verify.Scan, Dir: t.TempDir()}}
	report := compare(t, cfg)
	// Of what comes and goes some may be seen as gone, as it is on the target.
	got := journal(t, cfg.Options.Dir)
	for _, d := range append(want, "value 0 planted") {
		if !slices.Contains(got, d) {
			t.Errorf("%q is not named: %v", d, got)
		}
	}
	if report.Counts[verify.Changed] != 1 || report.Counts[verify.Missing]+report.Counts[verify.Extra] != 0 {
		t.Errorf("found %v", got)
	}
}
