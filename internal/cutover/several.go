package cutover

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/server"
)

// Successor is what takes over from several primaries.
type Successor interface {
	// Address names it.
	Address() string
	// Command is what the step sends to it, or what it is asked, as for redis-cli.
	Command(step Name) string
	// Follows says why it cannot take over now, and waits until it is close behind.
	Follows(ctx context.Context) error
	// Drained waits until it has applied what each of the primaries had written at
	// these places.
	Drained(ctx context.Context, at []Place) error
	// Promote has it take writes: the commit, as in Next.
	Promote(ctx context.Context) error
}

// Place is one of a primary's stream.
type Place struct {
	ReplID string
	Offset int64
}

// Several carries out a switch from the primaries of a cluster: pause all, drain all,
// fence all, commit; any failure before the commit releases all. All fields must be
// set unless they say otherwise.
type Several struct {
	Old    []*server.Client
	New    Successor
	Limits Limits

	// Fence has every node of the old side refuse its clients' writes, and outlives
	// godwit; Lift takes that back, and whatever was prepared for it.
	Fence, Lift func(ctx context.Context) error
	// Whole sees, once all are fenced, that nobody else has taken writes on the old side
	// since Old were found.
	Whole func(ctx context.Context) error
	// Reverse carries what New is written back to the old side. It is called once New
	// is promoted.
	Reverse func(ctx context.Context) error
	Observe func(Step)         // sees each change of a step; nil for no one
	Trace   func(point string) // as in Machine

	progress
}

// SeveralSteps is what such a switch will do, in order.
func SeveralSteps(old []*server.Client, next Successor, limits Limits) []Step {
	where := fmt.Sprintf("%d primaries", len(old))
	if len(old) == 1 {
		where = old[0].Endpoint().Address
	}
	planned := func(name Name, server, command string) Step {
		return Step{Name: name, Server: server, Command: command, State: Planned}
	}
	kill := planned(Kill, where, "CLIENT KILL TYPE normal")
	if limits.NoKill {
		kill.State = Skipped
	}
	return []Step{
		planned(CatchUp, next.Address(), next.Command(CatchUp)),
		planned(Pause, where, fmt.Sprintf("CLIENT PAUSE %d WRITE; INFO replication", pauseFor(limits).Milliseconds())),
		planned(Drain, next.Address(), next.Command(Drain)),
		planned(Demote, where, "ACL SETUSER … -@write (each user; as it was when the migration ends)"),
		planned(Promote, next.Address(), next.Command(Promote)),
		planned(Unpause, where, "CLIENT UNPAUSE"),
		kill,
		planned(Reverse, next.Address(), next.Command(Reverse)),
	}
}

// pauseFor is longer than the switch may take, so that it is never the pause's end
// that lets a write through before the fence or the release is there.
func pauseFor(l Limits) time.Duration { return l.MaxPause + 2*retreatTimeout }

// Run carries out the switch. Errors are those of Machine.Run.
func (s *Several) Run(ctx context.Context) (Result, error) {
	s.start(SeveralSteps(s.Old, s.New, s.Limits), s.Observe, s.Trace)
	// It is bounded, so a cancelled caller does not cut a switch in half.
	err := s.run(context.WithoutCancel(ctx))
	return Result{Steps: s.steps, WriteStall: s.stall}, err
}

func (s *Several) run(ctx context.Context) error {
	if err := s.step(CatchUp, func() error { return s.catchUp(ctx) }); err != nil {
		return s.retreat(ctx, CatchUp, err)
	}
	bounded, cancel := context.WithTimeout(ctx, s.Limits.MaxPause)
	defer cancel()
	var places []Place
	s.stopped = time.Now()
	err := s.step(Pause, func() (err error) {
		places, err = s.pause(bounded)
		return err
	})
	if err != nil {
		return s.retreat(ctx, Pause, err)
	}
	if err := s.step(Drain, func() error { return s.New.Drained(bounded, places) }); err != nil {
		return s.retreat(ctx, Drain, err)
	}
	if err := s.step(Demote, func() error { return s.demote(bounded, places) }); err != nil {
		return s.retreat(ctx, Demote, err)
	}
	if err := s.step(Promote, func() error { return s.New.Promote(ctx) }); err != nil {
		var uncertain *UncertainError
		if errors.As(err, &uncertain) {
			return err
		}
		return s.retreat(ctx, Promote, err)
	}
	s.resumed()
	err = s.step(Unpause, func() error { return s.each(ctx, unpause) })
	if !s.Limits.NoKill {
		err = errors.Join(err, s.step(Kill, func() error { return s.each(ctx, kill) }))
	}
	return errors.Join(err, s.step(Reverse, func() error { return s.Reverse(ctx) }))
}

