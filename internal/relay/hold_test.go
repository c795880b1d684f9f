package relay_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"godwit/internal/hold"
	"godwit/internal/load"
	"godwit/internal/relay"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

const trailDelay = 20 * time.Millisecond

// pollFast asks the target for its offset as fast as it answers.
func (r *rig) pollFast() {
	client := sandboxtest.Client(r.t, r.target)
	run(r.t, func(ctx context.Context) {
		for ctx.Err() == nil {
			info, err := client.Info(ctx, "replication")
			if err != nil {
				time.Sleep(50 * time.Millisecond) // it is away
				continue
			}
			if info["master_link_status"] == "up" {
				r.present().Acknowledge(info.Int("slave_repl_offset"))
			}
			time.Sleep(300 * time.Microsecond)
		}
	})
}

// trail begins a hold.
func (r *rig) trail() *relay.Hold {
	r.t.Helper()
	return r.trailBy(trailDelay)
}

// trailBy has the target get what the source says so much later.
func (r *rig) trailBy(delay time.Duration) *relay.Hold {
	r.t.Helper()
	h, err := r.link.Trail(r.t.Context(), delay)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(h.Release)
	return h
}

// stopAt stops the target at an offset.
func (r *rig) stopAt(h *relay.Hold, offset int64) (replid string, target int64) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), patience)
	defer cancel()
	replid, target, err := h.Stop(ctx, offset)
	if err != nil {
		r.t.Fatal(err)
	}
	return replid, target
}

// sourceOffset is where the source stands: always at the end of a command.
func (r *rig) sourceOffset() int64 {
	r.t.Helper()
	return r.info(r.from, "replication").Int("master_repl_offset")
}

// writeFast is 20,000 audited writes a second.
func (r *rig) writeFast() *load.Load {
	r.t.Helper()
	l, err := load.Start(r.t.Context(), load.Config{Endpoints: []server.Endpoint{r.source.Endpoint()}, Writers: 16, Rate: 20_000, TTL: time.Hour})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(l.Stop)
	return l
}

// Stopped again and again at a source's present offset, the target stands at
// exactly that one each time, while the source goes on.
func TestHoldStopsAtAnOffset(t *testing.T) {
	tests := []struct {
		name   string
		config func(*relay.Config)
	}{
		{"as it is", nil},
		{"a longer stream", splitting},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, options{config: tt.config})
			r.follow()
			r.pollFast()
			l := r.writeFast()
			stop := func() int64 { return 0 }
			if tt.config != nil {
				stop = r.writeAll()
			}
			const holds = 300
			var longest time.Duration
			delay := trailDelay
			for i := 0; i < holds; i++ {
				h := r.trailBy(delay)
				time.Sleep(time.Duration(i%30) * time.Millisecond)
				offset := r.sourceOffset()
				time.Sleep(time.Duration(i%10) * time.Millisecond) // before it is known here
				replid, target, err := h.Stop(t.Context(), offset)
				var passed *hold.PassedError
				if errors.As(err, &passed) && passed.Passed > offset && delay < 32*trailDelay {
					// This process has slept too long. A comparison has the next one come later, too.
					h.Release()
					delay *= 2
					i--
					continue
				}
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					to := r.info(r.to, "replication")
					if to.Int("slave_repl_offset") != target || to["master_replid"] != replid || r.link.TargetOffset(offset) != target {
						t.Fatalf("stopped at %d: the target stands at %s of %s, it was said to at %d of %s", offset, to["slave_repl_offset"], to["master_replid"], target, replid)
					}
				}
				if s := r.link.Snapshot(); !s.Held || s.AckedOffset != offset {
					t.Fatalf("held at %d: %+v", offset, s)
				}
				h.Release()
				h.Release()
				longest = max(longest, h.Held())
			}
			if r.link.Snapshot().Held || longest == 0 || longest > 500*time.Millisecond {
				t.Errorf("the longest hold lasted %v", longest)
			}
			l.Stop()
			acked := stop()
			r.caughtUp()
			report, err := l.Audit(t.Context(), r.target.Endpoint())
			if err != nil || !report.Clean() {
				t.Errorf("%v: %v", report, err)
			}
			t.Logf("%d holds, the longest of %v; %v", holds, longest, report)
			if tt.config != nil {
				r.counted(acked)
				r.longer()
			}
			r.equal()
			r.syncs(1, 0)
		})
	}
}

