package apply

import (
	"context"
	"errors"
)

// errand is something to be done by the dispatcher, between two commands.
type errand struct {
	do   func(context.Context) error
	done chan error
}

// between has the dispatcher do something between two commands, and waits until it has.
// What it returns is what do does; an error ends the dispatcher as well.
func (d *dispatcher) between(ctx context.Context, do func(context.Context) error) error {
	e := errand{do, make(chan error, 1)}
	select {
	case d.errands <- e: // there is room for one
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	d.lost.raise()
	select {
	case err := <-e.done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// errand does one, if there is any: the stream goes on before the next one.
func (d *dispatcher) errand(ctx context.Context) error {
	select {
	case e := <-d.errands:
		err := e.do(ctx)
		e.done <- err
		return err
	default:
		return nil
	}
}

// errNotNow says that a link does not carry its stream at present.
var errNotNow = errors.New("the link is broken")

// running is a dispatcher as long as it is at work.
type running struct {
	ctx     context.Context //nolint:containedctx // the dispatcher's own
	d       *dispatcher
	cluster bool // the target is one
	end     context.CancelCauseFunc
}
