package sandbox

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/server"
	"godwit/internal/slot"
)

// SlotRange is hash slots, both ends included.
type SlotRange struct{ First, Last uint16 }

func (r SlotRange) String() string {
	if r.First == r.Last {
		return strconv.Itoa(int(r.First))
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// view is how one node sees the cluster.
type view struct {
	node         *node
	self         nodeLine
	lines        map[string]nodeLine // by node ID, its own too
	state        string              // "ok" or "fail"
	currentEpoch int64
	linkUp       bool // of a replica: it has its primary's data
}

// nodeLine is a line of CLUSTER NODES (cluster.c clusterGenNodeDescription).
type nodeLine struct {
	id        string
	flags     []string
	primary   string // ID, empty for a primary
	epoch     int64
	connected bool
	slots     []SlotRange
}

func (l nodeLine) has(flag string) bool { return slices.Contains(l.flags, flag) }

func (l nodeLine) serves(at uint16) bool {
	return slices.ContainsFunc(l.slots, func(r SlotRange) bool { return r.First <= at && at <= r.Last })
}

// parseNodeLine reads "ID host:port@bus flags primary ping pong epoch link slot ...".
// Slots that move, in brackets, are left out: they still belong to who lists them.
func parseNodeLine(text string) (nodeLine, error) {
	const slotsAt = 8
	fields := strings.Fields(text)
	if len(fields) < slotsAt {
		return nodeLine{}, fmt.Errorf("CLUSTER NODES: %q has %d fields", text, len(fields))
	}
	l := nodeLine{id: fields[0], flags: strings.Split(fields[2], ","), connected: fields[7] == "connected"}
	if fields[3] != "-" {
		l.primary = fields[3]
	}
	var err error
	if l.epoch, err = strconv.ParseInt(fields[6], 10, 64); err != nil {
		return nodeLine{}, fmt.Errorf("CLUSTER NODES: %q: %w", text, err)
	}
	for _, field := range fields[slotsAt:] {
		if strings.HasPrefix(field, "[") {
			continue
		}
		first, last, isRange := strings.Cut(field, "-")
		if !isRange {
			last = first
		}
		from, errFirst := strconv.ParseUint(first, 10, 14)
		to, errLast := strconv.ParseUint(last, 10, 14)
		if err := errors.Join(errFirst, errLast); err != nil {
			return nodeLine{}, fmt.Errorf("CLUSTER NODES: %q: %w", text, err)
		}
		l.slots = append(l.slots, SlotRange{uint16(from), uint16(to)})
	}
	return l, nil
}

func (n *node) view(ctx context.Context) (*view, error) {
	text, err := n.client.Text(ctx, "CLUSTER", "NODES")
	if err != nil {
		return nil, err
	}
	v := &view{node: n, lines: make(map[string]nodeLine)}
	for line := range strings.Lines(text) {
		l, err := parseNodeLine(line)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Address(), err)
		}
		v.lines[l.id] = l
		if l.has("myself") {
			v.self = l
		}
	}
	if text, err = n.client.Text(ctx, "CLUSTER", "INFO"); err != nil {
		return nil, err
	}
	info := server.ParseInfo(text)
	v.state, v.currentEpoch = info["cluster_state"], info.Int("cluster_current_epoch")
	if v.self.primary == "" {
		return v, nil
	}
	replication, err := n.client.Info(ctx, "replication")
	if err != nil {
		return nil, err
	}
	v.linkUp = replication["master_link_status"] == "up"
	return v, nil
}

// views are those of all nodes that run.
func (c *Cluster) views(ctx context.Context) ([]*view, error) {
	var running []*node
	for _, n := range c.all() {
		if n.Running() {
			running = append(running, n)
		}
	}
	views := make([]*view, len(running))
	group, ctx := errgroup.WithContext(ctx)
	for i, n := range running {
		group.Go(func() (err error) {
			views[i], err = n.view(ctx)
			return err
		})
	}
	return views, group.Wait()
}

// settlePoll is how often nodes are asked whether they agree.
const settlePoll = 25 * time.Millisecond

// await asks again and again until there is no error.
func (c *Cluster) await(ctx context.Context, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	ticker := time.NewTicker(settlePoll)
	defer ticker.Stop()
	for {
		err := check(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-ticker.C:
		}
	}
}

