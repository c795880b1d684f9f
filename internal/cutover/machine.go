package cutover

import (
	"context"
	"errors"
	"fmt"
	"time"

	"godwit/internal/psync"
	"godwit/internal/server"
)

// Machine carries out one switch. All fields must be set unless they say otherwise.
type Machine struct {
	Method   Method
	Old, New Side
	Limits   Limits

	// ReplID is that of the stream that Old sends and New follows.
	ReplID string
	// Votes delivers the PSYNC of an Old that has demoted itself.
	Votes <-chan *psync.Peer
	// Acknowledge tells Old what New has applied.
	Acknowledge func(offset int64)
	// Arm sets the credentials that Old needs to connect to godwit, and notes
	// what the switch will change there. Unfence takes back the fence alone,
	// Disarm everything, when the switch is given up.
	Arm, Unfence, Disarm func(ctx context.Context) error
	// Reverse makes Old a replica of New: it puts Old's question to New,
	// answers it and carries the link from then on. It is called once New is
	// promoted; old is nil where Old has yet to connect.
	Reverse func(ctx context.Context, old *psync.Peer) error
	// Observe sees each change of a step; nil for no one.
	Observe func(Step)
	// Trace is called before and after each step, for tests that kill the process there; nil otherwise.
	Trace func(point string)

	steps   []Step
	stopped time.Time     // when writes were stopped
	stall   time.Duration // for how long
}

// Result is how a switch went.
type Result struct {
	Steps      []Step
	WriteStall time.Duration // writes were stopped for so long, as seen from godwit
}

// GaveUpError says that the switch was given up and the old primary serves as before.
type GaveUpError struct {
	Step Name
	Err  error
}

func (e *GaveUpError) Error() string {
	return fmt.Sprintf("given up at step %s: %v; the old primary serves as before", e.Step, e.Err)
}
func (e *GaveUpError) Unwrap() error { return e.Err }

// UncertainError says that godwit cannot know which side accepts writes.
type UncertainError struct {
	Step Name
	Err  error
	Hint string
}

func (e *UncertainError) Error() string {
	return fmt.Sprintf("stopped at step %s: %v", e.Step, e.Err)
}
func (e *UncertainError) Unwrap() error { return e.Err }

// HintText is what the operator should look at.
func (e *UncertainError) HintText() string { return e.Hint }

// retreatTimeout bounds the way back to the old primary; it does not depend on
// the caller's context, because leaving half a switch behind would be worse.
const retreatTimeout = 10 * time.Second

// Run carries out the switch. Errors: *GaveUpError, the old primary serves as
// before; *UncertainError, a person must look; otherwise the switch is done,
// and an error tells of something after the commit that did not work.
func (m *Machine) Run(ctx context.Context) (Result, error) {
	m.steps = Steps(m.Method, m.Old, m.New, m.Limits)
	// Both stops are bounded, so a cancelled caller does not cut a switch in half.
	err := m.run(context.WithoutCancel(ctx))
	return Result{Steps: m.steps, WriteStall: m.stall}, err
}

func (m *Machine) run(ctx context.Context) error {
	if err := m.step(Arm, func() error { return m.Arm(ctx) }); err != nil {
		return m.retreat(ctx, Arm, nil, err)
	}
	if err := m.step(CatchUp, func() error { return m.catchUp(ctx) }); err != nil {
		return m.retreat(ctx, CatchUp, nil, err)
	}
	m.forgetVotes()
	ctx, cancel := context.WithTimeout(ctx, m.Limits.MaxPause)
	defer cancel()
	stopPolling := m.poll(ctx)
	defer stopPolling()

	vote, name, err := m.pauseAndDemote(ctx)
	if err != nil {
		stopPolling()
		return m.retreat(context.WithoutCancel(ctx), name, vote, err)
	}
	stopPolling()
	if err := m.step(Promote, func() error { return m.promote(ctx) }); err != nil {
		var uncertain *UncertainError
		if errors.As(err, &uncertain) {
			if vote != nil {
				_ = vote.Close() // it stays a paused replica that asks again
			}
			return err
		}
		return m.retreat(context.WithoutCancel(ctx), Promote, vote, err)
	}
	return m.finish(context.WithoutCancel(ctx), vote)
}

