package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/internal/hold"
	"godwit/internal/refresh"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

const trailDelay = 20 * time.Millisecond

// holding is an engine that carries, to be held back.
type holding struct {
	*testing.T
	source *sandbox.Server
	target *sandbox.Cluster
	engine *Engine
	stop   func()
	from   *server.Client
	reader *refresh.Conn // of the source
	shards []*refresh.Conn
}

func newHolding(t *testing.T, change func(*Config)) *holding {
	t.Helper()
	h := &holding{
		T: t, source: sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--repl-backlog-size 64mb", "--repl-ping-replica-period 3600"}}),
		target: sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{}),
	}
	c := configure(t, h.source, h.target)
	if change != nil {
		change(&c)
	}
	h.engine = New(c)
	h.stop = run(t, h.engine)
	h.from = sandboxtest.Client(t, h.source)
	dial := func(e server.Endpoint) *refresh.Conn {
		c, err := refresh.Dial(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		return c
	}
	h.reader = dial(h.source.Endpoint())
	for i := range h.target.Shards() {
		n, err := h.target.Primary(t.Context(), i)
		if err != nil {
			t.Fatal(err)
		}
		h.shards = append(h.shards, dial(n.Endpoint()))
	}
	caughtUp(t, h.engine, h.source)
	return h
}

func (h *holding) do(args ...any) any {
	h.Helper()
	reply, err := h.from.Do(h.Context(), args...)
	if err != nil {
		h.Fatal(err)
	}
	return reply
}

func (h *holding) trail(delay time.Duration) *Hold {
	h.Helper()
	held, err := h.engine.Trail(0, delay)
	if err != nil {
		h.Fatal(err)
	}
	h.Cleanup(held.Release)
	return held
}

// read reads keys at one offset of the source.
func (h *holding) read(keys ...string) ([]refresh.Value, int64) {
	h.Helper()
	var names [][]byte
	for _, k := range keys {
		names = append(names, []byte(k))
	}
	values, at, err := h.reader.Read(h.Context(), 0, names)
	if err != nil {
		h.Fatal(err)
	}
	return values, at.Offset
}

func (h *holding) stopAt(held *Hold, offset int64) hold.Stand {
	h.Helper()
	ctx, cancel := context.WithTimeout(h.Context(), 30*time.Second)
	defer cancel()
	stand, err := held.Stop(ctx, offset)
	if err != nil {
		h.Fatal(err)
	}
	return stand
}

// has is what the target has of a key.
func (h *holding) has(key []byte) refresh.Value {
	h.Helper()
	for _, c := range h.shards {
		values, err := c.Look(h.Context(), 0, [][]byte{key})
		var refused *server.Error
		if errors.As(err, &refused) && strings.HasPrefix(refused.Code, "MOVED") {
			continue
		}
		if err != nil {
			h.Fatal(err)
		}
		return values[0]
	}
	h.Fatalf("no shard serves %q", key)
	return refresh.Value{}
}

func (h *holding) equal() {
	h.Helper()
	caughtUp(h.T, h.engine, h.source)
	h.Logf("%d keys: %+v", same(h.T, h.source, h.target, nil), h.engine.View())
}

// Stopped again and again at an offset at which keys were read, the shards have these
// very values, while the source goes on; or those that the hold says.
func TestHoldStopsAtAnOffset(t *testing.T) {
	h := newHolding(t, nil)
	stop := background(t, func(ctx context.Context, n uint64) error {
		pipe := h.from.Redis().Pipeline()
		for i := range 8 {
			pipe.Incr(ctx, fmt.Sprint("counter:", i))
		}
		pipe.SAdd(ctx, "members:1", n%500)
		pipe.SUnionStore(ctx, fmt.Sprint("union:", n%2), "members:1", "members:2")
		_, err := pipe.Exec(ctx)
		time.Sleep(time.Millisecond)
		return err
	})
	const holds = 40
	var keys []string
	for i := range 8 {
		keys = append(keys, fmt.Sprint("counter:", i))
	}
	keys = append(keys, "union:0", "union:1")
	var longest time.Duration
	ahead := 0
	for i := range holds {
		held := h.trail(trailDelay)
		time.Sleep(time.Duration(i%30) * time.Millisecond)
		values, offset := h.read(keys...)
		stand := h.stopAt(held, offset)
		for range 2 {
			for _, v := range values {
				for _, a := range stand.Ahead {
					if bytes.Equal(a.Key, v.Key) {
						v = a
						ahead++
					}
				}
				if got := h.has(v.Key); !bytes.Equal(got.Payload, v.Payload) {
					t.Fatalf("hold %d at offset %d: %q is %x, not %x", i, offset, v.Key, got.Payload, v.Payload)
				}
			}
		}
		if err := held.Err(); err != nil {
			t.Fatal(err)
		}
		held.Release()
		held.Release()
		longest = max(longest, held.Held())
	}
	if longest == 0 || longest > 5*time.Second || ahead == 0 {
		t.Errorf("the longest hold lasted %v, %d times a key was ahead", longest, ahead)
	}
	stop()
	t.Logf("%d holds, the longest of %v, %d times a key was ahead", holds, longest, ahead)
	h.equal()
}