// Settle waits until all running nodes agree about each other's roles and slots, all
// slots are served and every replica has its primary's data.
func (c *Cluster) Settle(ctx context.Context) error {
	err := c.await(ctx, func(ctx context.Context) error {
		views, err := c.views(ctx)
		if err != nil {
			return err
		}
		return agreed(views)
	})
	if err != nil {
		return fmt.Errorf("the cluster does not agree: %w", err)
	}
	return nil
}

// agreed gives the first thing that the nodes do not agree about, or that is not as
// it should be.
func agreed(views []*view) error {
	var served [slot.Count]bool
	for _, v := range views {
		if v.self.primary != "" {
			continue
		}
		for _, r := range v.self.slots {
			for at := int(r.First); at <= int(r.Last); at++ {
				if served[at] {
					return fmt.Errorf("two primaries claim slot %d", at)
				}
				served[at] = true
			}
		}
	}
	if at := slices.Index(served[:], false); at >= 0 {
		return fmt.Errorf("no node serves slot %d", at)
	}
	for _, v := range views {
		if v.state != "ok" {
			return fmt.Errorf("cluster_state of %s is %s", v.node.Address(), v.state)
		}
		if v.self.primary != "" && !v.linkUp {
			return fmt.Errorf("replica %s has no link to its primary", v.node.Address())
		}
		for _, other := range views {
			line, ok := v.lines[other.self.id]
			switch {
			case !ok || line.has("handshake"):
				return fmt.Errorf("%s does not know %s", v.node.Address(), other.node.Address())
			case line.has("fail") || line.has("fail?") || other != v && !line.connected:
				return fmt.Errorf("%s cannot reach %s", v.node.Address(), other.node.Address())
			case line.primary != other.self.primary:
				return fmt.Errorf("%s is wrong about the role of %s", v.node.Address(), other.node.Address())
			case other.self.primary == "" && !slices.Equal(line.slots, other.self.slots):
				return fmt.Errorf("%s is wrong about the slots of %s", v.node.Address(), other.node.Address())
			}
		}
	}
	return nil
}

// primaryView is that of a shard's primary: of several running nodes that take
// themselves for one, which is so for a moment after a failover, the one with the
// greatest config epoch.
func (c *Cluster) primaryView(ctx context.Context, shard int) (*view, error) {
	nodes, err := c.shard(shard)
	if err != nil {
		return nil, err
	}
	var found *view
	for _, n := range nodes {
		if !n.Running() {
			continue
		}
		v, err := n.view(ctx)
		if err != nil {
			return nil, err
		}
		if v.self.primary == "" && (found == nil || v.self.epoch > found.self.epoch) {
			found = v
		}
	}
	if found == nil {
		return nil, fmt.Errorf("no running node of shard %d is a primary", shard)
	}
	return found, nil
}

func (c *Cluster) primaryViews(ctx context.Context) ([]*view, error) {
	views := make([]*view, c.Shards())
	for i := range views {
		var err error
		if views[i], err = c.primaryView(ctx, i); err != nil {
			return nil, err
		}
	}
	return views, nil
}

// Primary is the server that is a shard's primary now.
func (c *Cluster) Primary(ctx context.Context, shard int) (*Server, error) {
	v, err := c.primaryView(ctx, shard)
	if err != nil {
		return nil, err
	}
	return v.node.Server, nil
}

// Slots are those that a shard's primary says are its own.
func (c *Cluster) Slots(ctx context.Context, shard int) ([]SlotRange, error) {
	v, err := c.primaryView(ctx, shard)
	if err != nil {
		return nil, err
	}
	return v.self.slots, nil
}

// Owner is the number of the shard that serves a slot.
func (c *Cluster) Owner(ctx context.Context, at uint16) (int, error) {
	views, err := c.primaryViews(ctx)
	if err != nil {
		return 0, err
	}
	return owner(views, at)
}

// owner is the one of those that claim a slot whose config epoch is the greatest, as
// the nodes themselves decide it (cluster.c clusterUpdateSlotsConfigWith).
func owner(primaries []*view, at uint16) (int, error) {
	found := -1
	for i, v := range primaries {
		if v.self.serves(at) && (found < 0 || v.self.epoch > primaries[found].self.epoch) {
			found = i
		}
	}
	if found < 0 {
		return 0, fmt.Errorf("no primary serves slot %d", at)
	}
	return found, nil
}
