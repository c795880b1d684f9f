package verify_test

import (
	"sync"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// What becomes of a side between the two looks is not passed over, though the
// second one is taken for one key.
func TestDataLostBetweenLooks(t *testing.T) {
	const keys = 9000 // at MaxRate they take long enough for a Progress to be told within the first look
	for _, tt := range []struct {
		name string
		lose func(*testing.T, *sandbox.Server, *server.Client)
	}{
		{"a restart without data", func(t *testing.T, s *sandbox.Server, _ *server.Client) {
			if err := s.Kill(); err != nil {
				t.Error(err)
			}
			if err := s.Restart(t.Context()); err != nil {
				t.Error(err)
			}
		}},
		{"FLUSHALL", func(t *testing.T, _ *sandbox.Server, c *server.Client) { do(t, c, "FLUSHALL") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
			from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
			want := plantKeys(t, from, verify.Missing, keys)
			plantKeys(t, to, verify.Missing, keys)
			plantKeys(t, to, verify.Extra, 1)
			cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Options: verify.Options{MaxRate: 50 << 10, Dir: t.TempDir()}}
			var first, second sync.Once
			cfg.Progress = func(p verify.Progress) {
				switch {
				case p.Stage == verify.StageSnapshot && p.Source.Keys > 0:
					// A BGSAVE that waits for the first look's keeps off the second look.
					first.Do(func() {
						do(t, from, "CONFIG", "SET", "rdb-key-save-delay", 400)
						for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
							if _, err := from.Do(t.Context(), "BGSAVE", "SCHEDULE"); err == nil {
								break // the first look's child has ended
							} else if time.Now().After(deadline) {
								t.Error(err)
								break
							}
						}
					})
				case p.Stage == verify.StageSecondLook:
					second.Do(func() {
						tt.lose(t, b, to)
						do(t, from, "CONFIG", "SET", "rdb-key-save-delay", 0)
					})
				}
			}
			report := compare(t, cfg)
			first.Do(func() { t.Fatal("nothing was told of the first look") })
			second.Do(func() { t.Fatal("nothing was told of the second look") })
			mustFind(t, report, cfg.Options.Dir, want...)
		})
	}
}
