package migrate_test

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/verify"
)

// busy writes all that makes a comparison hard to the primary, until stop is called:
// besides the load with its counters, keys that are deleted, that expire within
// moments, whose TTLs change, and a db that is flushed.
func (p *pair) busy(primary *sandbox.Server) (stop func()) {
	p.t.Helper()
	c := connect(p.t, primary)
	ctx, cancel := context.WithCancel(p.t.Context())
	var group sync.WaitGroup
	group.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			pipe := c.Redis().Pipeline()
			for i := range 50 {
				k := fmt.Sprintf("busy:%d", (n*50+i)%5000)
				switch i % 7 {
				case 0:
					pipe.Del(ctx, k)
				case 1:
					pipe.Set(ctx, k, n, time.Duration(1+i)*time.Millisecond)
				case 2:
					pipe.PExpire(ctx, k, time.Duration(20+i)*time.Millisecond)
				case 3:
					pipe.Set(ctx, k, n, time.Hour)
				case 4:
					pipe.Persist(ctx, k)
				default:
					pipe.Append(ctx, k, "x")
				}
			}
			if n%100 == 0 {
				pipe.Do(ctx, "SELECT", 9)
				for i := range 200 {
					pipe.RPush(ctx, fmt.Sprintf("flushed:%d", i), n)
				}
				if n%200 == 0 {
					pipe.FlushDB(ctx)
				}
				pipe.Do(ctx, "SELECT", 0)
			}
			_, _ = pipe.Exec(ctx) // some fail: what is appended to is a list at times
			time.Sleep(5 * time.Millisecond)
		}
	})
	stop = func() { cancel(); group.Wait() }
	p.t.Cleanup(stop)
	return stop
}

// loadFast is 20,000 audited writes a second.
func (p *pair) loadFast() *load.Load {
	c := writing(p.source, p.target)
	c.Writers, c.Rate = 16, 20_000
	if p.ttlTolerance < time.Minute {
		c.TTL = time.Hour
	}
	return startLoad(p.t, c)
}

// verified compares, and wants to hear that both are equal.
func (r *running) verified(o migrate.VerifyOptions) *verify.Report {
	r.t.Helper()
	report := r.compared(o)
	if report.Result != verify.Equal || report.SourceRead.Keys == 0 {
		r.t.Fatalf("%+v", report)
	}
	return report
}