// What a hold lets pass and what it does not, of an idle stream too.
func TestHold(t *testing.T) {
	t.Parallel()
	h := newHolding(t, nil)
	exists := func(key string) bool { return h.has([]byte(key)).Exists() }

	// While it trails, the target gets everything, late.
	const late = 300 * time.Millisecond
	held := h.trail(late)
	if _, err := h.engine.Trail(0, late); !errors.Is(err, hold.ErrHeld) {
		t.Errorf("a second hold: %v", err)
	}
	began := time.Now()
	h.do("SET", "a", "1")
	until(t, func() (bool, string) { return exists("a"), "a" })
	if took := time.Since(began); took < late-2*time.Millisecond {
		t.Errorf("a took %v", took)
	}
	held.Release()

	// A target that has everything is stopped at once, and then gets nothing.
	held = h.trail(trailDelay)
	_, offset := h.read("a")
	if stand := h.stopAt(held, offset); len(stand.Ahead) > 0 || stand.ReplID != "" {
		t.Errorf("%+v", stand)
	}
	if _, err := held.Stop(t.Context(), offset); err == nil {
		t.Error("stopped a second time")
	}
	h.do("SET", "b", "1")
	time.Sleep(50 * time.Millisecond)
	if exists("b") {
		t.Error("b was passed on")
	}
	held.Release()
	if held.Held() < 50*time.Millisecond || held.Err() == nil {
		t.Errorf("held for %v: %v", held.Held(), held.Err())
	}
	if _, err := held.Stop(t.Context(), offset); err == nil {
		t.Error("stopped after the release")
	}
	until(t, func() (bool, string) { return exists("b"), "b" })

	// An offset that is still to come is waited for; one within a command is refused,
	// and one that has passed.
	held = h.trail(trailDelay)
	_, offset = h.read("a")
	const set = int64(len("*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$1\r\n1\r\n"))
	go func() {
		time.Sleep(50 * time.Millisecond)
		_, _ = h.from.Do(context.WithoutCancel(t.Context()), "SET", "c", "1")
		_, _ = h.from.Do(context.WithoutCancel(t.Context()), "SET", "d", "1")
	}()
	h.stopAt(held, offset+set)
	if !exists("c") || exists("d") {
		t.Errorf("c %v, d %v", exists("c"), exists("d"))
	}
	held.Release()
	until(t, func() (bool, string) { return exists("d"), "d" })
	caughtUp(t, h.engine, h.source)

	var passed *hold.PassedError
	held = h.trail(trailDelay)
	if _, err := held.Stop(t.Context(), offset); !errors.As(err, &passed) || passed.Offset != offset {
		t.Errorf("passed: %v", err)
	}
	held.Release()
	held = h.trail(trailDelay)
	_, offset = h.read("a")
	h.do("SET", "e", "1")
	if _, err := held.Stop(t.Context(), offset+1); err == nil || !strings.Contains(err.Error(), "within a command") {
		t.Errorf("within: %v", err)
	}
	held.Release()
	h.equal()
}

// What a repair has on its way is ended with the hold that it relies on, unless it was
// told that all of it has arrived.
func TestHoldEndsRepairs(t *testing.T) {
	t.Parallel()
	h := newHolding(t, nil)
	for _, locked := range []bool{true, false} {
		held := h.trail(trailDelay)
		_, offset := h.read("a")
		h.stopAt(held, offset)
		lock, err := held.Unlock()
		if err != nil {
			t.Fatal(err)
		}
		if locked {
			lock()
		}
		held.Release()
		if _, err := held.Unlock(); err == nil {
			t.Error("unlocked after the release")
		}
		h.do("SET", "a", fmt.Sprint(locked))
		caughtUp(t, h.engine, h.source)
		for _, c := range h.shards {
			if _, err := c.Look(t.Context(), 0, nil); err != nil {
				t.Fatal(err)
			}
			_, _, err := c.Read(t.Context(), 0, nil)
			if (err == nil) != locked {
				t.Errorf("locked %v, and its connection: %v", locked, err)
			}
		}
	}
}

// Nothing that ends the lanes, or fills the spool, leaves a target held.
func TestHoldEndsByItself(t *testing.T) {
	t.Parallel()
	h := newHolding(t, func(c *Config) { c.Spool.MemoryLimit, c.Spool.DiskLimit = 2<<20, 0 })
	kill := func() {
		n, err := h.target.Primary(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := sandboxtest.Client(t, n).Do(t.Context(), "CLIENT", "KILL", "TYPE", "pubsub"); err != nil {
			t.Fatal(err)
		}
	}
	full := func() {
		for i := range 60 {
			h.do("SET", fmt.Sprint("large:", i), strings.Repeat("x", 100<<10))
		}
	}
	for _, tt := range []struct {
		name, says string
		end        func()
	}{
		{"a lane is lost", "the stream to the shards has ended", kill},
		{"the spool is full", "the spool is full", full},
		{"the engine stops", "the stream to the shards has ended", h.stop},
	} {
		held := h.trail(trailDelay)
		_, offset := h.read("a")
		h.stopAt(held, offset)
		tt.end()
		select {
		case <-held.Ended():
		case <-time.After(30 * time.Second):
			t.Fatalf("%s: it was not ended", tt.name)
		}
		var broken *hold.BrokenError
		if err := held.Err(); !errors.As(err, &broken) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", tt.name, err)
		}
		held.Release()
		if tt.name == "the engine stops" {
			if _, err := h.engine.Trail(0, trailDelay); err == nil {
				t.Error("held after its end")
			}
			continue
		}
		h.equal()
		// One that is being waited for ends likewise.
		held = h.trail(trailDelay)
		_, offset = h.read("a")
		later := make(chan error, 1)
		go func() {
			_, err := held.Stop(t.Context(), offset+1<<40)
			later <- err
		}()
		time.Sleep(20 * time.Millisecond)
		if tt.name == "a lane is lost" {
			tt.end()
			if err := <-later; !errors.As(err, &broken) {
				t.Errorf("%s, waited for: %v", tt.name, err)
			}
		} else {
			held.Release()
			if err := <-later; err == nil {
				t.Errorf("%s: stopped after the release", tt.name)
			}
		}
		caughtUp(t, h.engine, h.source)
	}
}
