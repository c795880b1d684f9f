package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/apply"
	"godwit/internal/command"
	"godwit/internal/plan"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// deployment is one side of a migration as a whole: a standalone server, several of them,
// or a cluster.
//
// As long as the other side serves, every node of it refuses the writes of all users but
// godwit's own, by which an engine is connected, as a target that is a replica does by
// itself: a client that writes there too early would make the two differ, and one that
// is told of the switch may be there before the switch is.
type deployment struct {
	side      Side
	endpoints []server.Endpoint // any node of a cluster, or each standalone server
	migration string            // its name
	ours      func() time.Time
	password  string // of godwit's own user, of this run

	mu      sync.Mutex
	cluster bool
	node    topology.Node // as the rules of a plan look at it, see plan.Together
	clocks  map[string]*clock
	seen    shardsSeen
	reached string   // address of the node of a cluster that is asked, empty for the one of the URL
	known   []string // addresses of all nodes of a cluster
	// unmovable is why slots cannot be moved at once, see setUnmovable; toSay if nobody was
	// told yet.
	unmovable, toSay string
}

// shardsSeen are the primaries as they were last seen.
type shardsSeen struct {
	addresses    []string
	keys, memory int64
	unreachable  string
}

func newDeployment(s Side, c Config, endpoints ...server.Endpoint) *deployment {
	return &deployment{
		side: s, endpoints: endpoints, migration: c.Name, ours: c.Now, password: newPassword(), clocks: make(map[string]*clock),
	}
}

// first is by what it is called.
func (d *deployment) first() server.Endpoint { return d.endpoints[0] }

// address names it in what is shown.
func (d *deployment) address() string {
	var all []string
	for _, e := range d.endpoints {
		all = append(all, e.Address)
	}
	return strings.Join(all, ", ")
}

// url is its URLs without passwords.
func (d *deployment) url() string { return urls(d.endpoints) }

func urls(endpoints []server.Endpoint) string {
	var all []string
	for _, e := range endpoints {
		all = append(all, e.String())
	}
	return strings.Join(all, " ")
}

// user is by which godwit writes to it while it takes no one else's writes.
func (d *deployment) user() string { return "godwit:" + d.migration }

// own is its entry, by that user.
func (d *deployment) own() server.Endpoint { return d.asOwn(d.entry()) }

// asOwn is a server of it, by that user.
func (d *deployment) asOwn(e server.Endpoint) server.Endpoint {
	e.Username, e.Password = d.user(), d.password
	return e
}

// owns are all that it is written to by: of a cluster its entry, else each server, by that
// user.
func (d *deployment) owns() []server.Endpoint {
	if len(d.endpoints) == 1 {
		return []server.Endpoint{d.own()}
	}
	own := slices.Clone(d.endpoints)
	for i := range own {
		own[i] = d.asOwn(own[i])
	}
	return own
}

// atNode does something at a node, by the user that godwit was given.
func (d *deployment) atNode(address string, do func(*server.Client) error) error {
	e := d.first()
	for _, known := range d.endpoints {
		if known.Address == address {
			e = known
		}
	}
	e.Address = address
	c, err := server.New(e, d.clientName())
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	return do(c)
}

func (d *deployment) clientName() string { return "godwit:" + d.migration }

// inspect finds out what there is: its primaries, and the map of a cluster.
func (d *deployment) inspect(ctx context.Context) (primaries []topology.Node, cluster *topology.ClusterMap, err error) {
	found, err := d.resolve(ctx)
	if err != nil {
		return nil, nil, err
	}
	if found.Cluster != nil && len(d.endpoints) > 1 {
		return nil, nil, hinted("a cluster is one source: give any one node of it", "%s is of a cluster, and one of several sources", d.first().Address)
	}
	asked := d.endpoints
	if found.Cluster != nil {
		asked = nil
		for _, s := range found.Cluster.Shards() {
			if len(s.Primary.Slots) > 0 {
				asked = append(asked, s.Primary.Endpoint)
			}
		}
		if len(asked) == 0 {
			return nil, nil, found.Cluster.Served()
		}
	}
	for _, i := range topology.InspectAll(ctx, asked, d.clientName(), len(asked)) {
		if i.Err != nil {
			return nil, nil, i.Err
		}
		primaries = append(primaries, i.Node)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cluster, d.node = found.Cluster != nil, plan.Together(primaries)
	d.seen = shardsSeen{}
	for _, n := range primaries {
		d.seen.addresses = append(d.seen.addresses, n.Endpoint.Address)
		d.seen.keys += n.Keys()
		d.seen.memory += n.Memory.Used
	}
	slices.Sort(d.seen.addresses)
	return primaries, found.Cluster, nil
}

// found is what inspect found.
func (d *deployment) found() topology.Node {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.node
}

func (d *deployment) isCluster() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cluster
}

