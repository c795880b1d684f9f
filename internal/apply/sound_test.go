package apply

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// Keys whose life is made longer at the last moment are let go of by the shards, to which
// that comes too late, and made anew by the commands behind it. They are what they are at
// the source all the same, whenever godwit is killed.
func TestLives(t *testing.T) {
	t.Parallel()
	for _, versions := range some(1, [][2]string{{"valkey-9.1", "valkey-9.1"}, {"redis-7.0", "redis-7.0"}, {"redis-6.0", "redis-6.0"}, {"redis-8.6", "redis-8.6"}}) {
		t.Run(versions[0]+" "+versions[1], func(t *testing.T) {
			t.Parallel()
			source := sandboxtest.Start(t, versions[0], sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}})
			target := sandboxtest.Cluster(t, versions[1], sandbox.ClusterOptions{})
			var m memory
			c := configure(t, source, target)
			e := New(m.load(t, c))
			stop := run(t, e)
			caughtUp(t, e, source)
			client := sandboxtest.Client(t, source).Redis()
			end := time.Now().Add(time.Hour)
			sent := background(t, func(ctx context.Context, n uint64) error {
				rng := rand.New(rand.NewPCG(n, 1))
				pipe := client.Pipeline()
				for i := range 100 {
					number, list := fmt.Sprintf("number:%d:%d", n, i), fmt.Sprintf("list:%d:%d", n, i)
					life := time.Duration(1+rng.IntN(8)) * time.Millisecond
					pipe.Incr(ctx, number)
					pipe.PExpireAt(ctx, number, time.Now().Add(life))
					pipe.Incr(ctx, number)
					if rng.IntN(2) == 0 {
						pipe.PExpireAt(ctx, number, end)
					} else {
						pipe.Persist(ctx, number)
					}
					pipe.Incr(ctx, number)
					pipe.RPush(ctx, list, n)
					pipe.PExpireAt(ctx, list, time.Now().Add(life))
					pipe.RPush(ctx, list, "more")
					pipe.PExpireAt(ctx, list, end)
				}
				_, err := pipe.Exec(ctx)
				return err
			})
			rng := rand.New(rand.NewPCG(1, 2))
			for range 6 {
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				stop()
				e = New(m.load(t, c))
				stop = run(t, e)
			}
			runs := sent()
			caughtUp(t, e, source)
			t.Logf("%d keys, %d runs", same(t, source, target, nil), runs)
		})
	}
}
