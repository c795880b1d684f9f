package migrate

import (
	"context"
	"fmt"
	"os"
	"sync"
)

// enter tells why there is nothing to run. Whoever runs is known by the marks that it
// leaves in the state directory.
func (c *core) enter() error {
	if c.ended == Completed {
		// A source that was freed, or restarted, is a primary again, and a service
		// that starts its old command would wipe the target with what it holds.
		return &ConflictError{Name: c.cfg.Name, From: c.head.From, To: c.head.To, Phase: Completed}
	}
	return c.mark()
}

func (c *core) mark() error {
	if err := writeMarks(c.cfg.dir(), c.cfg.To.Address); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

// life is a run, from when both ends were looked at until nothing of it is left.
type life struct {
	c      *core
	ctx    context.Context //nolint:containedctx // of what the run begins
	cancel context.CancelFunc
	wg     sync.WaitGroup

	// apart has that outlive an interruption of the run: what a switch needs, until the
	// switch has ended. Before, it is interrupted with the run.
	apart func()
}

// live begins a run, with the context of what it begins. The caller ends it.
func (c *core) live(parent context.Context) (context.Context, *life) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(parent))
	l := &life{c: c, ctx: ctx, cancel: cancel}
	stop := context.AfterFunc(parent, cancel)
	l.apart = func() { stop() }
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running, c.base, c.wg = true, ctx, &l.wg
	c.head.PID, c.head.Error, c.head.Hint = os.Getpid(), "", ""
	return ctx, l
}

// end ends a comparison and the operation under way, then what carries, in this order, and
// waits for everything else.
func (l *life) end(carriers ...func()) {
	l.c.endVerifying(l.ctx)
	l.c.operation.occupy()
	for _, stop := range carriers {
		stop()
	}
	l.c.mu.Lock()
	l.c.running = false
	l.c.mu.Unlock()
	l.apart()
	l.cancel()
	l.wg.Wait()
	l.c.operation.release()
}

// lifetime ends with the run.
func (c *core) lifetime() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.base
}
