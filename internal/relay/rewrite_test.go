package relay_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/faultproxy"
	"godwit/internal/rdb"
	"godwit/internal/relay"
	"godwit/internal/resp"
	"godwit/internal/sandbox/sandboxtest"
)

// splitter makes two commands of SET … PXAT, which is longer, and INCR of
// INCRBY … 1, which is shorter.
type splitter struct{}

func (splitter) Edit(dst []byte, args [][]byte, total int) ([]byte, relay.Verdict, error) {
	switch name := strings.ToUpper(string(args[0])); {
	case name == "SET" && total == 5 && len(args) < total:
		return dst, relay.Whole, nil
	case name == "SET" && total == 5 && string(args[3]) == "PXAT":
		key := string(args[1])
		dst = resp.AppendCommand(dst, "SET", key, string(args[2]))
		return resp.AppendCommand(dst, "PEXPIREAT", key, string(args[4])), relay.Replace, nil
	case name == "INCRBY" && string(args[2]) == "1":
		return resp.AppendCommand(dst, "INCR", string(args[1])), relay.Replace, nil
	}
	return dst, relay.Keep, nil
}

func (splitter) Reset(int) {}

func (splitter) DB() int { return 0 }

func (splitter) LeftOut() []rdb.LeftOut { return nil }

func splitting(c *relay.Config) { c.Editor, c.OwnReplID = splitter{}, true }

// writeAll makes commands of both kinds until it is stopped, and says how often
// it has counted.
func (r *rig) writeAll() (stop func() int64) {
	ctx, cancel := context.WithCancel(r.t.Context())
	client := sandboxtest.Client(r.t, r.source)
	done := make(chan int64, 1)
	go func() {
		n := int64(0)
		for ctx.Err() == nil {
			pipe := client.Redis().TxPipeline()
			for i := range 20 {
				pipe.Set(r.t.Context(), fmt.Sprint("expires:", n%1000), strings.Repeat("x", i), time.Hour)
				pipe.IncrBy(r.t.Context(), "count", 1)
				pipe.Set(r.t.Context(), fmt.Sprint("stays:", n%1000), n, 0)
			}
			if _, err := pipe.Exec(r.t.Context()); err == nil {
				n += 20
			}
			time.Sleep(time.Millisecond) // for the backlog to last
		}
		done <- n
	}()
	var once sync.Once
	var n int64
	stop = func() int64 {
		once.Do(func() { cancel(); n = <-done })
		return n
	}
	r.t.Cleanup(func() { stop() })
	return stop
}

func (r *rig) longer() {
	r.t.Helper()
	source, target := r.info(r.from, "replication").Int("master_repl_offset"), r.info(r.to, "replication").Int("slave_repl_offset")
	if target <= source {
		r.t.Errorf("the target stands at %d, the source at %d", target, source)
	}
}

// A stream that becomes longer, over cuts of both connections.
func TestStreamBecomesLonger(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{proxies: true, config: splitting})
	r.follow()
	r.poll()
	stop := r.writeAll()
	for i := range 8 {
		p := []*faultproxy.Proxy{r.sourceProxy, r.targetProxy}[i%2]
		before := p.Accepted()
		p.CutAfter(faultproxy.ToClient, int64(20_000+i*777))
		r.until("cut", func() bool { return p.Accepted() > before })
		p.Heal()
	}
	// Larger than what is held back for a verdict.
	r.do(r.from, "SET", "large", strings.Repeat("v", 3*relay.HeadSize), "EX", 1000)
	acked := stop()
	r.caughtUp()
	r.counted(acked)
	r.equal()
	r.longer()
	r.acked()
	if n := r.link.Snapshot().FullResyncs; n != 1 {
		t.Errorf("%d full resyncs\n%s", n, r.told())
	}
}

// A link that goes on from a checkpoint of another, which has ended anyhow.
func TestGoesOnFromACheckpoint(t *testing.T) {
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
	r := newRig(t, options{config: noting})
	r.follow()
	r.poll()
	stop := r.writeAll()
	for range 3 {
		time.Sleep(1500 * time.Millisecond) // for some checkpoints
		r.restart(func(c *relay.Config) {
			noting(c)
			mu.Lock()
			c.From, c.Knows = source, target
			mu.Unlock()
			if c.From.ReplID == "" || c.From.Offset == c.Knows.Offset {
				t.Errorf("checkpoint %+v, %+v", c.From, c.Knows)
			}
		})
		r.attach()
	}
	acked := stop()
	r.caughtUp()
	r.counted(acked)
	r.equal()
	r.longer()
	r.syncs(1, 3)
	if n := r.do(r.to, "GET", "count"); n != strconv.FormatInt(acked, 10) {
		t.Errorf("the target counts %v of %d", n, acked)
	}
}

// Without a replid of its own a link must not make the stream longer.
func TestLongerStreamNeedsItsOwnReplID(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{config: func(c *relay.Config) { c.Editor = splitter{} }})
	r.follow()
	r.do(r.from, "INCRBY", "n", "1")
	r.caughtUp()
	r.do(r.from, "SET", "key", "1", "EX", "100")
	var fatal *relay.FatalError
	if err := <-r.ended; !errors.As(err, &fatal) || !strings.Contains(err.Error(), "longer") {
		t.Errorf("ended with %v", err)
	}
}

// A link that begins at a checkpoint while its source is out of reach waits for
// it, however long the target asks meanwhile: the stream can still be continued.
func TestGoesOnFromACheckpointOnceTheSourceIsBack(t *testing.T) {
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
	r := newRig(t, options{proxies: true, config: noting})
	r.follow()
	r.do(r.from, "SET", "a", "1", "EX", "1000")
	r.caughtUp()
	r.acked()
	r.until("noted", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return target.Offset > source.Offset
	})
	r.do(r.from, "SET", "b", "1", "EX", "1000") // after the checkpoint
	r.caughtUp()
	r.sourceProxy.Refuse()
	r.catchUp = time.Second
	r.restart(func(c *relay.Config) {
		mu.Lock()
		c.From, c.Knows = source, target
		mu.Unlock()
		c.Checkpoint = nil
	})
	r.attach()
	time.Sleep(4 * time.Second) // it asks once a second
	r.sourceProxy.Heal()
	r.do(r.from, "SET", "c", "1", "EX", "1000")
	r.caughtUp()
	r.equal()
	if n := r.link.Snapshot().FullResyncs; n != 0 {
		t.Errorf("%d full resyncs\n%s", n, r.told())
	}
}
