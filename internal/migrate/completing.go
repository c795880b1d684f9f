package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// A complete begins with letting go of the old side, and nobody can tell afterwards from
// looking at it whether that was godwit's hand or somebody else's. So it is journaled
// before, and from then on nothing is attached any more and no switch begins: what fails
// of it, because a server is away or refuses a command for a moment, is done again until
// all of it is.

// completeAgain is how long after one that failed.
const completeAgain = 5 * time.Second

// beginCompleting journals that the migration is being completed.
func (c *core) beginCompleting() error {
	return c.change(func(r *header) { r.Completing = true })
}

// completing tells whether a complete was begun that has not ended yet.
func (c *core) completing() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head.Completing
}

// errCompleting is why no switch begins any more.
var errCompleting = errors.New("the migration is being completed")

const completingHint = "`godwit status` tells what that waits for; to go back afterwards, begin a migration in the other direction"

// completion is what the keeper remembers of completing by itself.
type completion struct {
	next time.Time // not before
	told string    // what was said last of why it failed
}

// completeIfDue completes the migration when its rollback window has passed, and one whose
// end was begun.
func (c *core) completeIfDue(ctx context.Context, m kept, last *completion) {
	c.mu.Lock()
	since, phase, begun := c.head.Cutover.At, c.head.Phase, c.head.Completing
	c.mu.Unlock()
	over := c.cfg.RollbackWindow >= 0 && phase == Switched && time.Since(since) >= c.cfg.RollbackWindow &&
		m.whole() // a server that is away for a moment is waited for
	if !begun && !over || time.Now().Before(last.next) {
		return
	}
	_, err := m.Complete(ctx, false)
	if err == nil || errors.Is(err, errBusy) || ctx.Err() != nil {
		return
	}
	last.next = time.Now().Add(completeAgain)
	if text := err.Error(); text != last.told {
		last.told = text
		c.event(slog.LevelWarn, fmt.Sprintf("the migration could not be completed, which is tried again: %v", err))
	}
}
