package migrate_test

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/audit"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

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

// An abort that fails leaves a loading that goes on.
func TestLoadingAfterAnAbortThatFailed(t *testing.T) {
	t.Parallel()
	written, path := mortals(t, "redis-7.0", 2000, 0, 3)
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--maxmemory 1mb"}})
	c := config(t, server.Endpoint{}, target.Endpoint())
	c.File = path
	m := start(t, c)
	m.until("refused", func(s migrate.Status) bool { return len(s.Links) == 1 && strings.Contains(s.Links[0].Reason, "OOM") })
	client := connect(t, target)
	do(t, client, "ACL SETUSER default -scan")
	if end, err := m.Abort(t.Context(), false); !server.IsCode(err, "NOPERM") {
		t.Fatalf("an abort without the right to scan: %+v, %v", end, err)
	}
	do(t, client, "ACL SETUSER default +scan")
	setConfig(t, target, "maxmemory", "0")
	if err := <-m.done; err != nil {
		t.Fatal(err)
	}
	m.done <- nil
	restart(t, written)
	eventually(t, "both are equal", func() bool {
		r, err := audit.Compare(t.Context(), written.Endpoint(), target.Endpoint(), audit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Equal() && r.Keys > 2000
	})
}

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

// mortals is a server, killed, with a file of so many keys in each of some dbs, all with a
// TTL, and a few commands, and the path of that file. Of every ten keys one expires within
// moments.
func mortals(t *testing.T, version string, keys int, dbs ...int) (s *sandbox.Server, path string) {
	t.Helper()
	s = sandboxtest.Start(t, version, sandbox.Options{Args: []string{"--appendonly yes", "--auto-aof-rewrite-percentage 0", "--appendfsync no"}})
	fill := func(from, to int) {
		t.Helper()
		for _, db := range dbs {
			pipe := connect(t, s).Redis().Pipeline()
			pipe.Do(t.Context(), "SELECT", db)
			for i := from; i < to; i++ {
				at := time.Now().Add(time.Hour + time.Duration(i)*time.Second).UnixMilli()
				if i%10 == 0 {
					at = time.Now().Add(2 * time.Second).UnixMilli()
				}
				pipe.Do(t.Context(), "SET", fmt.Sprint("k:", i), i, "PXAT", at)
			}
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(0, keys-100)
	if _, err := connect(t, s).Do(t.Context(), "BGREWRITEAOF"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file is rewritten", func() bool {
		i := info(t, connect(t, s), "persistence")
		return i["aof_rewrite_in_progress"] == "0" && i["aof_rewrite_scheduled"] == "0"
	})
	fill(keys-100, keys)
	kill(t, s)
	path = filepath.Join(t.TempDir(), "appendonlydir")
	if err := os.CopyFS(path, os.DirFS(filepath.Join(s.Dir(), "appendonlydir"))); err != nil {
		t.Fatal(err)
	}
	return s, path
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
