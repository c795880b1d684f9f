// Package shards reads deployments for audits: a server, a cluster, or a set of
// servers over which clients spread the keys. Each command goes to the shard that has
// its key. It shares no code with what audits check, but for the slot of a key: a wrong
// one would be answered by MOVED, which is an error here.
package shards

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"

	"godwit/internal/server"
	"godwit/internal/slot"
)

// Deployment is a set of shards with all their keys.
type Deployment struct {
	clients []*server.Client
	owners  []int // shard by slot; nil if it is no cluster
	divide  func(key string) int
}

// Open finds out what endpoints lead to: a cluster, one or more of whose nodes they are
// (those that cannot be reached are passed over), or else a server each. A cluster must
// stand still, or a later command may be answered by MOVED.
func Open(ctx context.Context, endpoints ...server.Endpoint) (*Deployment, error) {
	d := &Deployment{}
	if err := d.open(ctx, endpoints); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

func (d *Deployment) open(ctx context.Context, endpoints []server.Endpoint) error {
	var unreachable error
	for _, e := range endpoints {
		client, err := server.Dial(ctx, e, "godwit-audit")
		if err != nil {
			unreachable = errors.Join(unreachable, err)
			continue
		}
		d.clients = append(d.clients, client)
		info, err := client.Info(ctx, "cluster")
		if err != nil {
			return err
		}
		if info["cluster_enabled"] != "1" {
			continue
		}
		if len(d.clients) > 1 {
			return fmt.Errorf("%s is a node of a cluster, %s is not", e.Address, d.clients[0].Endpoint().Address)
		}
		return d.openCluster(ctx, client)
	}
	if len(d.clients) == 0 && unreachable == nil {
		return errors.New("no server is named")
	}
	return unreachable
}

// openCluster replaces the client of a node by those of the primaries.
func (d *Deployment) openCluster(ctx context.Context, node *server.Client) error {
	defer node.Close() //nolint:errcheck // every reply has been read
	d.clients = nil
	reply, err := node.Do(ctx, "CLUSTER", "SLOTS")
	if err != nil {
		return err
	}
	ranges, err := Ranges(reply, node.Endpoint())
	if err != nil {
		return err
	}
	d.owners = slices.Repeat([]int{-1}, slot.Count)
	shards := make(map[string]int)
	for _, r := range ranges {
		shard, known := shards[r.Primary.Address]
		if !known {
			client, err := server.Dial(ctx, r.Primary, "godwit-audit")
			if err != nil {
				return err
			}
			shard = len(d.clients)
			shards[r.Primary.Address] = shard
			d.clients = append(d.clients, client)
		}
		for at := int(r.First); at <= int(r.Last); at++ {
			d.owners[at] = shard
		}
	}
	if at := slices.Index(d.owners, -1); at >= 0 {
		return fmt.Errorf("%s: no node of the cluster serves slot %d", node.Endpoint().Address, at)
	}
	return nil
}

// Range is slots, both ends included, and who serves them.
type Range struct {
	First, Last uint16
	Primary     server.Endpoint
}

// Ranges reads a reply to CLUSTER SLOTS: first, last, and the nodes, the primary first,
// each with host and port (cluster.c clusterGenNodesSlotsInfo). asked is who replied;
// its credentials are those of all.
func Ranges(reply any, asked server.Endpoint) ([]Range, error) {
	list, ok := reply.([]any)
	if !ok {
		return nil, fmt.Errorf("%s: CLUSTER SLOTS: %v is no list", asked.Address, reply)
	}
	ranges := make([]Range, len(list))
	for i, entry := range list {
		fields, _ := entry.([]any)
		if len(fields) < 3 {
			return nil, fmt.Errorf("%s: CLUSTER SLOTS: %v is no range", asked.Address, entry)
		}
		first, firstOK := fields[0].(int64)
		last, lastOK := fields[1].(int64)
		node, _ := fields[2].([]any)
		if !firstOK || !lastOK || len(node) < 2 || first < 0 || last < first || last >= slot.Count {
			return nil, fmt.Errorf("%s: CLUSTER SLOTS: %v is no range", asked.Address, entry)
		}
		hostname, _ := node[0].(string)
		port, ok := node[1].(int64)
		if !ok {
			return nil, fmt.Errorf("%s: CLUSTER SLOTS: %v is no range", asked.Address, entry)
		}
		if hostname == "" || hostname == "?" { // not known yet: it is the one that was asked
			hostname = asked.Host()
		}
		e := asked
		e.Network, e.Address = "tcp", net.JoinHostPort(hostname, strconv.FormatInt(port, 10))
		ranges[i] = Range{First: uint16(first), Last: uint16(last), Primary: e}
	}
	return ranges, nil
}

// Close ends the connections.
func (d *Deployment) Close() {
	for _, client := range d.clients {
		_ = client.Close() // every reply has been read
	}
}

// IsCluster tells whether it is one.
func (d *Deployment) IsCluster() bool { return d.owners != nil }

// Shards are clients of the shards: of a cluster, of its primaries.
func (d *Deployment) Shards() []*server.Client { return d.clients }

// Divide says which of several servers has a key.
func (d *Deployment) Divide(of func(key string) int) { d.divide = of }

// Owner is the shard that serves a key of a cluster; a shard that a key of anything
// else is in cannot be told from its name but by Divide, and is 0 here.
func (d *Deployment) Owner(key string) int {
	switch {
	case d.owners == nil && d.divide != nil:
		return d.divide(key)
	case d.owners == nil:
		return 0
	}
	return d.owners[slot.Of([]byte(key))]
}
