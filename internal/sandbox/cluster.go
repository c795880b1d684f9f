package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/server"
	"godwit/internal/slot"
)

// ClusterOptions say what a cluster consists of. The zero value is three primaries
// without replicas.
type ClusterOptions struct {
	Shards      int           // primaries with slots; default 3
	Replicas    int           // of each primary
	NodeTimeout time.Duration // cluster-node-timeout, which rules how soon a replica takes over; default 2 s
	AOF         bool          // no write is acknowledged before it is in the node's append-only file
	Password    string        // of the default user, on every node
	Args        []string      // settings of every node, as those of Options
}

// Cluster is a running cluster. A shard is a set of servers, one of which is its
// primary; shards and their servers keep the number and the place they were started
// with, whatever becomes of their roles and slots, as no replica migrates to another
// shard (set cluster-migration-barrier and cluster-allow-replica-migration in
// ClusterOptions.Args to have it otherwise). Its methods may be used from several
// goroutines, but two of them that change the cluster must not run at the same time.
type Cluster struct {
	binary  Binary
	options ClusterOptions

	mu     sync.Mutex // guards shards
	shards [][]*node
}

// node is a server of the cluster.
type node struct {
	*Server
	client *server.Client
	id     string
}

// settleTimeout bounds what a cluster may need to agree, on a machine that is busy too.
const settleTimeout = 60 * time.Second

// StartCluster runs the servers, makes them a cluster whose primaries share the slots
// evenly, in their order, and returns once every node knows all of it and every
// replica has its primary's data. That takes 2 s at least: so long does a primary
// wait before it serves (CLUSTER_WRITABLE_DELAY of cluster.c). Ports are below those
// that systems give to clients, as each node also listens on the port 10,000 above.
func StartCluster(ctx context.Context, b Binary, o ClusterOptions) (*Cluster, error) {
	if o.Shards < 0 || o.Shards > slot.Count || o.Replicas < 0 {
		return nil, fmt.Errorf("cluster of %d shards with %d replicas each: that is not possible", o.Shards, o.Replicas)
	}
	if o.Shards == 0 {
		o.Shards = 3
	}
	if o.NodeTimeout == 0 {
		o.NodeTimeout = 2 * time.Second
	}
	c := &Cluster{binary: b, options: o}
	if err := c.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting a cluster of %s: %w", b.Name, err), c.Close())
	}
	return c, nil
}

func (c *Cluster) start(ctx context.Context) error {
	started, err := c.startShards(ctx, c.options.Shards)
	if err != nil {
		return err
	}
	share := (slot.Count + len(started) - 1) / len(started)
	for i, shard := range started {
		last := min((i+1)*share, slot.Count)
		if _, err := shard[0].client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", i+1); err != nil {
			return err
		}
		add := []any{"CLUSTER", "ADDSLOTS"} // 6.0 has no ADDSLOTSRANGE
		for at := i * share; at < last; at++ {
			add = append(add, at)
		}
		if _, err := shard[0].client.Do(ctx, add...); err != nil {
			return err
		}
	}
	return c.join(ctx, started)
}

// startShards runs the servers of some shards, all at the same time. They are part of
// c from then on, also where an error is returned, to be closed with it.
func (c *Cluster) startShards(ctx context.Context, n int) ([][]*node, error) {
	started := make([][]*node, n)
	group, groupCtx := errgroup.WithContext(ctx)
	for i := range started {
		started[i] = make([]*node, 1+c.options.Replicas)
		for j := range started[i] {
			group.Go(func() (err error) {
				started[i][j], err = c.startNode(groupCtx)
				return err
			})
		}
	}
	err := group.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, shard := range started {
		c.shards = append(c.shards, slices.DeleteFunc(slices.Clone(shard), func(n *node) bool { return n == nil }))
	}
	return started, err
}