// An offset that is still to come is waited for, and each byte before it passes.
func TestHoldStopsAtAnOffsetToCome(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.follow()
	r.pollFast()
	h := r.trail()
	r.do(r.from, "SET", "a", "1")
	offset := r.sourceOffset()
	const set = int64(len("*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\n1\r\n"))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	go func() {
		time.Sleep(50 * time.Millisecond)
		_, _ = r.from.Do(context.WithoutCancel(ctx), "SET", "b", "1")
		_, _ = r.from.Do(context.WithoutCancel(ctx), "SET", "c", "1")
	}()
	_, target := r.stopAt(h, offset+set) // a PING in between would make this one end within a SET
	if got := r.do(r.to, "EXISTS", "a", "b", "c"); got != int64(2) && r.info(r.to, "replication").Int("slave_repl_offset") != target {
		t.Errorf("%v of a, b and c are there", got)
	}
	h.Release()
	r.until("released", func() bool { return r.do(r.to, "EXISTS", "a", "b", "c") == int64(3) })
}

// A target that has everything is stopped at once, and misses nothing.
func TestHoldOfAnIdleStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{sourceArgs: []string{"--repl-ping-replica-period 3600"}})
	r.follow()
	r.acked()
	h := r.trail()
	if _, err := r.link.Trail(t.Context(), trailDelay); !errors.Is(err, hold.ErrHeld) {
		t.Errorf("a second hold: %v", err)
	}
	r.stopAt(h, r.sourceOffset())
	if _, _, err := h.Stop(t.Context(), r.sourceOffset()); err == nil {
		t.Error("stopped a second time")
	}
	time.Sleep(20 * time.Millisecond)
	if held := h.Held(); held != 0 {
		t.Errorf("it missed bytes for %v", held)
	}
	r.do(r.from, "SET", "a", "1")
	time.Sleep(50 * time.Millisecond)
	if got := r.do(r.to, "EXISTS", "a"); got != int64(0) {
		t.Error("a was passed on")
	}
	h.Release()
	r.caughtUp()
	if held := h.Held(); held < 30*time.Millisecond || held > 5*time.Second {
		t.Errorf("it missed bytes for %v", held)
	}
	r.trail().Release()
}

// While it trails, the target gets everything, late.
func TestTrail(t *testing.T) {
	t.Parallel()
	const delay = 300 * time.Millisecond
	r := newRig(t, options{})
	r.follow()
	h, err := r.link.Trail(t.Context(), delay)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b", "c"} {
		began := time.Now()
		r.do(r.from, "SET", key, "1")
		r.until("passed on", func() bool { return r.do(r.to, "EXISTS", key) == int64(1) })
		if took := time.Since(began); took < delay-2*time.Millisecond || took > delay+5*time.Second {
			t.Errorf("%s took %v", key, took)
		}
	}
	h.Release()
}

// What was sent already cannot be taken back.
func TestHoldPassed(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]func(*relay.Config){"as it is": nil, "a longer stream": splitting} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{config: config})
			r.follow()
			r.pollFast()
			before := r.sourceOffset()
			r.do(r.from, "SET", "a", "1", "EX", "1000")
			r.caughtUp()
			h := r.trail()
			_, _, err := h.Stop(t.Context(), before)
			var passed *hold.PassedError
			if !errors.As(err, &passed) || passed.Offset != before || passed.Passed <= before {
				t.Errorf("%v after %d", err, before)
			}
			h.Release()
			r.do(r.from, "SET", "b", "1")
			r.caughtUp()
		})
	}
}

