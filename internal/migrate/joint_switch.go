package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"godwit/internal/apply"
	"godwit/internal/cutover"
	"godwit/internal/server"
)

// Cutover makes the target serve. Errors: *GaveUpError when it was given up in time; the
// source then serves as before.
func (m *Joint) Cutover(ctx context.Context, o SwitchOptions) (SwitchResult, error) {
	return m.turn(ctx, o, Target)
}

// Rollback makes the source serve again, with every write made since.
func (m *Joint) Rollback(ctx context.Context, o SwitchOptions) (SwitchResult, error) {
	return m.turn(ctx, o, Source)
}

// turn makes a side serve.
func (m *Joint) turn(ctx context.Context, o SwitchOptions, to Side) (SwitchResult, error) {
	result := SwitchResult{Direction: DirectionCutover, DryRun: o.DryRun}
	if to == Source {
		result.Direction = DirectionRollback
	}
	leave, err := m.operation.enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()
	if err := m.mayTurn(to); err != nil {
		return result, err
	}
	limits, err := m.limits(o)
	if err != nil {
		return result, err
	}
	primaries, nodes, err := m.sides[to.other()].nodes(ctx)
	defer closeAll(nodes)
	if err != nil {
		return result, err
	}
	next := &successor{m: m, direction: result.Direction, side: m.sides[to], primaries: primaries}
	if o.DryRun {
		result.Steps = steps(cutover.SeveralSteps(primaries, next, limits))
		return result, nil
	}
	if err := m.present().settled(ctx); err != nil {
		return result, err
	}
	return m.carryOut(ctx, result, next, nodes, limits)
}

// mayTurn tells why a side cannot be made the one that serves now.
func (m *Joint) mayTurn(to Side) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &m.rec
	old := m.sides[to.other()]
	switch ready, why := m.readyLocked(); {
	case !m.running:
		return hinted("start it with the same `godwit run`, then try again", "migration %s is not running", r.Name)
	case r.Primary == to && to == Target:
		return hinted("`godwit complete` ends the migration", "the target is the primary already")
	case r.Primary == to:
		return hinted("there is nothing to roll back", "the source is the primary already")
	case r.Completing:
		return hinted(completingHint, "%s", errCompleting)
	case m.cfg.Cutover == Never:
		return hinted("run it with --cutover manual", "this migration runs with --cutover never")
	case to == Source && r.Lost != "":
		return hinted(r.LostHint, "%s", r.Lost)
	case to == Source && !r.leadsBack(m.sides[Source]):
		return hinted("`godwit complete` ends the migration", "there is no way back: %s", m.planned.WayBackReason)
	case !old.found().Version.AtLeast(6, 2):
		return hinted("stop the clients yourself, then end the migration with `godwit abort`, which leaves the target with everything", "%s cannot pause writes alone, so several servers of it cannot hand over", old.found().Version)
	case m.refutedLocked() != "" && why == m.refutedLocked():
		return hinted(refutedHint, "%s", why)
	case m.unverified() != "" && why == m.unverified():
		return hinted("wait until `godwit status` says that it is ready, or go on without: the same `godwit run` without --verify", "%s", why)
	case !ready:
		return hinted("wait until `godwit status` says that it is ready", "%s", why)
	}
	return nil
}

