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
	Method Method
	Old    Side
	New    Next
	Limits Limits

	ReplID string // of the stream that Old sends
	// Votes delivers the PSYNC of an Old that has demoted itself.
	Votes <-chan *psync.Peer
	// Arm sets the credentials that Old needs to connect to godwit, and notes
	// what the switch will change there. Unfence takes back the fence alone,
	// Disarm everything, when the switch is given up.
	Arm, Unfence, Disarm func(ctx context.Context) error
	// Reverse makes Old a replica of New and carries the link from then on. It is
	// called once New is promoted. leave ends the connection that Old has from
	// its vote, so that it asks again; by then the link must be there to answer.
	Reverse func(ctx context.Context, leave func()) error
	// Intact tells whether New has carried out every command that it was sent. It
	// is asked once New has applied everything.
	Intact func(ctx context.Context) error
	// Observe sees each change of a step; nil for no one.
	Observe func(Step)
	// Trace is called before and after each step, for tests that kill the process there; nil otherwise.
	Trace func(point string)

	progress
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
	m.start(Steps(m.Method, m.Old, m.New, m.Limits), m.Observe, m.Trace)
	// Both stops are bounded, so a cancelled caller does not cut a switch in half.
	err := m.run(context.WithoutCancel(ctx))
	return Result{Steps: m.steps, WriteStall: m.stall}, err
}

func (m *Machine) run(ctx context.Context) error {
	if err := m.step(Arm, func() error { return m.Arm(ctx) }); err != nil {
		return m.disarm(ctx, Arm, err)
	}
	if err := m.step(CatchUp, func() error { return m.catchUp(ctx) }); err != nil {
		return m.disarm(ctx, CatchUp, err)
	}
	m.forgetVotes()
	ctx, cancel := context.WithTimeout(ctx, m.Limits.MaxPause)
	defer cancel()
	stopPolling := m.poll(ctx)
	defer stopPolling()

	vote, name, err := m.pauseAndDemote(ctx)
	stopPolling()
	ctx = context.WithoutCancel(ctx)
	if err != nil {
		return m.retreat(ctx, name, vote, err)
	}
	leave := func() {
		if vote != nil {
			_ = vote.Close() // Old is a replica, and asks again
		}
	}
	if err := m.step(Promote, func() error { return m.New.Promote(ctx) }); err != nil {
		leave()
		var uncertain *UncertainError
		if errors.As(err, &uncertain) {
			return err
		}
		return m.retreat(ctx, Promote, nil, err)
	}
	return m.finish(ctx, leave)
}

// finish is everything after the commit. It cannot be taken back: Old must
// follow New, however long that takes. Nothing is held back any more: Old
// refuses writes and New takes them.
func (m *Machine) finish(ctx context.Context, leave func()) error {
	m.resumed()
	var err error
	if m.Method == Fence {
		// Before the clients are killed: over TLS that would end this connection
		// unnoticed, and a replica refuses writes without the fence.
		err = m.step(Unfence, func() error { return m.Unfence(ctx) })
	}
	return errors.Join(err, m.kill(ctx),
		m.step(Reverse, func() error { return m.Reverse(ctx, leave) }))
}

// kill makes the clients of Old connect again; most libraries then find the new primary.
func (m *Machine) kill(ctx context.Context) error {
	if m.Limits.NoKill {
		return nil
	}
	return m.step(Kill, func() error {
		if _, err := m.Old.Client.Do(ctx, "CLIENT", "KILL", "TYPE", "normal"); err != nil {
			return err
		}
		m.Old.Client.Renew(ctx) // it has ended connections of ours, too
		return nil
	})
}

// disarm gives a switch up before it has stopped anything: what Old is doing
// is not this switch's to end.
func (m *Machine) disarm(ctx context.Context, at Name, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, retreatTimeout)
	defer cancel()
	return &GaveUpError{Step: at, Err: errors.Join(cause, m.Disarm(ctx))}
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
		hint := fmt.Sprintf("make %s a writable primary again: FAILOVER ABORT where a failover is in progress, REPLICAOF NO ONE where it is a replica", m.Old.address())
		if isGone(err) {
			hint = fmt.Sprintf("once %s is back godwit brings this to its end by itself; if it is lost for good, %s has what it had sent: send REPLICAOF NO ONE there", m.Old.address(), m.New.Address())
		}
		return &UncertainError{Step: at, Err: fmt.Errorf("%w; and taking it back failed: %w", cause, err), Hint: hint}
	}
	return &GaveUpError{Step: at, Err: cause}
}

// goneAfter is how long nothing may listen at a server before it is given up
// for now: a process that a supervisor starts again is often back by then.
const goneAfter = time.Second

// isGone tells whether nothing listens where the server was. It is another
// process when it comes back, and no switch is under way there.
func isGone(err error) bool {
	var conn *server.ConnError
	return errors.As(err, &conn) && conn.Op == "dial"
}

// Release makes a server whose switch was not committed a writable primary,
// whichever step it is in, and waits until it is one, or until nothing has
// listened there for a second: then the error is a *server.ConnError.
func Release(ctx context.Context, c *server.Client) error {
	var gone time.Time // since when nothing listens there
	for {
		// What the switch sent and had no answer to must not come after this.
		err := c.EndOthers(ctx)
		var info server.Info
		if err == nil {
			info, err = c.Info(ctx, "replication")
		}
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
		switch {
		case ctx.Err() != nil && err != nil:
			return err
		case ctx.Err() != nil:
			return ctx.Err()
		case !isGone(err):
			gone = time.Time{}
		case gone.IsZero():
			gone = time.Now()
		case time.Since(gone) > goneAfter:
			return err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
