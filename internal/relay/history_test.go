package relay_test

import (
	"fmt"
	"sync"
	"testing"

	"godwit/internal/rdb"
	"godwit/internal/relay"
	"godwit/internal/sandbox/sandboxtest"
)

// The machine of the source and of godwit goes down: the source comes back from a
// snapshot, with less than the target has, and writes other things at the same
// offsets. A link that begins at a checkpoint from before that must not let the
// target go on in them.
func TestSourceLosesWhatTheTargetHas(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var source, target relay.Position
	noting := func(c *relay.Config) {
		splitting(c)
		c.Checkpoint = func(s, t relay.Position, _ rdb.Dropped) {
			mu.Lock()
			source, target = s, t
			mu.Unlock()
		}
	}
	r := newRig(t, options{config: noting, sourceArgs: []string{"--repl-ping-replica-period 3600"}})
	r.follow()
	r.do(r.from, "SET", "a", "1", "EX", "1000")
	r.caughtUp()
	r.until("noted", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return source.Offset == r.link.Snapshot().ReadOffset+1 && target.Offset > source.Offset
	})
	r.do(r.from, "SAVE")
	mu.Lock()
	from, knows := source, target
	mu.Unlock()
	for i := range 10 {
		r.do(r.from, "SET", fmt.Sprint("lost:", i), "1")
	}
	r.caughtUp()
	end := r.link.Snapshot().ReadOffset
	r.restart(func(c *relay.Config) {
		if err := r.source.Kill(); err != nil {
			t.Fatal(err)
		}
		if err := r.source.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.from = sandboxtest.Client(t, r.source)
		c.From, c.Knows = from, knows
	})
	// As many bytes as were lost, and a command more: what comes next would fit.
	r.do(r.from, "SET", "other:23456789", "1") // a SELECT of 23 bytes was before it, and it is 9 longer
	for i := range 10 {
		r.do(r.from, "SET", fmt.Sprint("othe:", i), "1")
	}
	r.until("read", func() bool { return r.link.Snapshot().ReadOffset > end || r.link.Snapshot().FullResyncs > 0 })
	r.attach()
	r.do(r.from, "SET", "last", "1")
	r.caughtUp()
	r.equal()
}
