package verify_test

import (
	"context"
	"fmt"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/verify"
)

// startConsumers has groups of streams read and acknowledge, over and over: of that,
// WATCH tells nothing.
func startConsumers(t *testing.T, s *sandbox.Server, streams int) {
	t.Helper()
	client := sandboxtest.Client(t, s)
	for i := range streams {
		key := fmt.Sprint("consumed:", i)
		for n := range 50 {
			do(t, client, "XADD", key, fmt.Sprintf("%d-1", n+1), "field", n)
		}
		do(t, client, "XGROUP", "CREATE", key, "group", "0")
	}
	background(t, func(ctx context.Context) {
		for ctx.Err() == nil {
			pipe := client.Redis().Pipeline()
			for i := range streams {
				key := fmt.Sprint("consumed:", i)
				pipe.Do(ctx, "XGROUP", "SETID", key, "group", "0")
				pipe.Do(ctx, "XREADGROUP", "GROUP", "group", "consumer", "COUNT", 5, "STREAMS", key, ">")
				pipe.Do(ctx, "XACK", key, "group", "1-1", "2-1", "3-1", "4-1")
			}
			_, _ = pipe.Exec(ctx) // the end of ctx
		}
	})
}

// A stream whose groups are read is not taken for one that nobody changes.
func TestScanOfConsumedStreams(t *testing.T) {
	for _, tt := range some(1, []struct {
		name    string
		prepare func(*testing.T, *pair) verify.Config
	}{
		{"replica", replicates}, {"replica under another name", replicatesUnseen}, {"fed", isFed},
	}) {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, options{source: "redis-7.0", target: "redis-7.0"})
			startConsumers(t, p.source, 300)
			cfg := tt.prepare(t, p)
			cfg.Options.Method = verify.Scan
			for range 3 {
				cfg.Options.Dir = t.TempDir()
				report := compare(t, cfg)
				if n := report.Counts[verify.Changed]; n > 0 {
					t.Errorf("%d of the streams seem to differ: %v", n, report.Counts)
				}
				t.Logf("%v, %d settled, %v", report.Took, report.Settled, report.Counts)
			}
		})
	}
}
