package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"godwit/internal/hold"
	"godwit/internal/refresh"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// heldFeed is a way back that carries, to be held.
type heldFeed struct {
	*feedRig

	reader *refresh.Conn // of a shard
	old    *refresh.Conn
	shard  server.Endpoint
	keys   []string // of that shard
}

func newHeldFeed(t *testing.T, o feedOptions) *heldFeed {
	t.Helper()
	h := &heldFeed{feedRig: newFeedRig(t, o)}
	h.streaming()
	h.shard = h.primary(1)
	h.reader, h.old = h.conn(h.shard), h.conn(h.feedRig.old.Endpoint())
	of := slot.Of([]byte(h.keyOf(1, 1)))
	for i := 0; len(h.keys) < 8; i++ {
		if key := fmt.Sprintf("{%s}%d", h.keyOf(1, 1), i); slot.Of([]byte(key)) == of { // read in one transaction
			h.keys = append(h.keys, key)
		}
	}
	return h
}

func (h *heldFeed) primary(shard int) server.Endpoint {
	h.t.Helper()
	n, err := h.cluster.Primary(h.t.Context(), shard)
	if err != nil {
		h.t.Fatal(err)
	}
	return n.Endpoint()
}

func (h *heldFeed) conn(e server.Endpoint) *refresh.Conn {
	h.t.Helper()
	c, err := refresh.Dial(h.t.Context(), e)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = c.Close() })
	return c
}

// trail is TrailFrom of the shard, which may be attached to again at the moment.
func (h *heldFeed) trail(delay time.Duration) (held *Hold) {
	h.t.Helper()
	until(h.t, func() (bool, string) {
		var err error
		held, err = h.feed.TrailFrom(h.shard.Address, delay)
		return err == nil, fmt.Sprint(err)
	})
	h.t.Cleanup(held.Release)
	return held
}

func names(keys []string) (list [][]byte) {
	for _, k := range keys {
		list = append(list, []byte(k))
	}
	return list
}

// Stopped again and again at an offset of one shard at which keys were read, the old
// primary has these very values, or those that the hold says, while the other shards' and
// the clients go on.
func TestFeedHeld(t *testing.T) {
	t.Parallel()
	t.Run("as it is", func(t *testing.T) {
		t.Parallel()
		feedHeld(t, feedOptions{old: "redis-7.0", cluster: "redis-8.6", keys: 500}, 0)
	})
	t.Run("mapped", func(t *testing.T) {
		t.Parallel()
		feedHeld(t, feedOptions{old: "redis-7.0", cluster: "redis-8.6", keys: 500, dbs: []int{5}, route: "0:drop 5:0"}, 5)
	})
}

// feedHeld is of keys that are in a db of the old primary's.
func feedHeld(t *testing.T, o feedOptions, db int) {
	t.Helper()
	h := newHeldFeed(t, o)
	l := h.load(2000)
	c := sandboxtest.Client(t, h.cluster.Nodes()[0])
	e := c.Endpoint()
	e.Address = h.shard.Address
	writer, err := server.Dial(t.Context(), e, "test")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = writer.Close() })
	stop := background(t, func(ctx context.Context, n uint64) error {
		pipe := writer.Redis().Pipeline()
		for _, key := range h.keys[:6] {
			pipe.Incr(ctx, key)
		}
		pipe.Set(ctx, h.keys[6], n, 0)
		// Redis 7.0 has no equal for it, so it is carried by value.
		pipe.Do(ctx, "BITOP", "ONE", h.keys[7], h.keys[6], h.keys[0], h.keys[1])
		_, err := pipe.Exec(ctx)
		time.Sleep(time.Millisecond)
		return err
	})
	const holds = 40
	var longest time.Duration
	passed, ahead := 0, 0
	for i := 0; i < holds; {
		held := h.trail(20 * time.Millisecond << min(passed, 4))
		time.Sleep(time.Duration(i%30) * time.Millisecond)
		values, place, err := h.reader.Read(t.Context(), 0, names(h.keys))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		stand, err := held.Stop(ctx, place.Offset)
		cancel()
		var late *hold.PassedError
		if errors.As(err, &late) {
			held.Release()
			passed++
			if passed > 3*holds {
				t.Fatal(err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			has, err := h.old.Look(t.Context(), db, names(h.keys))
			if err != nil {
				t.Fatal(err)
			}
			for n, v := range values {
				for _, a := range stand.Ahead {
					if bytes.Equal(a.Key, v.Key) {
						v = a
						ahead++
					}
				}
				if from, to := body(t, v), body(t, has[n]); !bytes.Equal(from, to) {
					t.Fatalf("hold %d at offset %d: %q is %x, not %x", i, place.Offset, v.Key, to, from)
				}
			}
		}
		if err := held.Err(); err != nil {
			t.Fatal(err)
		}
		held.Release()
		longest = max(longest, held.Held())
		i++
	}
	stop()
	if longest == 0 || longest > 5*time.Second || ahead == 0 {
		t.Errorf("the longest hold lasted %v, %d times a key was ahead", longest, ahead)
	}
	t.Logf("%d holds, %d came too late, the longest of %v, %d times a key was ahead", holds, passed, longest, ahead)
	h.goBack(l)
}

// body is a payload without its footer, which says the version.
func body(t *testing.T, v refresh.Value) []byte {
	t.Helper()
	if len(v.Payload) < 10 {
		return nil
	}
	return v.Payload[:len(v.Payload)-10]
}

// Whatever ends what carries the stream ends the hold, and what a repair has on its way
// with it.
func TestFeedHoldEndsByItself(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*heldFeed){
		"the old primary is cut off": func(h *heldFeed) { h.proxy.CloseAll() },
		"the shard's connection ends": func(h *heldFeed) {
			do(h.t, h.clients()[1], "CLIENT", "KILL", "TYPE", "replica")
		},
		"the feed ends": func(h *heldFeed) { h.end() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHeldFeed(t, feedOptions{old: "redis-7.0", cluster: "redis-7.0", keys: 100})
			l := h.load(1000)
			h.written(l, 200)
			held := h.trail(time.Second)
			if _, err := h.feed.TrailFrom(h.shard.Address, time.Second); !errors.Is(err, hold.ErrHeld) {
				t.Errorf("held twice: %v", err)
			}
			_, place, err := h.reader.Read(t.Context(), 0, names(h.keys))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := held.Stop(t.Context(), place.Offset); err != nil {
				t.Fatal(err)
			}
			if _, err := held.Unlock(); err != nil {
				t.Fatal(err)
			}
			repair := h.conn(h.feedRig.old.Endpoint())
			end(h)
			select {
			case <-held.Ended():
			case <-time.After(20 * time.Second):
				t.Fatal("it is held still")
			}
			var broken *hold.BrokenError
			if err := held.Err(); !errors.As(err, &broken) {
				t.Errorf("it ended by %v", err)
			}
			if name == "the feed ends" {
				h.start()
			}
			until(t, func() (bool, string) {
				_, err := repair.Look(t.Context(), 0, [][]byte{[]byte("x")})
				return err != nil || name == "the feed ends", "the repair's connection lives"
			})
			h.streaming()
			h.written(l, 200)
			h.goBack(l)
		})
	}
}
