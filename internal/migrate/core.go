package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"godwit/internal/plan"
	"godwit/internal/server"
)

// core is what every migration has, whatever its engine.
type core struct {
	cfg     Config
	log     *slog.Logger
	journal *journal
	source  *end

	// operation is held by whoever changes a server's role: an operation of the
	// user, or the keeper.
	operation *gate

	fatal    chan error    // what a link could not go on from
	finished chan struct{} // closed when complete or abort is done

	// ended is how the migration ended that the journal held before this one,
	// between the same servers; empty when it held none.
	ended Phase

	mu          sync.Mutex
	head        *header      // of the record; guarded by mu
	persist     func() error // makes the record durable; mu is held
	running     bool
	subscribers map[chan Event]struct{}

	base         context.Context //nolint:containedctx // of Run: what an operation starts lives as long as it
	wg           *sync.WaitGroup // likewise
	verifying    *verifying      // the comparison under way, nil for none
	verifyBarred int             // by how many none may begin
	verifyNext   time.Time       // before which none begins by itself
}

func newCore(c Config, log *slog.Logger, j *journal, head *header) core {
	return core{
		cfg: c, log: log, journal: j, head: head,
		operation: newGate(), fatal: make(chan error, 1), finished: make(chan struct{}),
		subscribers: make(map[chan Event]struct{}),
	}
}

// change changes what is journaled and makes it durable; where that fails it is as
// before. f must not alter in place what the header points to.
func (c *core) change(f func(*header)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := *c.head
	f(c.head)
	err := c.persist()
	if err != nil {
		*c.head = before
	}
	return err
}

func (c *core) saveQuietly() {
	if err := c.change(func(*header) {}); err != nil {
		c.log.Error("the journal could not be written", "error", err)
	}
}

// setPhase is the one place where a phase changes, but for a switch, which journals
// more with it.
func (c *core) setPhase(p Phase) error {
	return c.change(func(r *header) {
		if r.Phase != p {
			c.log.Info("phase", "from", string(r.Phase), "to", string(p))
		}
		r.Phase = p
	})
}

// goOn sets the phase of a migration that has failed, and is run again.
func (c *core) goOn() error {
	if !c.phaseIn(Failed) {
		return nil
	}
	return c.change(func(r *header) { r.Phase = r.settled() })
}

// noteEnd journals how a run has ended, and returns its error.
func (c *core) noteEnd(ctx context.Context, err error) error {
	if err == nil || ctx.Err() != nil {
		c.saveQuietly()
		return err
	}
	var refused *plan.RefusedError
	var gaveUp *GaveUpError
	var conflict *ConflictError
	var taken *TakenError
	switch {
	case errors.As(err, &refused), errors.As(err, &conflict), errors.As(err, &taken): // nothing was begun
	case errors.As(err, &gaveUp): // the source serves as before, and a later run goes on
		c.saveQuietly()
	default:
		c.fail(err)
	}
	return err
}

// finishAs journals the end of a migration, and ends its run.
func (c *core) finishAs(p Phase, result EndResult, text string) (EndResult, error) {
	if err := c.change(func(r *header) { r.Phase, r.Error, r.Hint, r.Completing = p, "", "", false }); err != nil {
		return result, err
	}
	c.event(slog.LevelInfo, text)
	for _, note := range result.Notes {
		c.event(slog.LevelInfo, note)
	}
	c.saveQuietly()
	result.Done = true
	close(c.finished)
	return result, nil
}

// fail notes why a migration cannot go on by itself.
func (c *core) fail(err error) {
	hint := hintOf(err)
	if hint == "" {
		hint = "mend the cause, then the same `godwit run` goes on"
	}
	if saveErr := c.change(func(r *header) {
		r.Phase, r.Error, r.Hint = Failed, err.Error(), hint
	}); saveErr != nil {
		c.log.Error("the journal could not be written", "error", saveErr)
	}
	c.event(slog.LevelError, err.Error())
}

// keepEvents is how many events the journal and the status hold.
const keepEvents = 200

// event tells the log, the subscribers and the status what happened.
func (c *core) event(level slog.Level, text string) {
	e := Event{At: time.Now(), Level: map[slog.Level]string{slog.LevelWarn: "warn", slog.LevelError: "error"}[level], Text: text}
	if e.Level == "" {
		e.Level = "info"
	}
	switch level {
	case slog.LevelError:
		c.log.Error(text)
	case slog.LevelWarn:
		c.log.Warn(text)
	default:
		c.log.Info(text)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head.Events = append(c.head.Events, e)
	if extra := len(c.head.Events) - keepEvents; extra > 0 {
		c.head.Events = append([]Event(nil), c.head.Events[extra:]...)
	}
	for s := range c.subscribers {
		select {
		case s <- e:
		default: // a reader that does not keep up finds it in the status
		}
	}
}

// Subscribe delivers events as they happen, until cancel is called.
func (c *core) Subscribe() (events <-chan Event, cancel func()) {
	s := make(chan Event, 64)
	c.mu.Lock()
	c.subscribers[s] = struct{}{}
	c.mu.Unlock()
	return s, func() {
		c.mu.Lock()
		delete(c.subscribers, s)
		c.mu.Unlock()
	}
}

// phase is the present one.
func (c *core) phase() Phase {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head.Phase
}

func (c *core) phaseIn(phases ...Phase) bool {
	p := c.phase()
	for _, x := range phases {
		if p == x {
			return true
		}
	}
	return false
}

// over tells whether an operation or the link has ended the migration. What
// the servers look like after that is nobody else's hand.
func (c *core) over() (bool, error) {
	select {
	case <-c.finished:
		return true, nil
	case err := <-c.fatal:
		return true, err
	default:
		return false, nil
	}
}

// nothingBegun tells why a migration has nothing to end, nil when it has.
func (c *core) nothingBegun(target string) error {
	if !c.phaseIn(Planned) {
		return nil
	}
	switch c.ended {
	case Completed:
		return hinted("nothing of godwit's is left at the servers", "migration %s was completed already: %s is the primary", c.cfg.Name, target)
	case Aborted:
		return hinted("nothing of godwit's is left at the servers", "migration %s was aborted already", c.cfg.Name)
	}
	return hinted("`godwit run` begins it", "migration %s has changed nothing yet, so there is nothing to end", c.cfg.Name)
}

// tendFollower gives a replica that follows already, as after a restart of
// godwit, credentials that the listener knows.
func (c *core) tendFollower(ctx context.Context, replica *end) error {
	replica.mu.Lock()
	known := replica.password != "" || replica.open
	replica.mu.Unlock()
	if known {
		return nil
	}
	if err := c.arm(ctx, replica); err != nil {
		c.event(slog.LevelWarn, fmt.Sprintf("%s: %v", replica.address(), err))
	}
	return nil
}

// wasOurs tells whether a replica points at a listener of an earlier run.
func (c *core) wasOurs(info server.Info) bool {
	was := net.JoinHostPort(info["master_host"], info["master_port"])
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head.Announced[c.head.Primary.other()] == was
}

// attach makes a server a replica of the listener.
func (c *core) attach(ctx context.Context, e *end) error {
	if err := c.arm(ctx, e); err != nil {
		return err
	}
	if err := c.announceTo(e); err != nil {
		return err
	}
	host, port := e.announced()
	_, err := e.client.Do(ctx, "REPLICAOF", host, port)
	return err
}
