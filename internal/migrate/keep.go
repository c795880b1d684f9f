package migrate

import (
	"context"
	"errors"
	"time"

	"godwit/internal/cutover"
)

const (
	keepInterval = 250 * time.Millisecond
	saveInterval = 5 * time.Second
	// autoAttempts and autoPause are for --cutover auto.
	autoAttempts = 3
	autoPause    = 5 * time.Second
)

// kept is a migration as the loop sees it that watches over it.
type kept interface {
	comparer
	// tend looks at the servers once, mends what it may, and moves the phase on.
	tend(ctx context.Context) error
	// whole tells whether both sides answer.
	whole() bool

	Status() Status
	Cutover(ctx context.Context, o SwitchOptions) (SwitchResult, error)
	Complete(ctx context.Context, dryRun bool) (EndResult, error)
	Abort(ctx context.Context, dryRun bool) (EndResult, error)
}

// keep watches over a migration until it ends, and switches by itself where it was told
// to.
func (c *core) keep(ctx context.Context, m kept) error {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	var saved, nextAuto time.Time
	var last completion
	attempts := 0
	for {
		if c.operation.try() {
			over, err := c.over()
			if !over {
				err = m.tend(ctx)
			}
			c.operation.release()
			if over || err != nil {
				return err
			}
		}
		c.verifyIfDue(ctx, m)
		if c.cfg.Cutover == Auto && time.Now().After(nextAuto) && autoDue(m.Status()) {
			_, err := m.Cutover(ctx, SwitchOptions{})
			var gaveUp *cutover.GaveUpError
			if errors.As(err, &gaveUp) {
				attempts++
			}
			if attempts >= autoAttempts {
				return &GaveUpError{Err: err}
			}
			nextAuto = time.Now().Add(autoPause)
		}
		c.completeIfDue(ctx, m, &last)
		if time.Since(saved) > saveInterval {
			c.saveQuietly()
			saved = time.Now()
		}
		select {
		case <-ctx.Done():
			if over, err := c.over(); over {
				return err // an operation that had ended it was first
			}
			return c.interrupted(ctx, m)
		case err := <-c.fatal:
			return err
		case <-c.finished:
			return nil
		case <-tick.C:
		}
	}
}

// autoDue tells whether an automatic cutover should happen now.
func autoDue(s Status) bool { return s.Phase == Following && s.Ready }

// interrupted ends a Run that was told to stop. The target stays attached, so
// that the next Run goes on, unless the user wants it detached.
func (c *core) interrupted(ctx context.Context, m kept) error {
	if c.cfg.AbortOnExit && c.phaseIn(Copying, Following) {
		quiet, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*controlTimeout)
		defer cancel()
		if _, err := m.Abort(quiet, false); err != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
	return ctx.Err()
}
