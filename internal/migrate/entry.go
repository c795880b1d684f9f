package migrate

import (
	"context"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"godwit/internal/server"
	"godwit/internal/topology"
)

// entry is by what it is reached: the first, or another node of the cluster while that one
// does not answer.
func (d *deployment) entry() server.Endpoint {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := d.first()
	if d.reached != "" {
		e.Address = d.reached
	}
	return e
}

// answering is a node of a cluster that does.
func (d *deployment) answering(ctx context.Context) (server.Endpoint, error) {
	_, err := d.resolve(ctx)
	return d.entry(), err
}

// knows tells of nodes that a cluster had, by what the journal has of each.
func (d *deployment) knows(r rules) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = slices.Sorted(maps.Keys(r))
}

// entryTimeout is how long one node of several is waited for.
const entryTimeout = 2 * time.Second

// resolve finds its servers. The node that was given need not be there for ever: where it
// does not answer, the others that are known are asked.
func (d *deployment) resolve(ctx context.Context) (topology.Deployment, error) {
	now := d.entry()
	d.mu.Lock()
	others := slices.DeleteFunc(slices.Clone(d.known), func(address string) bool { return address == now.Address })
	d.mu.Unlock()
	if len(others) == 0 {
		return d.learn(topology.Resolve(ctx, now))
	}
	ask := func(e server.Endpoint) (topology.Deployment, error) {
		ctx, cancel := context.WithTimeout(ctx, entryTimeout)
		defer cancel()
		return topology.Resolve(ctx, e)
	}
	found, err := ask(now)
	rand.Shuffle(len(others), func(i, j int) { others[i], others[j] = others[j], others[i] }) // ctx may end before all were asked
	for _, address := range others {
		if err == nil || ctx.Err() != nil {
			break
		}
		now.Address = address
		if f, failed := ask(now); failed == nil && f.Cluster != nil {
			found, err = f, nil
		}
	}
	if err == nil {
		d.mu.Lock()
		d.reached = now.Address
		d.mu.Unlock()
	}
	return d.learn(found, err)
}

// learn notes the nodes of a cluster.
func (d *deployment) learn(found topology.Deployment, err error) (topology.Deployment, error) {
	if err != nil || found.Cluster == nil {
		return found, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.known = nil
	for _, s := range found.Cluster.Shards() {
		for _, n := range append([]topology.ClusterNode{s.Primary}, s.Replicas...) {
			d.known = append(d.known, n.Endpoint.Address)
		}
	}
	return found, nil
}
