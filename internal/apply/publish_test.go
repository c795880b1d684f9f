package apply

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// What is published at the source reaches each subscriber of the cluster once, at whichever
// node, whatever db the publisher has selected, even one that nothing else may come from.
func TestPublishedOnce(t *testing.T) {
	t.Parallel()
	for _, flags := range []string{"", "1:drop 2:prefix=two:"} {
		t.Run(flags, func(t *testing.T) {
			t.Parallel()
			source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
			target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
			config := configure(t, source, target)
			config.Route = mapped(t, flags)
			e := New(config)
			run(t, e)
			caughtUp(t, e, source)
			var heard []<-chan *redis.Message
			for _, n := range primaries(t, target) {
				s := sandboxtest.Client(t, n).Redis().Subscribe(t.Context(), "news")
				t.Cleanup(func() { _ = s.Close() })
				if _, err := s.Receive(t.Context()); err != nil {
					t.Fatal(err)
				}
				heard = append(heard, s.Channel())
			}
			for _, n := range primaries(t, target) { // one of them serves the channel's slot
				s := sandboxtest.Client(t, n).Redis().SSubscribe(t.Context(), "shard news")
				if _, err := s.Receive(t.Context()); err != nil {
					_ = s.Close()
					continue
				}
				t.Cleanup(func() { _ = s.Close() })
				heard = append(heard, s.Channel())
			}
			if len(heard) != 4 {
				t.Fatalf("%d subscribers", len(heard))
			}
			publisher := sandboxtest.Client(t, source).Redis().Conn()
			defer func() { _ = publisher.Close() }()
			var want []string
			for i := range 40 {
				message := fmt.Sprint(i)
				if err := publisher.Select(t.Context(), i%3).Err(); err != nil {
					t.Fatal(err)
				}
				if err := publisher.Publish(t.Context(), "news", message).Err(); err != nil {
					t.Fatal(err)
				}
				if err := publisher.SPublish(t.Context(), "shard news", message).Err(); err != nil {
					t.Fatal(err)
				}
				want = append(want, message)
			}
			caughtUp(t, e, source)
			for i, messages := range heard {
				var got []string
				for quiet := false; !quiet; {
					select {
					case m := <-messages:
						got = append(got, m.Payload)
					case <-time.After(500 * time.Millisecond):
						quiet = true
					}
				}
				if !slices.Equal(got, want) {
					t.Errorf("subscriber %d: %q", i, got)
				}
			}
			sameThrough(t, config.Route, source, target)
		})
	}
}