func (r *running) compared(o migrate.VerifyOptions) *verify.Report {
	r.t.Helper()
	report, err := r.Verify(r.t.Context(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Logf("%s by %s: %d keys and %d keys in %v, held for %v, at %d; %v, settled %d, repaired %v %s", report.Result, report.Method,
		report.SourceRead.Keys, report.TargetRead.Keys, report.Took.Round(time.Millisecond), report.Held, report.Offset, report.Counts, report.Settled, report.Repaired, report.Error)
	return report
}

// verifyRuns is how often each comparison is repeated.
func verifyRuns() int {
	if long {
		return 15
	}
	return 3
}

// verifyPairs are versions with themselves, newer ones, and older ones that count
// their stream otherwise.
func verifyPairs() [][2]string {
	list := [][2]string{{"redis-7.0", "valkey-8.1"}, {"redis-8.0", "redis-7.0"}}
	if long {
		list = append(list, [2]string{"redis-6.0", "redis-6.0"}, [2]string{"redis-6.0", "redis-7.0"}, [2]string{"redis-8.0", "redis-8.6"}, [2]string{"valkey-9.1", "valkey-9.1"}, [2]string{"redis-7.0", "redis-6.0"})
	}
	return list
}

// However busy the primary is, and in whichever direction, what was migrated is found equal.
func TestVerifyUnderLoad(t *testing.T) {
	for _, versions := range verifyPairs() {
		t.Run(versions[0]+" to "+versions[1], func(t *testing.T) {
			p := newPair(t, versions[0], versions[1])
			l := p.loadFast()
			m := start(t, p.config())
			m.ready()
			stop := p.busy(p.source)
			for range verifyRuns() {
				report := m.verified(migrate.VerifyOptions{})
				if report.Method != verify.Snapshot || report.Offset == 0 {
					t.Errorf("%+v", report)
				}
				if s := m.Status().Verify; s.State != migrate.VerifyEqual || !s.Verified || s.SourceKeys != report.SourceRead.Keys || s.Offset != report.Offset {
					t.Errorf("%+v", s)
				}
			}
			stop()
			m.ready()
			m.cutover()
			m.ready()
			if s := m.Status().Verify; s.Verified || s.Stale == "" {
				t.Errorf("after the cutover: %+v", s)
			}
			stop = p.busy(p.target)
			for range verifyRuns() {
				m.verified(migrate.VerifyOptions{})
			}
			stop()
			p.settled(l, p.target)
			restored(t, p.source, "0")
			restored(t, p.target, "0")
		})
	}
}

// A source that evicts keys tells its replica to delete them: nothing is missing.
func TestVerifyWithEvictions(t *testing.T) {
	p := newUnequalPair(t, "redis-7.0", []string{"--maxmemory 16mb", "--maxmemory-policy allkeys-random", "--repl-backlog-size 1mb"}, "redis-7.0", nil)
	m := start(t, p.config())
	m.ready()
	p.busy(p.source)
	c := connect(t, p.source)
	filling, cancel := context.WithCancel(t.Context())
	var filler sync.WaitGroup
	filler.Go(func() {
		for n := 0; filling.Err() == nil; n++ {
			pipe := c.Redis().Pipeline()
			for i := range 20 {
				pipe.Set(filling, fmt.Sprintf("evicted:%d", n*20+i), strings.Repeat("x", 500), 0)
			}
			_, _ = pipe.Exec(filling) // it ends with the test
			time.Sleep(time.Millisecond)
		}
	})
	defer filler.Wait()
	defer cancel()
	eventually(t, "keys are evicted", func() bool { return info(t, c, "stats").Int("evicted_keys") > 1000 })
	for range 2 * verifyRuns() {
		m.verified(migrate.VerifyOptions{})
	}
}

// A target whose child is killed by the kernel, which is out of memory, while that
// writes the snapshot: it is asked again, and the migration takes no notice.
func TestVerifyTargetOutOfMemoryInTheFork(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	l := p.load()
	m := start(t, p.config())
	m.ready()
	for _, always := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		var killer sync.WaitGroup
		if err := connect(t, p.target).ConfigSet(t.Context(), "rdb-key-save-delay", "500"); err != nil { // µs
			t.Fatal(err)
		}
		killer.Go(func() {
			for n := 0; ctx.Err() == nil && (always || n == 0); time.Sleep(5 * time.Millisecond) {
				n += killChildren(t, p.target)
			}
		})
		report := m.compared(migrate.VerifyOptions{})
		cancel()
		killer.Wait()
		if err := connect(t, p.target).ConfigSet(t.Context(), "rdb-key-save-delay", "0"); err != nil {
			t.Fatal(err)
		}
		switch {
		case !always && report.Result != verify.Equal:
			t.Errorf("%+v", report)
		case always && (report.Result != verify.Unknown || report.Error == "" || report.Hint == ""):
			t.Errorf("%+v", report)
		}
		t.Logf("%s: %s", report.Error, report.Hint)
		if s := m.ready(); s.Copy.FullResyncs != 1 {
			t.Errorf("%d full resyncs", s.Copy.FullResyncs)
		}
	}
	m.cutover()
	m.ready()
	p.settled(l, p.target)
}

// killChildren kills what a server has forked, and says how many that were.
func killChildren(t *testing.T, s *sandbox.Server) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", s.PID()))
	if err != nil {
		t.Error(err)
	}
	n := 0
	for _, field := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil && syscall.Kill(pid, syscall.SIGKILL) == nil {
			n++
		}
	}
	return n
}
