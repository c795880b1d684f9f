package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/relay"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

func TestCopyAndFollow(t *testing.T) {
	for _, tt := range []struct {
		source, target string
		diskless       bool
		load           string // the target's repl-diskless-load
	}{
		{"redis-6.0", "redis-6.0", false, "disabled"},
		{"redis-7.0", "redis-7.0", true, "swapdb"},
		{"redis-7.0", "redis-8.0", false, "swapdb"},
		{"valkey-8.1", "valkey-9.1", true, "disabled"},
	} {
		t.Run(fmt.Sprintf("%s to %s, diskless %v, %s", tt.source, tt.target, tt.diskless, tt.load), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{
				source: tt.source, target: tt.target, targetArgs: []string{"--repl-diskless-load " + tt.load},
				sourceArgs: []string{"--repl-diskless-sync " + map[bool]string{true: "yes", false: "no"}[tt.diskless]},
			})
			data := dataset.Options{Keys: 2000, DBs: []int{0, 3, 15}, Seed: 1}
			if err := dataset.Fill(t.Context(), r.source.Endpoint(), data); err != nil {
				t.Fatal(err)
			}
			stop := r.load()
			r.attach()
			r.until("streaming", func() bool { return r.link.State() == relay.Streaming })
			data.Seed, data.Prefix = 2, "stream:" // now as commands
			if err := dataset.Fill(t.Context(), r.source.Endpoint(), data); err != nil {
				t.Fatal(err)
			}
			acked := stop()
			r.caughtUp()
			r.counted(acked)
			r.equal()
			r.syncs(1, 0)
			s := r.link.Snapshot()
			if s.FullResyncs != 1 || s.CopyBytes == 0 || !tt.diskless && s.CopyTotal != s.CopyBytes || tt.diskless && s.CopyTotal != 0 {
				t.Errorf("%+v", s)
			}
			if lag := r.link.Snapshot().Lag; lag > 2*time.Second {
				t.Errorf("%v behind", lag)
			}
		})
	}
}

// WAIT on the source counts the target when it has applied the write, and not before.
func TestWaitTellsTheTruth(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.follow()
	for i := range 3 {
		key := fmt.Sprint("key", i)
		r.do(r.from, "SET", key, i)
		if n := r.do(r.from, "WAIT", 1, 3000); n != int64(1) {
			t.Fatalf("WAIT %v", n)
		}
		if got := r.do(r.to, "GET", key); got != fmt.Sprint(i) {
			t.Errorf("WAIT returned, and %s is %v", key, got)
		}
	}
	if err := r.target.Pause(); err != nil {
		t.Fatal(err)
	}
	r.do(r.from, "SET", "late", "1")
	if n := r.do(r.from, "WAIT", 1, 1300); n != int64(0) { // the link has the write, and ACKs meanwhile
		t.Errorf("WAIT %v while the target is stopped", n)
	}
	if err := r.target.Resume(); err != nil {
		t.Fatal(err)
	}
	if n := r.do(r.from, "WAIT", 1, 3000); n != int64(1) {
		t.Errorf("WAIT %v", n)
	}
	// Polled, the source hears of it at once, not once a second.
	const times = 20
	r.poll()
	start := time.Now()
	for range times {
		r.do(r.from, "INCR", "n")
		r.do(r.from, "WAIT", 1, 3000)
	}
	if d := time.Since(start) / times; d > 200*time.Millisecond {
		t.Errorf("WAIT takes %v", d)
	}
}

func TestFullResyncMustBeAllowed(t *testing.T) {
	t.Parallel()
	refused := errors.New("the source came back empty")
	r := newRig(t, options{config: func(c *relay.Config) {
		c.AllowFull = func(context.Context) error { return refused }
	}})
	r.do(r.to, "SET", "kept", "1")
	r.attach()
	err := <-r.ended
	var fatal *relay.FatalError
	if !errors.Is(err, refused) || !errors.As(err, &fatal) {
		t.Errorf("ended with %v", err)
	}
	if got := r.do(r.to, "GET", "kept"); got != "1" {
		t.Errorf("the target has lost its key: %v", got)
	}
	if err := r.link.Serve(t.Context(), nil); !errors.Is(err, relay.ErrLinkEnded) {
		t.Errorf("Serve after the end: %v", err)
	}
	if n := r.info(r.from, "replication").Int("connected_slaves"); n > 1 {
		t.Errorf("%d replicas at the source", n)
	}
}

// A source that is not there yet, and one that turns the link away.
func TestSourceRefuses(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{sourceArgs: []string{"--masterauth x"}, config: func(c *relay.Config) { c.Source.Password = "wrong" }})
	r.do(r.from, "CONFIG", "SET", "requirepass", "right")
	r.attach()
	r.until("broken", func() bool { return r.link.State() == relay.Broken })
	if reason := r.link.Snapshot().Reason; !strings.Contains(reason, "WRONGPASS") {
		t.Errorf("the reason is %q", reason)
	}
}

// Two servers at once: the one that came last is the target, and nobody is left
// with another's data when the other goes.
func TestTwoTargets(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	if err := dataset.Fill(t.Context(), r.source.Endpoint(), dataset.Options{Keys: 500, Seed: 1}); err != nil {
		t.Fatal(err)
	}
	second := sandboxtest.Client(t, sandboxtest.Start(t, "redis-7.0", sandbox.Options{}))
	stop := r.load()
	r.attach()
	r.replicate(second)
	time.Sleep(2 * time.Second) // each takes the other's place
	r.do(second, "REPLICAOF", "NO", "ONE")
	acked := stop()
	r.caughtUp()
	r.counted(acked)
	r.equal()
}