// Nothing that ends a connection leaves a target held.
func TestHoldEndsWithItsConnections(t *testing.T) {
	tests := []struct {
		name string
		end  func(r *rig)
		says string
	}{
		{"target's connection", func(r *rig) { r.targetProxy.CloseAll() }, "target's connection"},
		{"source's connection", func(r *rig) { r.sourceProxy.CloseAll() }, "source's connection"},
		{"target killed", func(r *rig) {
			if err := errors.Join(r.target.Kill(), r.target.Restart(r.t.Context())); err != nil {
				r.t.Fatal(err)
			}
			r.until("back", func() bool { _, err := r.to.Do(r.t.Context(), "PING"); return err == nil })
			r.attach()
		}, "target's connection"},
		{"target asks again", func(r *rig) { r.do(r.to, "REPLICAOF", "NO", "ONE"); r.attach() }, "target's connection"},
		{"link restarted", func(r *rig) {
			r.restart(func(*relay.Config) {})
			r.attach()
		}, "connection"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			proxies := !strings.HasPrefix(tt.name, "link")
			r := newRig(t, options{proxies: proxies})
			r.follow()
			r.pollFast()
			stop := r.load()
			h, later := r.trail(), make(chan error, 1)
			r.stopAt(h, r.sourceOffset())
			r.until("held back", func() bool { return h.Held() > 0 })
			tt.end(r)
			select {
			case <-h.Ended():
			case <-time.After(patience):
				t.Fatal("it was not ended")
			}
			_, _, err := h.Stop(t.Context(), r.sourceOffset())
			var broken *hold.BrokenError
			if !errors.As(err, &broken) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("stopped: %v", err)
			}
			h.Release()
			acked := stop()
			r.caughtUp()
			r.counted(acked)
			r.equal()

			// One that is being waited for ends likewise.
			h = r.trail()
			go func() {
				_, _, err := h.Stop(t.Context(), r.sourceOffset()+1<<40)
				later <- err
			}()
			time.Sleep(20 * time.Millisecond)
			tt.end(r)
			if err := <-later; !errors.As(err, &broken) {
				t.Errorf("waited for: %v", err)
			}
			r.caughtUp()
		})
	}
}

// There is nothing to hold where nothing streams, and no one waits for ever.
func TestNoHoldWithoutAStream(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	if _, err := r.link.Trail(t.Context(), trailDelay); err == nil || !strings.Contains(err.Error(), "waiting") {
		t.Errorf("%v", err)
	}
	r.follow()
	h := r.trail()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, _, err := h.Stop(ctx, r.sourceOffset()+1<<40); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	r.stop()
	if _, err := r.link.Trail(t.Context(), trailDelay); !errors.Is(err, relay.ErrLinkEnded) {
		t.Errorf("%v", err)
	}
	select {
	case <-h.Ended():
	default:
		t.Error("it outlives its link")
	}
}

// The source never waits for a target that is held: what comes goes to the spool,
// and once that is full the target is fed again.
func TestHoldEndsWithAFullSpool(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{config: func(c *relay.Config) { c.Spool.MemoryLimit, c.Spool.DiskLimit = 1<<20, 4<<20 }})
	r.follow()
	r.pollFast()
	h := r.trail()
	r.stopAt(h, r.sourceOffset())
	r.write("first", 200, 10_000) // 2 MB of 5
	time.Sleep(100 * time.Millisecond)
	select {
	case <-h.Ended():
		t.Fatal("it ended with a spool that is not full")
	default:
	}
	r.write("second", 600, 10_000)
	select {
	case <-h.Ended():
	case <-time.After(patience):
		t.Fatalf("it goes on: %+v", r.link.Snapshot())
	}
	if _, _, err := h.Stop(t.Context(), 0); err == nil || !strings.Contains(err.Error(), "spool is full") {
		t.Errorf("%v", err)
	}
	r.caughtUp()
	r.equal()
	r.syncs(1, 0)
}
