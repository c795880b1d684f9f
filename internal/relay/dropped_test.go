package relay_test

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/rdb"
	"godwit/internal/relay"
)

// leaver leaves out what is written to the keys that begin with left:.
type leaver struct{ left []rdb.LeftOut }

func (l *leaver) Edit(dst []byte, args [][]byte, _ int) ([]byte, relay.Verdict, error) {
	l.left = l.left[:0]
	if len(args) > 1 && strings.HasPrefix(string(args[1]), "left:") {
		l.left = append(l.left, rdb.LeftOut{Feature: rdb.FeatureVectorSet, DB: 3, Key: args[1]})
		return dst, relay.Replace, nil
	}
	return dst, relay.Keep, nil
}

func (l *leaver) LeftOut() []rdb.LeftOut { return l.left }

func (*leaver) Reset(int) {}

func (*leaver) DB() int { return 0 }

// Links that end anyhow, each beginning at a checkpoint of the one before, count
// what they leave out exactly once, and tell of the first only.
func TestDroppedIsCountedOnceOverCheckpoints(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var source, target relay.Position
	var dropped rdb.Dropped
	noting := func(c *relay.Config) {
		c.Editor, c.OwnReplID = &leaver{}, true
		c.Checkpoint = func(s, t relay.Position, d rdb.Dropped) {
			mu.Lock()
			source, target, dropped = s, t, d
			mu.Unlock()
		}
	}
	r := newRig(t, options{config: noting})
	r.follow()
	r.poll()
	var n int64
	counted := func() int64 {
		mu.Lock()
		defer mu.Unlock()
		return dropped.Of(rdb.FeatureVectorSet)
	}
	for round := range 4 {
		// Until a checkpoint of this round has counted some of them.
		for i, before := 0, counted(); i < 500 || counted() == before; i++ {
			r.do(r.from, "SET", fmt.Sprint("left:", n), strings.Repeat("x", int(n%100)))
			r.do(r.from, "INCR", "kept")
			n++
			time.Sleep(time.Millisecond)
		}
		if round == 3 {
			break
		}
		r.restart(func(c *relay.Config) {
			noting(c)
			mu.Lock()
			c.From, c.Knows, c.Dropped = source, target, dropped
			mu.Unlock()
			if of := c.Dropped.Of(rdb.FeatureVectorSet); of == 0 || of > n {
				t.Errorf("the checkpoint counts %d of %d", of, n)
			}
		})
		r.attach()
	}
	r.caughtUp()
	if got := r.link.Snapshot().Dropped; !maps.Equal(got.Stream, map[rdb.Feature]int64{rdb.FeatureVectorSet: n}) || len(got.Copy) > 0 {
		t.Errorf("%d were left out, counted %+v", n, got)
	}
	const news = "vector-set is left out of the stream and counted, first at key \"left:0\" of db 3"
	if told := r.told(); strings.Count(told, "is left out") != 1 || !strings.Contains(told, news) {
		t.Errorf("told:\n%s", told)
	}
	r.until("checkpointed", func() bool { return counted() == n })
}