// carryOut runs the machine between two journal entries: the intent before its first
// effect, and the outcome.
func (m *Joint) carryOut(ctx context.Context, result SwitchResult, next *successor, nodes []*server.Client, limits cutover.Limits) (SwitchResult, error) {
	defer m.interruptVerify(ctx, "a "+result.Direction)()
	r := m.record()
	old := m.sides[r.Primary]
	fence := &cutover.ACLFence{Nodes: nodes, User: old.user(), Cluster: old.isCluster(), Rules: r.Fences[old.side]}
	err := fence.Prepare(ctx, old.password)
	if err == nil {
		next.fence, err = next.side.raised(ctx, r.Fences[next.side.side], m.fenced(next.side.side))
	}
	if err != nil {
		if left := fence.Forget(ctx); left != nil {
			m.log.Debug("godwit's user may be left at some nodes until a switch", "error", left)
		}
		return result, err
	}
	defer closeAll(next.fence.Nodes)
	before := r.Phase
	if err := m.update(func(r *jointRecord) {
		r.Phase, r.Fences[old.side] = Switching, fence.Rules
		r.Switch = &switchRecord{Direction: result.Direction, Before: before, At: time.Now()}
		r.Cutover.Direction, r.Cutover.WriteStallMS = result.Direction, 0
		r.Cutover.Steps = steps(cutover.SeveralSteps(next.primaries, next, limits))
	}); err != nil {
		return result, err
	}
	m.event(slog.LevelInfo, fmt.Sprintf("%s: %s hands over to %s", result.Direction, old.address(), next.Address()))
	next.engines = m.present()
	takeBack := func(ctx context.Context) error {
		left, err := old.lifted(ctx, fence)
		return errors.Join(err, m.fenced(old.side)(left), fence.Forget(ctx))
	}
	machine := &cutover.Several{
		Old: next.primaries, New: next, Limits: limits, Fence: fence.Set, Lift: takeBack,
		Whole:   func(ctx context.Context) error { return old.noOthers(ctx, next.primaries) },
		Reverse: func(ctx context.Context) error { return m.reversed(ctx, next) },
		Observe: m.observeStep, Trace: m.traced(result.Direction),
	}
	if err := m.readAhead(next, r.progress(old)); err != nil { //nolint:contextcheck // it lives as long as Run, not as its caller
		err = errors.Join(err, takeBack(ctx))
		return m.gaveUp(result, before, &cutover.GaveUpError{Step: cutover.CatchUp, Err: err})
	}
	done, err := machine.Run(ctx)
	result.Steps, result.WriteStallMS = steps(done.Steps), float64(done.WriteStall.Microseconds())/1e3
	var gaveUp *cutover.GaveUpError
	var uncertain *cutover.UncertainError
	switch {
	case errors.As(err, &gaveUp):
		next.leave()
		return m.gaveUp(result, before, gaveUp)
	case errors.As(err, &uncertain):
		next.leave()
		// The intent stays in the journal, and the keeper settles it.
		saveErr := m.change(func(r *header) { r.Error, r.Hint = err.Error(), hintOf(err) })
		m.event(slog.LevelError, err.Error())
		return result, errors.Join(err, saveErr)
	}
	return m.turned(result, next, err), nil
}

// readAhead begins to read the side that is to serve, for the way from there to the other
// one, where there is to be one.
func (m *Joint) readAhead(next *successor, before []apply.Progress) error {
	if next.side.side == Target && (m.cfg.RollbackWindow == 0 || !m.Plan().WayBack) {
		return nil
	}
	next.ahead = m.newEngines(next.side.side, onlySettings(before))
	base := m.lifetime()
	if err := next.ahead.join(base); err != nil {
		next.ahead = nil
		return fmt.Errorf("the way back: %w", err)
	}
	return nil
}

// onlySettings is progress of which nothing is left but what is to be put back in the end.
func onlySettings(all []apply.Progress) []apply.Progress {
	left := make([]apply.Progress, len(all))
	for i, p := range all {
		left[i].Settings = p.Settings
	}
	return left
}

// gaveUp journals that a switch was given up, before its commit.
func (m *Joint) gaveUp(result SwitchResult, before Phase, gaveUp *cutover.GaveUpError) (SwitchResult, error) {
	result.Reason = gaveUp.Err.Error()
	saveErr := m.update(func(r *jointRecord) {
		r.Phase, r.Switch = before, nil
		r.Cutover.Steps, r.Cutover.WriteStallMS = result.Steps, result.WriteStallMS
	})
	m.event(slog.LevelWarn, fmt.Sprintf("%s %v", result.Direction, gaveUp))
	return result, &GaveUpError{Err: errors.Join(gaveUp, saveErr)}
}

