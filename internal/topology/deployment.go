package topology

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

// Deployment is what a URL leads to: one server, or the primaries of a cluster.
type Deployment struct {
	Mode   Mode
	Shards []server.Endpoint // of a cluster its primaries that serve slots
	owners []uint16          // of each slot, the place of its shard in Shards; nil where there is but one
}

// Owner is the place in Shards of the one that serves a hash slot.
func (d *Deployment) Owner(s uint16) int {
	if d.owners == nil {
		return 0
	}
	return int(d.owners[s])
}

// DeploymentError is one that cannot be used as it is.
type DeploymentError struct {
	Server, Reason, Hint string
}

func (e *DeploymentError) Error() string { return e.Server + ": " + e.Reason }

// HintText is what the user can do about it.
func (e *DeploymentError) HintText() string { return e.Hint }

// Deployed asks the server what it is part of. Nodes of a cluster are reached with
// the credentials and the TLS settings of the one that was asked, at the addresses
// that it gives. Errors are those of server.Client and *DeploymentError.
func Deployed(ctx context.Context, c *server.Client) (Deployment, error) {
	e := c.Endpoint()
	info, err := c.Info(ctx, "server", "cluster")
	if err != nil {
		return Deployment{}, err
	}
	switch mode := infoMode(info); mode {
	case Sentinel:
		return Deployment{}, &DeploymentError{Server: e.Address, Reason: "this is a Sentinel, which has no data",
			Hint: "give the primary's own URL: `SENTINEL GET-MASTER-ADDR-BY-NAME name` tells it"}
	case Cluster:
		d, err := clusterOf(ctx, c)
		if err != nil {
			return Deployment{}, fmt.Errorf("%s: CLUSTER SLOTS: %w", e.Address, err)
		}
		return d, nil
	default:
		return Deployment{Mode: Standalone, Shards: []server.Endpoint{e}}, nil
	}
}

var errSlots = errors.New("an answer that is none")

// clusterOf reads CLUSTER SLOTS: for each range its first and last slot, then its
// nodes, the primary first: [ip or nil, port, ID, ...] (redis.io/commands/cluster-slots).
func clusterOf(ctx context.Context, c *server.Client) (Deployment, error) {
	e := c.Endpoint()
	reply, err := c.Do(ctx, "CLUSTER", "SLOTS")
	if err != nil {
		return Deployment{}, err
	}
	ranges, ok := reply.([]any)
	if !ok {
		return Deployment{}, errSlots
	}
	d := Deployment{Mode: Cluster, owners: make([]uint16, slot.Count)}
	served := make([]bool, slot.Count)
	var addresses []string
	for _, r := range ranges {
		first, last, address, err := slotRange(r, e)
		if err != nil {
			return Deployment{}, err
		}
		shard := slices.Index(addresses, address)
		if shard < 0 {
			shard = len(addresses)
			addresses = append(addresses, address)
			node := e
			node.Network, node.Address = "tcp", address
			d.Shards = append(d.Shards, node)
		}
		for s := first; s <= last; s++ {
			d.owners[s], served[s] = uint16(shard), true //nolint:gosec // a cluster has at most 16384 of them
		}
	}
	if at := slices.Index(served, false); at >= 0 {
		return Deployment{}, &DeploymentError{Server: e.Address, Reason: fmt.Sprintf("no node of the cluster serves slot %d", at),
			Hint: "see `CLUSTER NODES`; what is in a slot that nobody serves cannot be read"}
	}
	return d, nil
}

func slotRange(reply any, asked server.Endpoint) (first, last int64, address string, err error) {
	fields, ok := reply.([]any)
	if !ok || len(fields) < 3 {
		return 0, 0, "", errSlots
	}
	first, ok1 := fields[0].(int64)
	last, ok2 := fields[1].(int64)
	node, ok3 := fields[2].([]any)
	if !ok1 || !ok2 || !ok3 || first < 0 || last >= slot.Count || len(node) < 2 {
		return 0, 0, "", errSlots
	}
	host, _ := node[0].(string) // nil or empty: where the one that was asked is; "?" is unknown
	if host == "" || host == "?" {
		host = asked.Host()
	}
	port, ok := node[1].(int64)
	if !ok {
		return 0, 0, "", errSlots
	}
	return first, last, net.JoinHostPort(host, strconv.FormatInt(port, 10)), nil
}