// look asks what there is by now, and how much it holds.
func (d *deployment) look(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	var seen shardsSeen
	var failed error
	for _, e := range d.endpoints {
		resolve := d.resolve
		if len(d.endpoints) > 1 {
			resolve = func(ctx context.Context) (topology.Deployment, error) { return topology.Resolve(ctx, e) }
		}
		r, err := resolve(ctx)
		if failed = err; failed != nil {
			break
		}
		seen.keys += r.Keys
		for _, p := range r.Primaries {
			seen.addresses = append(seen.addresses, p.Address)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if failed != nil {
		d.seen.unreachable = failed.Error()
		return
	}
	seen.memory = d.seen.memory
	d.seen = seen
}

// down tells why it cannot be asked, empty if it can.
func (d *deployment) down() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.seen.unreachable
}

// status is what is shown of it.
func (d *deployment) status() ServerStatus {
	d.mu.Lock()
	defer d.mu.Unlock()
	role := "primary"
	switch {
	case d.cluster:
		role = fmt.Sprintf("cluster of %d", len(d.seen.addresses))
	case len(d.endpoints) > 1:
		role = fmt.Sprintf("%d servers", len(d.endpoints))
	}
	return ServerStatus{
		URL: d.url(), Version: d.node.Version.String(), Role: role,
		Keys: d.seen.keys, UsedMemory: d.seen.memory, Unreachable: d.seen.unreachable,
	}
}

// standalone is a server of it as an engine reads it. Versions before 7.0 say TTLs
// relative to their own clock, see setClocks.
func (d *deployment) standalone(e server.Endpoint) apply.Source {
	d.mu.Lock()
	defer d.mu.Unlock()
	c, known := d.clocks[e.Address]
	if !known {
		c = &clock{ours: d.ours}
		d.clocks[e.Address] = c
	}
	return apply.Source{Endpoint: e, Capabilities: d.node.Capabilities(), Version: number(d.node.Version), Now: c.now}
}

// describe is standalone for a primary of a cluster.
func (d *deployment) describe(ctx context.Context, e server.Endpoint) (apply.Source, error) {
	s := d.standalone(e)
	return s, d.setClocks(ctx, e)
}

// setClocks asks servers for their time, where TTLs go by it.
func (d *deployment) setClocks(ctx context.Context, servers ...server.Endpoint) error {
	if !command.SaysRelativeTTLs(d.found().Capabilities().Version) {
		return nil
	}
	for _, e := range servers {
		d.mu.Lock()
		c := d.clocks[e.Address]
		d.mu.Unlock()
		if c == nil { // promoted since: its link goes by the clock of the primary before it
			continue
		}
		client, err := server.Dial(ctx, e, d.clientName())
		if err != nil {
			return err
		}
		err = c.set(ctx, client)
		_ = client.Close() // nothing was left unsent
		if err != nil {
			return err
		}
	}
	return nil
}

// nodes are clients of its primaries, and of all its nodes. The caller closes all.
func (d *deployment) nodes(ctx context.Context) (primaries, all []*server.Client, err error) {
	if len(d.endpoints) == 1 {
		found, err := d.resolve(ctx)
		if err != nil {
			return nil, nil, err
		}
		if found.Cluster != nil {
			return d.clusterNodes(found.Cluster)
		}
	}
	for _, e := range d.endpoints {
		client, err := server.New(e, d.clientName())
		if err != nil {
			return all, all, err
		}
		all = append(all, client)
	}
	return all, all, nil
}

func (d *deployment) clusterNodes(c *topology.ClusterMap) (primaries, all []*server.Client, err error) {
	for _, s := range c.Shards() {
		for i, n := range append([]topology.ClusterNode{s.Primary}, s.Replicas...) {
			if n.Health == topology.Failed {
				continue
			}
			client, err := server.New(n.Endpoint, d.clientName())
			if err != nil {
				return primaries, all, err
			}
			all = append(all, client)
			if i == 0 && len(n.Slots) > 0 {
				primaries = append(primaries, client)
			}
		}
	}
	return primaries, all, nil
}

func closeAll(clients []*server.Client) {
	for _, c := range clients {
		_ = c.Close() // nothing was left unsent
	}
}

// unpause ends what a switch may have left paused.
func (d *deployment) unpause(ctx context.Context) error {
	primaries, nodes, err := d.nodes(ctx)
	defer closeAll(nodes)
	if err != nil {
		return err
	}
	var failed []error
	for _, c := range primaries {
		_, err := c.Do(ctx, "CLIENT", "UNPAUSE")
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// noOthers tells of a cluster's primary that has slots and is none of these: whoever got a
// slot, or was promoted, since they were found.
func (d *deployment) noOthers(ctx context.Context, primaries []*server.Client) error {
	if !d.isCluster() {
		return nil
	}
	now, others, err := d.nodes(ctx)
	defer closeAll(others)
	if err != nil {
		return err
	}
	for _, c := range now {
		address := c.Endpoint().Address
		if !slices.ContainsFunc(primaries, func(p *server.Client) bool { return p.Endpoint().Address == address }) {
			return fmt.Errorf("%s has slots by now, which it had not when the switch began", address)
		}
	}
	return nil
}

// offsets are where the primaries stand, by their addresses, of those that answer.
func (d *deployment) offsets(ctx context.Context, clients []*server.Client) map[string]int64 {
	all := make([]int64, len(clients))
	var group errgroup.Group
	for i, c := range clients {
		group.Go(func() error {
			info, err := c.Info(ctx, "replication")
			if all[i] = info.Int("master_repl_offset"); err != nil || info["role"] != "master" {
				all[i] = -1
			}
			return nil
		})
	}
	_ = group.Wait() // none of them fails
	at := make(map[string]int64, len(clients))
	for i, c := range clients {
		if all[i] >= 0 {
			at[c.Endpoint().Address] = all[i]
		}
	}
	return at
}