// turned notes how a switch went that is committed.
func (m *Joint) turned(result SwitchResult, next *successor, after error) SwitchResult {
	result.Done = true
	err := m.update(func(r *jointRecord) { r.Cutover.Steps, r.Cutover.WriteStallMS = result.Steps, result.WriteStallMS })
	if after = errors.Join(after, err); after != nil {
		result.Reason = after.Error()
		m.event(slog.LevelWarn, fmt.Sprintf("%s is committed, but: %v", result.Direction, after))
	}
	m.event(slog.LevelInfo, fmt.Sprintf("%s done: %s serves; writes were stopped for %.1f ms", result.Direction, next.Address(), result.WriteStallMS))
	return result
}

// reversed carries what the side writes that serves now to the other one.
func (m *Joint) reversed(ctx context.Context, next *successor) error {
	m.mu.Lock()
	m.lags = make(map[string]*lagMeter)
	m.mu.Unlock()
	if next.ahead == nil {
		return nil
	}
	var err error
	if m.cfg.NoKill {
		err = m.sides[next.side.side.other()].unblock(ctx)
	}
	ahead := next.ahead
	next.ahead = nil
	m.start(ahead) //nolint:contextcheck // it lives as long as Run, not as its caller
	return err
}

// recover takes a switch back that a crash interrupted: its commit is an entry of the
// journal, by which there is no switch any more. What one that was committed may have left,
// a pause and godwit's own user at the side that serves, is seen to, too.
func (m *Joint) recover(ctx context.Context) error {
	r := m.record()
	old := m.sides[r.Primary]
	if r.Switch == nil {
		if m.tidied || r.Phase != Switched && r.Phase != RolledBack {
			return nil
		}
		if err := m.secondary().unpause(ctx); err != nil {
			m.log.Debug("what may be paused still", "error", err) // it ends by itself
		}
		if err := m.primary().forget(ctx, nil); err != nil {
			m.log.Debug("godwit's own user is still there", "error", err) // until the migration ends
		}
		m.tidied = true
		return nil
	}
	left, err := old.lift(ctx, r.Fences[old.side])
	if err = errors.Join(err, old.forget(ctx, nil), old.unpause(ctx)); err != nil {
		m.complain(fmt.Sprintf("the %s was interrupted before its commit, and is taken back as soon as every node of %s answers: %v", r.Switch.Direction, old.address(), err))
		return nil
	}
	m.event(slog.LevelWarn, fmt.Sprintf("the %s was interrupted before its commit; %s serves as before", r.Switch.Direction, old.address()))
	return m.update(func(rec *jointRecord) {
		delete(rec.Fences, old.side)
		if left != nil {
			rec.Fences[old.side] = left
		}
		rec.Switch, rec.Error, rec.Hint, rec.Phase = nil, "", "", r.Switch.Before
	})
}

// successor is the side that takes over, as a switch sees it.
type successor struct {
	m         *Joint
	direction string
	side      *deployment
	primaries []*server.Client  // of the other side
	engines   engines           // that have carried to it
	ahead     engines           // that will carry from it, nil for none
	fence     *cutover.ACLFence // that it has as long as it does not serve
}

// leave ends what reads ahead of the switch.
func (s *successor) leave() {
	s.ahead.leave()
}

// Address names it.
func (s *successor) Address() string { return s.side.address() }

// Command is what a step asks of it.
func (s *successor) Command(step cutover.Name) string {
	switch step {
	case cutover.CatchUp:
		return "(until it lags less than 1 MB behind every primary, and no slot is on the move)"
	case cutover.Drain:
		return "(until it has applied the last write of every primary)"
	case cutover.Promote:
		return "ACL SETUSER … (as it was: its clients may write)"
	case cutover.Reverse:
		return "PSYNC replid offset (what is written there goes to the other side, by godwit's own user)"
	default:
		return ""
	}
}

// Follows waits until it is close behind every primary.
func (s *successor) Follows(ctx context.Context) error {
	const enough = 1 << 20 // bytes
	places := make([]cutover.Place, len(s.primaries))
	at := s.m.primary().offsets(ctx, s.primaries)
	for i, c := range s.primaries {
		places[i].Offset = at[c.Endpoint().Address] - enough
	}
	return s.reach(ctx, places)
}

