package migrate

import (
	"context"
	"sync/atomic"
)

// gate lets one at a time change a server's role. The keeper only tries; an
// operation of the user waits for the keeper's look to end, but never for
// another operation.
type gate struct {
	held      chan struct{} // holds one token while somebody is inside
	operation atomic.Bool
}

func newGate() *gate { return &gate{held: make(chan struct{}, 1)} }

// try enters if nobody is inside; leave with release.
func (g *gate) try() bool {
	select {
	case g.held <- struct{}{}:
		return true
	default:
		return false
	}
}

// occupy enters once nobody is inside, however long that takes; leave with release.
func (g *gate) occupy() { g.held <- struct{}{} }

func (g *gate) release() { <-g.held }

// enter lets an operation in; leave with the returned function.
func (g *gate) enter(ctx context.Context) (leave func(), err error) {
	if !g.operation.CompareAndSwap(false, true) {
		return nil, errBusy
	}
	select {
	case g.held <- struct{}{}:
		return func() { g.operation.Store(false); g.release() }, nil
	case <-ctx.Done():
		g.operation.Store(false)
		return nil, ctx.Err()
	}
}

// pause enters once nobody is inside; leave with release.
func (g *gate) pause(ctx context.Context) error {
	select {
	case g.held <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
