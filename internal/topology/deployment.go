package topology

import (
	"context"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"godwit/internal/server"
	"godwit/internal/slot"
)

// Deployment is what a URL leads to: a standalone server, or a cluster.
type Deployment struct {
	// Primaries are its shards: a standalone server, be it a replica, or the
	// primaries of a cluster.
	Primaries []server.Endpoint
	// Slots tells which of Primaries serves a hash slot; nil where there is only one.
	Slots func(slot uint16) int
	Keys  int64 // in all dbs of all of them

	Cluster *ClusterMap // nil for a standalone server
}

// Resolve finds out what a URL leads to. The user, the password and TLS of the URL
// are those for all servers of a cluster.
func Resolve(ctx context.Context, e server.Endpoint) (d Deployment, err error) {
	if e.Master != "" {
		return Deployment{}, &UnsupportedError{URL: e.String(), What: "a Sentinel-managed deployment", Hint: "give the primary's own address"}
	}
	client, err := server.Dial(ctx, e, "")
	if err != nil {
		return Deployment{}, err
	}
	defer func() { _ = client.Close() }() // nothing was left unsent
	text, err := client.Text(ctx, "INFO")
	if err != nil {
		return Deployment{}, err
	}
	var n Node
	n.readInfo(text)
	switch n.Mode {
	case Sentinel:
		return Deployment{}, &UnsupportedError{URL: e.String(), What: "a Sentinel", Hint: "give the primary's own address"}
	case Cluster:
		return resolveCluster(ctx, e)
	case Standalone:
	}
	return Deployment{Primaries: []server.Endpoint{e}, Keys: n.Keys()}, nil
}

// UnsupportedError says that a URL leads to what godwit cannot work with here.
type UnsupportedError struct {
	URL, What, Hint string
}

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("%s is %s, which is not supported yet", e.URL, e.What)
}

// HintText is what the user can do about it.
func (e *UnsupportedError) HintText() string { return e.Hint }

// resolveCluster finds the primaries of a cluster, in the order of their slots.
func resolveCluster(ctx context.Context, e server.Endpoint) (Deployment, error) {
	c, err := ReadCluster(ctx, e)
	if err != nil {
		return Deployment{}, err
	}
	if err := c.Served(); err != nil {
		return Deployment{}, err
	}
	d := Deployment{Cluster: c}
	index := make(map[string]int)
	for _, s := range c.Shards() {
		if !s.Primary.serves() {
			continue
		}
		index[s.Primary.ID] = len(d.Primaries)
		d.Primaries = append(d.Primaries, s.Primary.Endpoint)
	}
	if d.Keys, err = countAll(ctx, d.Primaries); err != nil {
		return Deployment{}, err
	}
	if len(d.Primaries) > 1 {
		shards := make([]int, slot.Count)
		for at := range shards {
			owner, _ := c.Owner(uint16(at)) //nolint:gosec // a slot; every one has an owner
			shards[at] = index[owner.ID]
		}
		d.Slots = func(at uint16) int { return shards[at%slot.Count] }
	}
	return d, nil
}

// countAll asks all at once how many keys they have, and adds these up.
func countAll(ctx context.Context, servers []server.Endpoint) (int64, error) {
	var sum atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for _, e := range servers {
		group.Go(func() error {
			keys, err := countKeys(ctx, e)
			sum.Add(keys)
			return err
		})
	}
	err := group.Wait()
	return sum.Load(), err
}

// countKeys asks a server how many keys it has.
func countKeys(ctx context.Context, e server.Endpoint) (int64, error) {
	client, err := server.Dial(ctx, e, "")
	if err != nil {
		return 0, err
	}
	defer func() { _ = client.Close() }() // nothing was left unsent
	keys, err := client.Do(ctx, "DBSIZE")
	if err != nil {
		return 0, err
	}
	n, _ := keys.(int64)
	return n, nil
}