func (s *Several) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	return s.New.Follows(ctx)
}

// pause stops the writes of all primaries, and returns where each of them stands
// then. A pause also holds keys that expire and that are evicted (server.c
// activeExpireCycle, from 6.2 on).
func (s *Several) pause(ctx context.Context) ([]Place, error) {
	milliseconds := pauseFor(s.Limits).Milliseconds()
	if err := s.each(ctx, func(ctx context.Context, c *server.Client) error {
		_, err := c.Do(ctx, "CLIENT", "PAUSE", milliseconds, "WRITE")
		return err
	}); err != nil {
		return nil, err
	}
	return s.places(ctx)
}

// places are where the primaries stand.
func (s *Several) places(ctx context.Context) ([]Place, error) {
	places := make([]Place, len(s.Old))
	err := s.each(ctx, func(ctx context.Context, c *server.Client) error {
		info, err := c.Info(ctx, "replication")
		if err == nil && info["role"] != "master" {
			err = fmt.Errorf("%s is not a primary any more", c.Endpoint().Address)
		}
		places[slices.Index(s.Old, c)] = Place{info["master_replid"], info.Int("master_repl_offset")}
		return err
	})
	return places, err
}

// demote fences all, and sees that nothing was written since the drain but what the
// primaries say by themselves. One that was started again has lost its pause, and has
// another replid.
func (s *Several) demote(ctx context.Context, drained []Place) error {
	if err := s.Fence(ctx); err != nil {
		return err
	}
	var now []Place
	g, within := errgroup.WithContext(ctx)
	g.Go(func() error { return s.Whole(within) })
	g.Go(func() (err error) {
		now, err = s.places(within)
		return err
	})
	if err := g.Wait(); err != nil || slices.Equal(now, drained) {
		return err
	}
	for i, c := range s.Old {
		if now[i].ReplID != drained[i].ReplID {
			return fmt.Errorf("%s was started again meanwhile", c.Endpoint().Address)
		}
	}
	return s.New.Drained(ctx, now) // a PING, or a write that was under way
}

func unpause(ctx context.Context, c *server.Client) error {
	_, err := c.Do(ctx, "CLIENT", "UNPAUSE")
	return err
}

func kill(ctx context.Context, c *server.Client) error {
	if _, err := c.Do(ctx, "CLIENT", "KILL", "TYPE", "normal"); err != nil {
		return err
	}
	c.Renew(ctx) // it has ended connections of ours, too
	return nil
}

// retreat has all primaries take writes again.
func (s *Several) retreat(ctx context.Context, at Name, cause error) error {
	ctx, cancel := context.WithTimeout(ctx, retreatTimeout)
	defer cancel()
	err := s.Lift(ctx)
	if !s.stopped.IsZero() {
		for _, c := range s.Old { // one that is out of reach does not keep the others waiting
			err = errors.Join(err, unpause(ctx, c))
		}
	}
	s.resumed()
	if err != nil {
		return &UncertainError{Step: at, Err: fmt.Errorf("%w; and taking it back failed: %w", cause, err),
			Hint: "at every primary of the cluster: CLIENT UNPAUSE, and ACL SETUSER as it was; godwit tries again by itself as long as it runs"}
	}
	return &GaveUpError{Step: at, Err: cause}
}

// each does something at all primaries at once.
func (s *Several) each(ctx context.Context, do func(context.Context, *server.Client) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range s.Old {
		g.Go(func() error { return do(ctx, c) })
	}
	return g.Wait()
}
