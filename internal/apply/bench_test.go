package apply

import (
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
			n, took := 0, time.Duration(0)
			for b.Loop() {
				pipe := client.Pipeline()
				for range commands {
					switch n++; {
					case n%100 >= percent:
						pipe.Set(b.Context(), fmt.Sprint("key:", n%50_000), n, 0)
					case n%2 == 0:
						pipe.SUnionStore(b.Context(), fmt.Sprint("set:", n), "a", "b")
					default:
						pipe.Set(b.Context(), fmt.Sprint("from:", n), n, 0)
						pipe.Rename(b.Context(), fmt.Sprint("from:", n), fmt.Sprint("to:", n))
					}
					if n%1000 == 0 {
						if _, err := pipe.Exec(b.Context()); err != nil {
							b.Fatal(err)
						}
					}
				}
				e = New(m.load(b, c))
				began := time.Now()
				stop = run(b, e)
				caughtUp(b, e, source)
				took += time.Since(began)
				stop()
			}
			b.ReportMetric(float64(n)/took.Seconds(), "commands/s")
		})
	}
}
