package apply

import (
	"context"
	"errors"
	"sync"
	"time"
)

// errand is something that a dispatcher does for another between two commands.
type errand struct {
	do   func(ctx context.Context, d *dispatcher) error
	done chan error // takes what do returned
}

// bell wakes a dispatcher that waits for its source.
type bell struct {
	mu     sync.Mutex
	rung   bool
	cancel context.CancelFunc
}

// until is a context that is done when the bell is rung, or has been.
func (b *bell) until(ctx context.Context) (context.Context, context.CancelFunc) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ctx, b.cancel = context.WithCancel(ctx)
	if b.rung {
		b.cancel()
	}
	return ctx, b.cancel
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.rung = true
	if b.cancel != nil {
		b.cancel()
	}
}

// answered is called before one looks what it was rung for.
func (b *bell) answered() {
	b.mu.Lock()
	b.rung = false
	b.mu.Unlock()
}

// errNotNow says that a dispatcher did not get round to an errand.
var errNotNow = errors.New("the link is busy, or broken")

// ask has the link's dispatcher do something between two commands, and waits for its
// end. It is errNotNow if that has not begun within a while.
func (l *Link) ask(ctx context.Context, within time.Duration, do func(ctx context.Context, d *dispatcher) error) error {
	x := &errand{do: do, done: make(chan error, 1)}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case l.errands <- x:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.bell.ring()
	select {
	case err := <-x.done:
		return err
	case <-timer.C:
	case <-ctx.Done():
	}
	select {
	case <-l.errands:
		return errors.Join(ctx.Err(), errNotNow)
	case err := <-x.done: // it has begun
		return err
	}
}

// attend does what others have asked for. An error ends the stream: it goes on from
// where the target stands.
func (d *dispatcher) attend(ctx context.Context) error {
	if d.inside {
		return nil // the rest of the transaction comes at once
	}
	d.bell.answered()
	select {
	case x := <-d.errands:
		err := x.do(ctx, d)
		x.done <- err
		return err
	default:
		return nil
	}
}

// next waits for more of the stream, or for an errand: then it is nothing.
func (d *dispatcher) next(ctx context.Context, position int64) ([]byte, error) {
	if _, end := d.in.spool.Range(); end > position || d.inside {
		return d.in.next(ctx, position)
	}
	waiting, stop := d.bell.until(ctx)
	defer stop()
	chunk, err := d.in.next(waiting, position)
	if err != nil && ctx.Err() == nil && waiting.Err() != nil {
		return nil, nil
	}
	return chunk, err
}
