package topology

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"godwit/internal/server"
)

// ReadCluster reads the map of the cluster that the server at e belongs to: what that
// node says, then what all the primaries say that it names. Those that do not answer
// have Answered false; it fails only when the server at e does not answer or is of no
// cluster, with an error of server.Client. Whether every slot has an owner is for the
// caller to ask: ClusterMap.Served. The user, the password and TLS of e are those for
// all nodes.
func ReadCluster(ctx context.Context, e server.Endpoint) (*ClusterMap, error) {
	w, err := WatchCluster(ctx, e)
	if err != nil {
		return nil, err
	}
	return w.Cluster(), w.Close()
}

// ClusterWatcher follows a cluster through slot moves and failovers. It asks only
// when it is told to, and runs no goroutine by itself. It is safe for concurrent use:
// who asks while another does waits for that, and then asks again.
type ClusterWatcher struct {
	asking  sync.Mutex // guards all below but now
	name    naming
	named   bool
	members map[string]*member // by address
	turn    int                // which primary Refresh asks next

	now atomic.Pointer[ClusterMap]
}

// WatchCluster does what ReadCluster does, and is ready to follow the cluster.
func WatchCluster(ctx context.Context, e server.Endpoint) (*ClusterWatcher, error) {
	w := &ClusterWatcher{name: naming{as: e}, members: make(map[string]*member)}
	w.now.Store(&ClusterMap{})
	if _, _, err := w.Reread(ctx); err != nil {
		return nil, errors.Join(err, w.Close())
	}
	return w, nil
}

// Close ends the connections to the nodes.
func (w *ClusterWatcher) Close() error {
	w.asking.Lock()
	defer w.asking.Unlock()
	return w.keepOnly(nil)
}

// Cluster is the map as it was read last.
func (w *ClusterWatcher) Cluster() *ClusterMap { return w.now.Load() }

// Refresh is the cheap look, as often as once a second: one node is asked, another
// primary each time, and where it does not answer the next one. Only if it says
// anything else than the map, or slots are on the move, all primaries are asked as by
// Reread. It returns the map that is valid now and what is different from the one
// before. It fails, and the map stays as it was, if no node answers: *NoNodeError.
func (w *ClusterWatcher) Refresh(ctx context.Context) (*ClusterMap, ClusterDiff, error) {
	w.asking.Lock()
	defer w.asking.Unlock()
	before := w.now.Load()
	endpoints := w.reachable(before)
	if len(before.Moves) == 0 && len(endpoints) > 0 {
		w.turn++
		e := endpoints[w.turn%len(endpoints)]
		a, err := w.ask(ctx, e)
		if err == nil && before.agrees(a, w.name) {
			return before, ClusterDiff{}, nil
		}
	}
	return w.reread(ctx)
}

// Reread asks all primaries, at once. It is for when a server has said what does not
// agree with the map: MOVED, ASK, CLUSTERDOWN, READONLY, or nothing at all. Right
// after such an answer nodes may still disagree (of a failover they hear within
// tenths of a second), so a caller asks again where the map is no help yet. Results
// and errors are as of Refresh.
func (w *ClusterWatcher) Reread(ctx context.Context) (*ClusterMap, ClusterDiff, error) {
	w.asking.Lock()
	defer w.asking.Unlock()
	return w.reread(ctx)
}

// rounds is how often nodes are asked that were just heard of: the primaries that are
// known, where none of them answers all the others, then the primaries that these
// name, and those that only these know.
const rounds = 4

func (w *ClusterWatcher) reread(ctx context.Context) (*ClusterMap, ClusterDiff, error) {
	before := w.now.Load()
	tried := make(map[string]bool)
	untried := func(endpoints []server.Endpoint) []server.Endpoint {
		return slices.DeleteFunc(endpoints, func(e server.Endpoint) bool { return tried[e.Address] })
	}
	var answers []answer
	var failures []error
	fresh, next := &ClusterMap{}, w.reachable(before)
	for range rounds {
		if next = untried(next); len(next) == 0 && len(answers) == 0 {
			next = untried(w.others(before))
		}
		for _, e := range next {
			tried[e.Address] = true
		}
		heard, failed := w.askAll(ctx, next)
		answers, failures = append(answers, heard...), append(failures, failed...)
		if len(answers) == 0 {
			next = nil
			continue
		}
		for _, a := range heard {
			w.named = w.named || w.name.learnNaming(a.slots, a.view)
		}
		fresh = merge(oncePerNode(answers), w.name)
		next = w.reachable(fresh)
	}
	if len(answers) == 0 {
		return before, ClusterDiff{}, noNode(failures)
	}
	w.now.Store(fresh)
	var keep []server.Endpoint
	for _, n := range fresh.Nodes {
		keep = append(keep, n.Endpoint)
	}
	diff := before.Compare(fresh)
	return fresh, diff, w.keepOnly(append(keep, w.name.as))
}

