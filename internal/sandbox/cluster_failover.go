package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// failoverTimeout is after how long a manual failover that has not come about is
// asked for again: a replica gives up on it after 5 s (CLUSTER_MF_TIMEOUT).
const failoverTimeout = 6 * time.Second

// Failover makes a replica of the shard its primary by CLUSTER FAILOVER, which loses
// nothing, and gives it once all nodes agree.
func (c *Cluster) Failover(ctx context.Context, shard int) (*Server, error) {
	promoted, err := c.failover(ctx, shard)
	if err == nil {
		err = c.Settle(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("failover of shard %d: %w", shard, err)
	}
	return promoted.Server, nil
}

func (c *Cluster) failover(ctx context.Context, shard int) (*node, error) {
	nodes, err := c.shard(shard)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		if !n.Running() {
			continue
		}
		v, err := n.view(ctx)
		if err != nil {
			return nil, err
		}
		if v.self.primary == "" {
			continue
		}
		var asked time.Time
		return n, c.await(ctx, func(ctx context.Context) error {
			v, err := n.view(ctx)
			if err != nil || v.self.primary == "" {
				return err
			}
			if time.Since(asked) > failoverTimeout {
				asked = time.Now()
				if _, err := n.client.Do(ctx, "CLUSTER", "FAILOVER"); err != nil {
					return err
				}
			}
			return fmt.Errorf("%s is still a replica", n.Address())
		})
	}
	return nil, errors.New("no replica runs")
}

// Crash kills the shard's primary (SIGKILL) and returns it once a replica serves in
// its place, a few times the node timeout later. What the primary had not yet sent to
// that replica is lost. It takes a majority of the primaries with slots to elect one.
func (c *Cluster) Crash(ctx context.Context, shard int) (*Server, error) {
	v, err := c.primaryView(ctx, shard)
	if err == nil {
		err = v.node.Kill()
	}
	if err == nil {
		err = c.Settle(ctx)
	}
	if err != nil {
		return nil, fmt.Errorf("crash of shard %d: %w", shard, err)
	}
	return v.node.Server, nil
}

// Restart starts a node again, killing it first if it runs, and waits until all agree.
// It has its data from its append-only file, or an RDB file that it was made to write;
// empty says that these are deleted before. What the cluster is like it has not
// forgotten in either case (nodes.conf).
func (c *Cluster) Restart(ctx context.Context, s *Server, empty bool) error {
	if err := s.Kill(); err != nil {
		return err
	}
	if empty {
		for _, name := range []string{"dump.rdb", "appendonly.aof", "appendonlydir"} {
			if err := os.RemoveAll(filepath.Join(s.Dir(), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if err := s.Restart(ctx); err != nil {
		return err
	}
	return c.Settle(ctx)
}
