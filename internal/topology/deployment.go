package topology

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"

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
		return resolveCluster(ctx, client)
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

// UnservedError says that a part of a cluster's keys cannot be read.
type UnservedError struct {
	Server string
	Slot   int // the first that no node serves
}

func (e *UnservedError) Error() string {
	return fmt.Sprintf("%s: no node of the cluster serves slot %d", e.Server, e.Slot)
}

// HintText is what the user can do about it.
func (e *UnservedError) HintText() string { return "see `CLUSTER NODES` and `CLUSTER INFO` there" }

// resolveCluster asks a node of a cluster for its primaries, in the order of
// their slots.
func resolveCluster(ctx context.Context, client *server.Client) (Deployment, error) {
	reply, err := client.Do(ctx, "CLUSTER", "SLOTS")
	if err != nil {
		return Deployment{}, err
	}
	asked := client.Endpoint()
	ranges, ok := reply.([]any)
	if !ok {
		return Deployment{}, fmt.Errorf("%s: CLUSTER SLOTS: %v is no list", asked, reply)
	}
	slices.SortFunc(ranges, func(a, b any) int { return int(firstSlot(a) - firstSlot(b)) })
	var d Deployment
	owners := make([]int, slot.Count)
	for i := range owners {
		owners[i] = -1
	}
	for _, r := range ranges {
		first, last, address, err := slotRange(r)
		if err != nil {
			return Deployment{}, fmt.Errorf("%s: CLUSTER SLOTS: %w", asked, err)
		}
		if host, port, _ := net.SplitHostPort(address); host == "" { // the node does not know its own address yet
			address = net.JoinHostPort(asked.Host(), port)
		}
		shard := slices.IndexFunc(d.Primaries, func(e server.Endpoint) bool { return e.Address == address })
		if shard < 0 {
			e := asked
			e.Network, e.Address = "tcp", address
			shard, d.Primaries = len(d.Primaries), append(d.Primaries, e)
		}
		for at := first; at <= last; at++ {
			owners[at] = shard
		}
	}
	if at := slices.Index(owners, -1); at >= 0 {
		return Deployment{}, &UnservedError{Server: asked.Address, Slot: at}
	}
	if len(d.Primaries) > 1 {
		d.Slots = func(at uint16) int { return owners[at%slot.Count] }
	}
	for _, e := range d.Primaries {
		keys, err := countKeys(ctx, e)
		if err != nil {
			return Deployment{}, err
		}
		d.Keys += keys
	}
	return d, nil
}

func firstSlot(r any) int64 {
	if fields, ok := r.([]any); ok && len(fields) > 0 {
		first, _ := fields[0].(int64)
		return first
	}
	return 0
}

// slotRange reads one range of CLUSTER SLOTS: first, last, and the nodes that have
// it, the primary first, each with its host, port and ID.
func slotRange(r any) (first, last int64, address string, err error) {
	fields, ok := r.([]any)
	if !ok || len(fields) < 3 {
		return 0, 0, "", fmt.Errorf("%v is no range", r)
	}
	first, firstOK := fields[0].(int64)
	last, lastOK := fields[1].(int64)
	node, nodeOK := fields[2].([]any)
	if !firstOK || !lastOK || !nodeOK || len(node) < 2 || first < 0 || last >= slot.Count {
		return 0, 0, "", fmt.Errorf("%v is no range", r)
	}
	host, _ := node[0].(string)
	if host == "?" {
		host = "" // not known (cluster.c clusterGenNodesSlotsInfo)
	}
	port, portOK := node[1].(int64)
	if !portOK {
		return 0, 0, "", fmt.Errorf("%v is no range", r)
	}
	return first, last, net.JoinHostPort(host, strconv.FormatInt(port, 10)), nil
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