// finish is everything after the commit. It cannot be taken back: Old must
// follow New, however long that takes.
func (m *Machine) finish(ctx context.Context, vote *psync.Peer) error {
	if m.Method == Fence {
		// Nothing is held back: Old refuses writes and New takes them.
		m.resumed()
		return errors.Join(m.kill(ctx),
			m.step(Reverse, func() error { return m.Reverse(ctx, nil) }),
			m.step(Unfence, func() error { return m.Unfence(ctx) }))
	}
	err := m.step(Reverse, func() error { return m.Reverse(ctx, vote) })
	if err == nil {
		m.resumed()
	}
	return errors.Join(err, m.kill(ctx))
}

// kill makes the clients of Old connect again; most libraries then find the new primary.
func (m *Machine) kill(ctx context.Context) error {
	if m.Limits.NoKill {
		return nil
	}
	return m.step(Kill, func() error {
		_, err := m.Old.Client.Do(ctx, "CLIENT", "KILL", "TYPE", "normal")
		return err
	})
}

// promote makes New a primary. An error means that New is still a replica.
func (m *Machine) promote(ctx context.Context) error {
	_, err := m.New.Client.Do(ctx, "REPLICAOF", "NO", "ONE")
	if err == nil {
		return nil
	}
	var refused *server.Error
	if errors.As(err, &refused) {
		return err
	}
	// The connection failed, so the command may have been carried out. Only New knows.
	for {
		info, infoErr := m.New.Client.Info(ctx, "replication")
		switch {
		case infoErr == nil && info["role"] == "master":
			return nil
		case infoErr == nil:
			return err
		case ctx.Err() != nil:
			return &UncertainError{Step: Promote, Err: fmt.Errorf("%s does not answer, and may have been promoted: %w", m.New.address(), err),
				Hint: fmt.Sprintf("see INFO replication on %s: if its role is master, run godwit again and it finishes the switch; if it is slave or the server is lost, send FAILOVER ABORT (or REPLICAOF NO ONE) to %s",
					m.New.address(), m.Old.address())}
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
		}
	}
}

// retreat makes Old a writable primary again, whatever was done to it, and
// sees that it is one.
func (m *Machine) retreat(ctx context.Context, at Name, vote *psync.Peer, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, retreatTimeout)
	defer cancel()
	if vote != nil {
		_ = vote.Refuse("the switch was given up") // FAILOVER rolls back on it; the check below tells
		_ = vote.Close()                           // likewise
	}
	err := Release(ctx, m.Old.Client)
	if err == nil {
		err = m.Disarm(ctx)
	}
	m.resumed()
	if err != nil {
		return &UncertainError{Step: at, Err: errors.Join(cause, fmt.Errorf("and taking it back failed: %w", err)),
			Hint: fmt.Sprintf("make %s a writable primary again: FAILOVER ABORT where a failover is in progress, REPLICAOF NO ONE where it is a replica", m.Old.address())}
	}
	return &GaveUpError{Step: at, Err: cause}
}

// Release makes a server whose switch was not committed a writable primary,
// whichever step it is in, and waits until it is one.
func Release(ctx context.Context, c *server.Client) error {
	for {
		info, err := c.Info(ctx, "replication")
		if err == nil {
			switch state := info["master_failover_state"]; {
			case state != "" && state != "no-failover":
				_, err = c.Do(ctx, "FAILOVER", "ABORT")
			case info["role"] == "slave":
				_, err = c.Do(ctx, "REPLICAOF", "NO", "ONE")
			default:
				return nil
			}
		}
		if ctx.Err() != nil {
			return errors.Join(err, ctx.Err())
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// step runs one step and shows it.
func (m *Machine) step(name Name, do func() error) error {
	m.trace(name, "before")
	i := 0
	for m.steps[i].Name != name {
		i++
	}
	s := &m.steps[i]
	s.State = Running
	m.observe(*s)
	began := time.Now()
	err := do()
	s.Took, s.Err, s.State = time.Since(began), err, Done
	if err != nil {
		s.State = Broken
	}
	m.observe(*s)
	m.trace(name, "after")
	return err
}

func (m *Machine) observe(s Step) {
	if m.Observe != nil {
		m.Observe(s)
	}
}

func (m *Machine) trace(name Name, when string) {
	if m.Trace != nil {
		m.Trace(string(name) + "-" + when)
	}
}