func (c *Cluster) startNode(ctx context.Context) (*node, error) {
	o := Options{Cluster: true, Password: c.options.Password, Args: []string{
		"--cluster-node-timeout", strconv.FormatInt(c.options.NodeTimeout.Milliseconds(), 10),
		"--cluster-migration-barrier 1000",
	}}
	v, err := c.binary.Version(ctx)
	if err != nil {
		return nil, err
	}
	if v.AtLeast(7, 0) {
		o.Args = append(o.Args, "--cluster-allow-replica-migration no")
	}
	if c.options.Password != "" {
		o.Args = append(o.Args, "--masterauth", c.options.Password)
	}
	if c.options.AOF {
		o.Args = append(o.Args, "--appendonly yes", "--appendfsync always")
	}
	o.Args = append(o.Args, c.options.Args...)
	s, err := Start(ctx, c.binary, o)
	if err != nil {
		return nil, err
	}
	n := &node{Server: s}
	if n.client, err = server.New(s.Endpoint(), "sandbox"); err == nil {
		n.id, err = n.client.Text(ctx, "CLUSTER", "MYID")
	}
	if err != nil {
		return nil, errors.Join(err, n.close())
	}
	return n, nil
}

func (n *node) close() error {
	if n.client != nil {
		_ = n.client.Close() // nothing was left unsent
	}
	return n.Close()
}

// join makes started shards part of the cluster, and their replicas replicas.
func (c *Cluster) join(ctx context.Context, started [][]*node) error {
	all := c.all()
	for _, n := range slices.Concat(started...) {
		for _, other := range all {
			if other == n {
				continue
			}
			// Each with each: to wait for gossip takes seconds.
			if _, err := n.client.Do(ctx, "CLUSTER", "MEET", host, other.Port()); err != nil {
				return err
			}
		}
	}
	err := c.await(ctx, func(ctx context.Context) error {
		for _, shard := range started {
			for _, replica := range shard[1:] {
				if err := replica.follows(ctx, shard[0]); err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return c.Settle(ctx)
}

// follows makes a node another's replica, and gives an error as long as that cannot
// be because it does not know it yet.
func (n *node) follows(ctx context.Context, primary *node) error {
	known, err := n.view(ctx)
	if err != nil {
		return err
	}
	line, ok := known.lines[primary.id]
	if !ok || line.has("handshake") {
		return fmt.Errorf("%s does not know %s yet", n.Address(), primary.Address())
	}
	if known.self.primary == primary.id {
		return nil
	}
	_, err = n.client.Do(ctx, "CLUSTER", "REPLICATE", primary.id)
	return err
}

// AddShard starts one more primary with as many replicas as the others have, without
// slots, and gives the number of the shard.
func (c *Cluster) AddShard(ctx context.Context) (int, error) {
	pictures, err := c.views(ctx)
	if err != nil {
		return 0, err
	}
	var epoch int64
	for _, v := range pictures {
		epoch = max(epoch, v.currentEpoch)
	}
	started, err := c.startShards(ctx, 1)
	if err != nil {
		return 0, fmt.Errorf("adding a shard: %w", err)
	}
	if _, err := started[0][0].client.Do(ctx, "CLUSTER", "SET-CONFIG-EPOCH", epoch+1); err != nil {
		return 0, fmt.Errorf("adding a shard: %w", err)
	}
	if err := c.join(ctx, started); err != nil {
		return 0, fmt.Errorf("adding a shard: %w", err)
	}
	return c.Shards() - 1, nil
}

// Close kills every server. Closing twice is harmless.
func (c *Cluster) Close() error {
	var group errgroup.Group
	for _, n := range c.all() {
		group.Go(n.close)
	}
	return group.Wait()
}

// Shards is how many shards there are, those without slots too.
func (c *Cluster) Shards() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.shards)
}

// Nodes are all servers, running or not, shard by shard: at the start each shard's
// primary first.
func (c *Cluster) Nodes() []*Server {
	var servers []*Server
	for _, n := range c.all() {
		servers = append(servers, n.Server)
	}
	return servers
}

// Endpoints are how clients reach the nodes, in the order of Nodes.
func (c *Cluster) Endpoints() []server.Endpoint {
	var endpoints []server.Endpoint
	for _, n := range c.all() {
		endpoints = append(endpoints, n.Endpoint())
	}
	return endpoints
}

func (c *Cluster) all() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Concat(c.shards...)
}

func (c *Cluster) shard(i int) ([]*node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i < 0 || i >= len(c.shards) {
		return nil, fmt.Errorf("no shard %d in a cluster of %d", i, len(c.shards))
	}
	return c.shards[i], nil
}