// Drained waits until it has everything up to these places.
func (s *successor) Drained(ctx context.Context, at []cutover.Place) error {
	s.engines.acknowledge()
	return s.reach(ctx, at)
}

// reachPoll is how often the links are looked at that are waited for.
const reachPoll = 200 * time.Microsecond

// reach waits until it has everything that the primaries have said up to some places, of
// all at one moment: a slot that changes hands is carried by one link after the other.
func (s *successor) reach(ctx context.Context, at []cutover.Place) error {
	tick := time.NewTicker(reachPoll)
	defer tick.Stop()
	for {
		why := s.missing(at)
		if why == "" {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("%s: %s", s.Address(), why)
		}
	}
}

// missing tells what it has not got yet, empty if it has all. A place without a replid is
// one of whatever the stream is by now.
func (s *successor) missing(at []cutover.Place) string {
	for _, e := range s.engines {
		if why := s.missingOf(e.View(), at); why != "" {
			return why
		}
	}
	return ""
}

// missingOf is missing of what one of several engines carries.
func (s *successor) missingOf(views []apply.View, at []cutover.Place) string {
	for i, c := range s.primaries {
		address := c.Endpoint().Address
		of := slices.IndexFunc(views, func(v apply.View) bool { return v.Source == address })
		if of < 0 {
			return address + " is not read"
		}
		switch v := views[of]; {
		case v.State != apply.Streaming:
			return fmt.Sprintf("the link from %s is %s %s", address, v.State, v.Reason)
		case v.Unsettled > 0:
			return fmt.Sprintf("%d slots are on the move", v.Unsettled)
		case at[i].ReplID != "" && v.ReplID != at[i].ReplID:
			return address + " was started again, and is not read yet"
		case v.Acked < at[i].Offset:
			return fmt.Sprintf("%d bytes of %s are missing", at[i].Offset-v.Acked, address)
		}
	}
	return ""
}

// Promote has it take writes. The other side takes none any more, and everything that it
// took is here: this entry of the journal is the commit. A node that cannot be told now
// that its users may write is told later.
func (s *successor) Promote(ctx context.Context) error {
	// Slots that have arrived within the switch lack what no command says.
	if err := s.fence.EndMoves(ctx); err != nil {
		return err
	}
	// Whatever the engine carried after that would undo what clients write, and so would
	// what it has sent already, were it read late.
	if err := s.engines.confirm(ctx); err != nil {
		return err
	}
	if why := s.m.refuted(); why != "" {
		return hinted(refutedHint, "%s", why)
	}
	s.m.stopEngine()
	if err := s.fence.Forget(ctx); err != nil {
		return err
	}
	to := s.side.side
	old := s.m.sides[to.other()]
	now := s.m.record()
	progress := onlySettings(now.progress(old))
	if s.ahead != nil {
		var err error
		if progress, err = s.ahead.stood(ctx); err != nil {
			return fmt.Errorf("the way back: %w", err)
		}
	}
	if err := s.m.update(func(r *jointRecord) {
		r.Phase = Switched
		if to == Source {
			r.Phase = RolledBack
		}
		r.Primary, r.Switch, r.Error, r.Hint = to, nil, "", ""
		r.Lost, r.LostHint = "", ""
		for i, p := range progress {
			r.setProgress(old, i, p)
		}
		r.Cutover.At = time.Now()
		r.Cutover.Switches++
		r.outdate("the two sides have changed roles")
	}); err != nil {
		return err
	}
	s.m.trace(s.direction + "-committed")
	left, err := s.side.lifted(ctx, s.fence)
	if err != nil {
		s.m.event(slog.LevelWarn, err.Error()+"; it is tried again")
	}
	if err := s.m.fenced(to)(left); err != nil { // it is lifted once more than needed
		s.m.log.Error("the journal could not be written", "error", err)
	}
	return nil
}
