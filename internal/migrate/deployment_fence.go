package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"godwit/internal/cutover"
	"godwit/internal/topology"
)

// rules are what the users of each node might do before they were refused writes, by its
// address.
type rules = map[string][]cutover.UserRules

// fence is that of all nodes. The caller closes these.
func (d *deployment) fence(ctx context.Context, r rules) (*cutover.ACLFence, error) {
	_, nodes, err := d.nodes(ctx)
	if err != nil {
		closeAll(nodes)
		return nil, err
	}
	return &cutover.ACLFence{Nodes: nodes, User: d.user(), Cluster: d.isCluster(), Rules: maps.Clone(r)}, nil
}

// raise has it refuse writes, at nodes that have joined or were started again as well.
// note makes the rules durable, where there are new ones, before any node does.
func (d *deployment) raise(ctx context.Context, r rules, note func(rules) error) error {
	f, err := d.raised(ctx, r, note)
	if err == nil {
		closeAll(f.Nodes)
	}
	return err
}

// raised is raise, with the fence, to be lifted without delay. The caller closes its
// nodes.
func (d *deployment) raised(ctx context.Context, r rules, note func(rules) error) (f *cutover.ACLFence, err error) {
	if f, err = d.fence(ctx, r); err != nil {
		return nil, err
	}
	err = f.Prepare(ctx, d.password)
	if len(f.Rules) != len(r) {
		if noteErr := note(f.Rules); noteErr != nil {
			closeAll(f.Nodes)
			return nil, errors.Join(err, noteErr)
		}
	}
	// One that is out of reach does not keep the others from being told.
	if err = errors.Join(err, f.Set(ctx), f.Unblock(ctx)); err != nil {
		closeAll(f.Nodes)
		return nil, err
	}
	return f, nil
}

// unblock ends the waiting of clients that are connected still, see cutover.ACLFence.
func (d *deployment) unblock(ctx context.Context) error {
	f, err := d.fence(ctx, nil)
	if err != nil {
		return err
	}
	defer closeAll(f.Nodes)
	return f.Unblock(ctx)
}

// introduce has all nodes know godwit's own user.
func (d *deployment) introduce(ctx context.Context) error {
	f, err := d.fence(ctx, nil)
	if err != nil {
		return err
	}
	defer closeAll(f.Nodes)
	return f.Prepare(ctx, d.password)
}

// lift has it take writes again. Those of nodes where that could not be done are returned
// with the error, nil if there are none.
func (d *deployment) lift(ctx context.Context, r rules) (left rules, err error) {
	if len(r) == 0 {
		return nil, nil
	}
	f, err := d.fence(ctx, r)
	if err != nil {
		return r, err
	}
	defer closeAll(f.Nodes)
	return d.lifted(ctx, f)
}

// lifted is lift of a fence that there is.
func (d *deployment) lifted(ctx context.Context, f *cutover.ACLFence) (left rules, err error) {
	if err = f.Lift(ctx); err != nil {
		err = fmt.Errorf("the users of %s: %w", d.address(), err)
	}
	if len(f.Rules) > 0 {
		left = f.Rules
	}
	return left, err
}

// forget deletes godwit's own user, which ends its connections.
func (d *deployment) forget(ctx context.Context) error {
	f, err := d.fence(ctx, nil)
	if err != nil {
		return err
	}
	defer closeAll(f.Nodes)
	return f.Forget(ctx)
}

// byHand are the lines that give its users their rights back, and delete godwit's own: a node
// that was away has it still.
func (d *deployment) byHand(r rules) []string {
	var lines []string
	for _, address := range slices.Sorted(maps.Keys(r)) {
		node := topology.Node{Endpoint: d.first(), Version: d.found().Version}
		node.Endpoint.Address = address
		for _, u := range r[address] {
			lines = append(lines, node.CLI(u.Restore()...))
		}
		lines = append(lines, node.CLI("ACL", "DELUSER", d.user()), node.CLI("CLIENT", "UNPAUSE"))
	}
	return lines
}
