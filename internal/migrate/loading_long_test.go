//go:build fault

package migrate_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/audit"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"log/slog"
)

// killedWithinTimes has a run be killed while it puts the times of the last of some dbs right.
func killedWithinTimes(t *testing.T, path string, target *sandbox.Server, dbs ...int) migrate.Config {
	t.Helper()
	client := connect(t, target)
	for range 20 { // this process may be too slow to see it in between
		c := config(t, server.Endpoint{}, target.Endpoint())
		c.File, c.Replace = path, true
		p := startChild(t, c, "")
		partlyRight(t, client, dbs...)
		p.kill()
		if shares := rightTimes(t, client, dbs...); slices.Min(shares) < 1 {
			t.Logf("killed when these shares of the dbs %v were right: %.2f", dbs, shares)
			return c
		}
	}
	t.Fatal("it was always too late")
	return migrate.Config{}
}

// partlyRight waits until times of all dbs are right, be it not all of them.
func partlyRight(t *testing.T, c *server.Client, dbs ...int) {
	t.Helper()
	eventually(t, "times are put right", func() bool { return slices.Min(rightTimes(t, c, dbs...)) > 0 })
}

// rightTimes are the shares of each db's keys that expire within a day.
func rightTimes(t *testing.T, c *server.Client, dbs ...int) (shares []float64) {
	t.Helper()
	const sampled = 50
	for _, db := range dbs {
		pipe := c.Redis().TxPipeline()
		pipe.Do(t.Context(), "SELECT", db)
		var replies []*redis.Cmd
		for n := range sampled {
			replies = append(replies, pipe.Do(t.Context(), "PEXPIRETIME", fmt.Sprint("k:", 10*n+1)))
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		right := 0
		for _, r := range replies {
			if at, err := r.Int64(); err != nil {
				t.Fatal(err)
			} else if at > 0 && at < time.Now().Add(24*time.Hour).UnixMilli() {
				right++
			}
		}
		shares = append(shares, float64(right)/sampled)
	}
	return shares
}

// Killed while it puts the times of keys right, of the second db say, a loading is brought to
// its end by the next run, and by an abort: every time is what the file says, no more and no
// less, and of what has expired by then nothing is left.
func TestKilledWhileTimesArePutRight(t *testing.T) {
	t.Parallel()
	written, path := mortals(t, "redis-7.0", 20_000, 0, 3)
	for _, aborted := range []bool{false, true} {
		t.Run(map[bool]string{false: "and run again", true: "and aborted"}[aborted], func(t *testing.T) {
			target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
			c := killedWithinTimes(t, path, target, 0, 3)
			if aborted {
				m, err := migrate.Begin(t.Context(), c, slog.New(slog.DiscardHandler))
				if err != nil {
					t.Fatal(err)
				}
				if _, err := m.Abort(t.Context(), false); err != nil {
					t.Fatal(err)
				}
				if err := m.Close(); err != nil {
					t.Fatal(err)
				}
			} else {
				m := start(t, c)
				if err := <-m.done; err != nil {
					t.Fatal(err)
				}
				m.done <- nil
			}
			if !written.Running() {
				restart(t, written)
			}
			var r audit.Report
			eventually(t, "what expires has gone at both", func() bool {
				var err error
				if r, err = audit.Compare(t.Context(), written.Endpoint(), target.Endpoint(), audit.Options{}); err != nil {
					t.Fatal(err)
				}
				return r.Equal()
			})
			if r.Keys < 20_000 {
				t.Errorf("%+v", r)
			}
		})
	}
}
