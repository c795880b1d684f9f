package apply

import (
	"context"
	"fmt"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/traffic"
)

// Whatever happens to the target while the stream goes on, it ends up with the
// source's keys.
func TestTargetChanges(t *testing.T) {
	t.Parallel()
	type row struct {
		name    string
		version string
		cluster sandbox.ClusterOptions
		happens func(context.Context, *sandbox.Cluster) error
	}
	for _, tt := range some(2, []row{
		{name: "slots move", version: "redis-7.0", happens: func(ctx context.Context, c *sandbox.Cluster) error {
			return c.Move(ctx, sandbox.SlotRange{First: 0, Last: 400}, 2, sandbox.MoveOptions{})
		}},
		{name: "slots move at once", version: "valkey-9.1", happens: func(ctx context.Context, c *sandbox.Cluster) error {
			return c.MoveAtomically(ctx, sandbox.SlotRange{First: 0, Last: 4000}, 2)
		}},
		{name: "a replica is promoted", version: "redis-7.0", cluster: sandbox.ClusterOptions{Replicas: 1}, happens: func(ctx context.Context, c *sandbox.Cluster) error {
			_, err := c.Failover(ctx, 1)
			return err
		}},
		{name: "a primary crashes", version: "valkey-8.1", cluster: sandbox.ClusterOptions{Replicas: 1}, happens: func(ctx context.Context, c *sandbox.Cluster) error {
			_, err := c.Crash(ctx, 1)
			return err
		}},
		{name: "a shard is restarted", version: "redis-7.0", cluster: sandbox.ClusterOptions{AOF: true}, happens: func(ctx context.Context, c *sandbox.Cluster) error {
			return c.Restart(ctx, c.Nodes()[0], false)
		}},
		{name: "a shard is restarted without its data", version: "redis-7.0", happens: func(ctx context.Context, c *sandbox.Cluster) error {
			return c.Restart(ctx, c.Nodes()[0], true)
		}},
		{name: "a shard is added", version: "redis-7.0", happens: func(ctx context.Context, c *sandbox.Cluster) error {
			i, err := c.AddShard(ctx)
			if err != nil {
				return err
			}
			return c.Move(ctx, sandbox.SlotRange{First: 5000, Last: 5400}, i, sandbox.MoveOptions{})
		}},
	}) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source := sandboxtest.Start(t, tt.version, sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}})
			target := sandboxtest.Cluster(t, tt.version, tt.cluster)
			if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 5000, NoFunctions: true}); err != nil {
				t.Fatal(err)
			}
			e := New(configure(t, source, target))
			run(t, e)
			caughtUp(t, e, source)
			sent := background(t, func(ctx context.Context, seed uint64) error {
				_, err := traffic.Run(ctx, source.Endpoint(), traffic.Options{Seed: seed, Commands: 2000, DBs: []int{0}, Prefix: "t:", NoFlush: true, Without: []traffic.Feature{traffic.Function}})
				return err
			})
			began := time.Now()
			if err := tt.happens(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			took := time.Since(began)
			runs := sent()
			caughtUp(t, e, source)
			renewed(t, e)
			t.Logf("%d keys, %d runs of traffic in %v: %+v", same(t, source, target, nil), runs, took, e.View())
		})
	}
}

// renewed waits until no slots are to be carried by value any more.
func renewed(t *testing.T, e *Engine) {
	t.Helper()
	until(t, func() (bool, string) {
		slots := e.links[0].Renewing()
		return len(slots) == 0, fmt.Sprint("to be renewed: ", slots)
	})
}
