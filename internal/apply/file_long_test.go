//go:build fault

package apply

import (
	"context"
	"errors"
	"testing"

	"godwit/internal/audit"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// Whatever happens to a cluster while a file is loaded into it, it ends up with all of it.
func TestFileToAClusterThatChanges(t *testing.T) {
	t.Parallel()
	type row struct {
		name    string
		version string
		options sandbox.ClusterOptions
		happens func(context.Context, *sandbox.Cluster) error
	}
	for _, tt := range []row{
		{"slots move", "redis-7.0", sandbox.ClusterOptions{}, func(ctx context.Context, c *sandbox.Cluster) error {
			return c.Move(ctx, sandbox.SlotRange{First: 0, Last: 300}, 2, sandbox.MoveOptions{})
		}},
		{"slots move at once", "valkey-9.1", sandbox.ClusterOptions{}, func(ctx context.Context, c *sandbox.Cluster) error {
			return c.MoveAtomically(ctx, sandbox.SlotRange{First: 0, Last: 4000}, 2)
		}},
		{"a replica is promoted", "redis-7.0", sandbox.ClusterOptions{Replicas: 1}, func(ctx context.Context, c *sandbox.Cluster) error {
			_, err := c.Failover(ctx, 1)
			return err
		}},
		{"a primary crashes", "valkey-8.1", sandbox.ClusterOptions{Replicas: 1}, func(ctx context.Context, c *sandbox.Cluster) error {
			_, err := c.Crash(ctx, 1)
			return err
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			written, path := counting(t, tt.version, 8000, 8000)
			target := sandboxtest.Cluster(t, tt.version, tt.options)
			e := NewFile(configureFile(t, path, target.Nodes()[0]))
			done := make(chan error, 1)
			go func() { done <- e.Run(t.Context()) }()
			until(t, func() (bool, string) { return e.View().Keys > 1000, "keys are loaded" })
			if err := tt.happens(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			meanwhile := len(done) == 0
			if err := errors.Join(<-done, e.End(t.Context())); err != nil {
				t.Fatal(err)
			}
			if !meanwhile { // what the cluster's own move has lost is not ours
				t.Log("it was loaded before the end of that, and is loaded again")
				loadFile(t, configureFile(t, path, target.Nodes()[0]))
			}
			if err := written.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			equalToFile(t, written, primaries(t, target), audit.Options{}, 1000)
		})
	}
}