// oncePerNode leaves out what a node has said at another of its addresses.
func oncePerNode(answers []answer) []answer {
	seen := make(map[string]bool)
	var once []answer
	for _, a := range answers {
		if id := a.view.myself().id; !seen[id] {
			seen[id] = true
			once = append(once, a)
		}
	}
	return once
}

// reachable are the primaries that are worth asking.
func (w *ClusterWatcher) reachable(c *ClusterMap) []server.Endpoint {
	var endpoints []server.Endpoint
	for _, n := range c.Nodes {
		if n.Role == Primary && n.Address != "" && n.Health != Failed && !n.Handshake {
			endpoints = append(endpoints, n.Endpoint)
		}
	}
	return endpoints
}

// others are all other nodes, and the one that was asked first.
func (w *ClusterWatcher) others(c *ClusterMap) []server.Endpoint {
	endpoints := []server.Endpoint{w.name.as}
	for _, n := range c.Nodes {
		if n.Address != "" {
			endpoints = append(endpoints, n.Endpoint)
		}
	}
	slices.SortStableFunc(endpoints, func(a, b server.Endpoint) int { return strings.Compare(a.Address, b.Address) })
	return slices.CompactFunc(endpoints, func(a, b server.Endpoint) bool { return a.Address == b.Address })
}

// askedAtOnce is how many nodes are asked at the same time.
const askedAtOnce = 16

// askAll asks nodes at the same time, and returns the answers in their order.
func (w *ClusterWatcher) askAll(ctx context.Context, endpoints []server.Endpoint) ([]answer, []error) {
	members := make([]*member, len(endpoints))
	answers, failures := make([]answer, len(endpoints)), make([]error, len(endpoints))
	for i, e := range endpoints {
		members[i], failures[i] = w.member(e)
	}
	var group errgroup.Group
	group.SetLimit(askedAtOnce)
	for i, m := range members {
		if failures[i] == nil {
			group.Go(func() error {
				answers[i], failures[i] = m.ask(ctx, !w.named)
				return nil
			})
		}
	}
	_ = group.Wait() // they leave their errors in failures
	answers = slices.DeleteFunc(answers, func(a answer) bool { return a.view == nil })
	return answers, slices.DeleteFunc(failures, func(err error) bool { return err == nil })
}

func (w *ClusterWatcher) ask(ctx context.Context, e server.Endpoint) (answer, error) {
	m, err := w.member(e)
	if err != nil {
		return answer{}, err
	}
	return m.ask(ctx, false)
}

// member is the connection to a node, made when it is first used.
func (w *ClusterWatcher) member(e server.Endpoint) (*member, error) {
	if m, ok := w.members[e.Address]; ok {
		return m, nil
	}
	client, err := server.New(e, "")
	if err != nil {
		return nil, err
	}
	m := &member{client: client}
	w.members[e.Address] = m
	return m, nil
}

// keepOnly ends the connections to all other nodes.
func (w *ClusterWatcher) keepOnly(endpoints []server.Endpoint) error {
	var errs []error
	for address, m := range w.members {
		if !slices.ContainsFunc(endpoints, func(e server.Endpoint) bool { return e.Address == address }) {
			delete(w.members, address)
			errs = append(errs, m.client.Close())
		}
	}
	return errors.Join(errs...)
}

// NoNodeError says that no node of a cluster answers.
type NoNodeError struct {
	Asked int
	Err   error // of each of them
}

// noNode is the error of nodes that do not answer: that of the only one, or a
// *NoNodeError.
func noNode(failures []error) error {
	if len(failures) == 1 {
		return failures[0]
	}
	return &NoNodeError{Asked: len(failures), Err: errors.Join(failures...)}
}

func (e *NoNodeError) Error() string {
	return fmt.Sprintf("none of the cluster's %d nodes answers: %s", e.Asked, strings.ReplaceAll(e.Err.Error(), "\n", "; "))
}

func (e *NoNodeError) Unwrap() error { return e.Err }

// HintText is what the user can do about it.
func (e *NoNodeError) HintText() string {
	return "see that they run, and that the addresses the cluster names can be reached from here"
}
