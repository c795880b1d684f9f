package apply

import (
	"context"
	"fmt"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// How many commands a second get through to three shards when some of them have to be
// carried by value, from a stream that has come already.
func BenchmarkByValue(b *testing.B) {
	for _, percent := range []int{0, 1, 10} {
		b.Run(fmt.Sprint(percent), func(b *testing.B) {
			source := sandboxtest.Start(b, "redis-7.0", sandbox.Options{Args: []string{"--repl-backlog-size 512mb"}})
			target := sandboxtest.Cluster(b, "redis-7.0", sandbox.ClusterOptions{})
			c := configure(b, source, target)
			var m memory
			e := New(m.load(b, c))
			stop := run(b, e)
			caughtUp(b, e, source)
			const commands = 200_000
			stop()
			client := sandboxtest.Client(b, source).Redis()
			pipe := client.Pipeline()
			ctx := context.WithoutCancel(b.Context())
			for i := range commands {
				switch {
				case i%100 >= percent:
					pipe.Set(ctx, fmt.Sprint("key:", i%50_000), i, 0)
				case i%2 == 0:
					pipe.SUnionStore(ctx, fmt.Sprint("set:", i), "a", "b")
				default:
					pipe.Set(ctx, fmt.Sprint("from:", i), i, 0)
					pipe.Rename(ctx, fmt.Sprint("from:", i), fmt.Sprint("to:", i))
				}
				if i%1000 == 999 {
					if _, err := pipe.Exec(ctx); err != nil {
						b.Fatal(err)
					}
				}
			}
			for b.Loop() {
				e = New(m.load(b, c))
				began := time.Now()
				stop = run(b, e)
				caughtUp(b, e, source)
				b.ReportMetric(commands/time.Since(began).Seconds(), "commands/s")
				stop()
			}
		})
	}
}
