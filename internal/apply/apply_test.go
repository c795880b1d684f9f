package apply

import (
	"bytes"
	"context"
	crand "crypto/rand"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/traffic"
)

func TestToACluster(t *testing.T) {
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 20000, NoFunctions: true}); err != nil {
		t.Fatal(err)
	}
	e := New(configure(t, source, target))
	run(t, e)
	report, err := traffic.Run(t.Context(), source.Endpoint(), traffic.Options{Seed: 1, Commands: 5000, DBs: []int{0}, Prefix: "t:", NoFlush: true, Without: []traffic.Feature{traffic.Function}})
	if err != nil {
		t.Fatal(err)
	}
	caughtUp(t, e, source)
	t.Logf("%d keys, traffic %d: %+v", same(t, source, target, nil), len(report.Commands), e.View())
}

// Whenever it ends, it goes on where it was: nothing is lost, and nothing done twice.
func TestGoesOnFromItsCheckpoints(t *testing.T) {
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}})
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 5000, NoFunctions: true}); err != nil {
		t.Fatal(err)
	}
	var m memory
	c := configure(t, source, target)
	e := New(m.load(t, c))
	stop := run(t, e)
	caughtUp(t, e, source)
	sent := background(t, func(ctx context.Context, seed uint64) error {
		_, err := traffic.Run(ctx, source.Endpoint(), traffic.Options{Seed: seed, Commands: 2000, DBs: []int{0}, Prefix: "t:", NoFlush: seed%4 != 3, Without: []traffic.Feature{traffic.Function}})
		return err
	})
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
		stop()
		e = New(m.load(t, c))
		stop = run(t, e)
	}
	t.Logf("%d runs of traffic", sent())
	caughtUp(t, e, source)
	t.Logf("%d keys: %+v", same(t, source, target, nil), e.View())
}

// background does something over and over until the function it returns is called,
// which says how often.
func background(t *testing.T, do func(ctx context.Context, n uint64) error) (stop func() uint64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan uint64, 1)
	go func() {
		n := uint64(0)
		for ; ctx.Err() == nil; n++ {
			if err := do(t.Context(), n); err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		}
		done <- n
	}()
	var once sync.Once
	n := uint64(0)
	stop = func() uint64 {
		once.Do(func() { cancel(); n = <-done })
		return n
	}
	t.Cleanup(func() { stop() })
	return stop
}

// Values of any size get through: in parts those that can be taken apart.
func TestLargeValues(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	c := sandboxtest.Client(t, source)
	do := func(args ...any) {
		t.Helper()
		if _, err := c.Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	noise := make([]byte, 1<<20)
	_, _ = crand.Read(noise)
	for range 24 {
		do("APPEND", "string", noise)
		do("APPEND", "string that shrinks", bytes.Repeat([]byte("abc"), 1<<20))
	}
	do("PEXPIREAT", "string", time.Now().Add(time.Hour).UnixMilli())
	for i := range 12 {
		list, set, hash, zset, stream := []any{"RPUSH", "list"}, []any{"SADD", "set"}, []any{"HSET", "hash"}, []any{"ZADD", "zset"}, []any{"XADD", "stream", fmt.Sprint(i+1, "-1")}
		for j := range 500 {
			e := append(noise[i*1000+j:i*1000+j+1000:i*1000+j+1000], fmt.Sprint(i, j)...)
			list, set, hash, zset, stream = append(list, e), append(set, e), append(hash, fmt.Sprint(i, j), e), append(zset, float64(i)/3+float64(j), e), append(stream, fmt.Sprint(j), e)
		}
		do(list...)
		do(set...)
		do(hash...)
		do(zset...)
		do(stream...)
	}
	do("XGROUP", "CREATE", "stream", "group", "3-1")
	do("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)")
	e := New(configure(t, source, target))
	run(t, e)
	caughtUp(t, e, source)
	if n := same(t, source, target, nil); n != 7 {
		t.Errorf("%d keys", n)
	}
	do("FUNCTION", "LOAD", "#!lua name=later\nredis.register_function('g', function() return 1 end)")
	do("FUNCTION", "DELETE", "lib")
	caughtUp(t, e, source)
	for _, n := range target.Nodes() {
		list, err := sandboxtest.Client(t, n).Do(t.Context(), "FUNCTION", "LIST")
		if err != nil {
			t.Fatal(err)
		}
		if text := fmt.Sprint(list); !strings.Contains(text, "later") || strings.Contains(text, "lib") && strings.Contains(text, "[f ") {
			t.Errorf("%s has the libraries %s", n.Address(), text)
		}
	}
}

// Commands may have more arguments than a script can hand on.
func TestLongCommands(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	c := sandboxtest.Client(t, source)
	e := New(configure(t, source, target))
	run(t, e)
	caughtUp(t, e, source)
	for _, n := range []int{6998, 6999, 7000, 15000, 30001} {
		push, set, hash, zset, gone := []any{"RPUSH", "list"}, []any{"SADD", fmt.Sprint("set", n)}, []any{"HSET", "hash"}, []any{"ZADD", "zset"}, []any{"UNLINK"}
		stream, mset := []any{"XADD", "stream", "*"}, []any{"MSET"}
		for i := range n {
			v := fmt.Sprint(n, ":", i)
			push, set, hash, zset, gone = append(push, v), append(set, v), append(hash, v, i), append(zset, i, v), append(gone, "{x}"+v)
			stream, mset = append(stream, v, i), append(mset, "{x}"+v, i)
		}
		for _, args := range [][]any{push, set, hash, zset, mset, gone[:n/2], stream} {
			if _, err := c.Do(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	caughtUp(t, e, source)
	t.Log(same(t, source, target, nil), "keys")
}
