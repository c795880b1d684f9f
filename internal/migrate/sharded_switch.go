package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/apply"
	"godwit/internal/cutover"
	"godwit/internal/psync"
	"godwit/internal/topology"
)

// Cutover makes the cluster the primary. Errors: *GaveUpError when it was given up in
// time; the source then serves as before.
func (m *Sharded) Cutover(ctx context.Context, o SwitchOptions) (SwitchResult, error) {
	result := SwitchResult{Direction: DirectionCutover, DryRun: o.DryRun}
	leave, err := m.operation.enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()
	if err := m.maySwitch(); err != nil {
		return result, err
	}
	limits, err := m.limits(o)
	if err != nil {
		return result, err
	}
	if err := m.source.inspect(ctx); err != nil {
		return result, err
	}
	method := cutover.Failover
	if m.source.found().Permissions.Refused(topology.Failover) { // before 6.2 it is missing
		method = cutover.Fence
	}
	if o.DryRun {
		result.Steps = steps(cutover.Steps(method, m.sourceSide(), &cluster{m: m}, limits))
		return result, nil
	}
	if err := settled(ctx, m.present()); err != nil {
		return result, err
	}
	return m.carryOut(ctx, result, method, limits)
}

// settled sees that the slots of the side that is to serve stay where they are.
func settled(ctx context.Context, e *apply.Engine) error {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	if err := e.Settled(ctx); err != nil {
		return hinted("wait until `godwit status` says that it is ready", "%w", err)
	}
	return nil
}

// limits are those of a switch.
func (c *core) limits(o SwitchOptions) (cutover.Limits, error) {
	l := cutover.Limits{MaxPause: c.cfg.MaxPause, NoKill: c.cfg.NoKill || o.NoKill}
	if o.MaxPauseMS != 0 {
		if l.MaxPause = time.Duration(o.MaxPauseMS) * time.Millisecond; o.MaxPauseMS < 10 || o.MaxPauseMS > 60_000 {
			return l, hinted("use 10ms to 1m", "max pause of %d ms", o.MaxPauseMS)
		}
	}
	return l, nil
}

// maySwitch tells why a cutover is not possible in the present phase.
func (m *Sharded) maySwitch() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &m.rec
	switch ready, why := m.readyLocked(); {
	case !m.running:
		return hinted("start it with the same `godwit run`, then try again", "migration %s is not running", r.Name)
	case r.Primary == Target:
		return hinted("`godwit complete` ends the migration", "the target is the primary already")
	case m.cfg.Cutover == Never:
		return hinted("run it with --cutover manual", "this migration runs with --cutover never")
	case m.unverified() != "" && why == m.unverified():
		return hinted("wait until `godwit status` says that it is ready, or go on without: the same `godwit run` without --verify", "%s", why)
	case !ready:
		return hinted("wait until `godwit status` says that it is ready", "%s", why)
	}
	return nil
}

func (m *Sharded) sourceSide() cutover.Side {
	host, port := m.source.announced()
	return cutover.Side{Client: m.source.client, AnnounceHost: host, AnnouncePort: port}
}

// carryOut runs the machine between two journal entries: the intent before its first
// effect, and the outcome.
func (m *Sharded) carryOut(ctx context.Context, result SwitchResult, method cutover.Method, limits cutover.Limits) (SwitchResult, error) {
	defer m.interruptVerify(ctx, "a "+result.Direction)()
	engine := m.present()
	replid := engine.View()[0].ReplID
	next := &cluster{m: m, engine: engine}
	defer next.close()
	before := m.phase()
	err := m.update(func(r *shardedRecord) {
		r.Phase = Switching
		r.Switch = &switchRecord{Direction: result.Direction, Method: string(method), ReplID: replid, Before: before, At: time.Now()}
		r.Cutover.Direction, r.Cutover.WriteStallMS = result.Direction, 0
		r.Cutover.Steps = steps(cutover.Steps(method, m.sourceSide(), next, limits))
	})
	if err != nil {
		return result, err
	}
	m.event(slog.LevelInfo, fmt.Sprintf("%s: %s hands over to the cluster at %s", result.Direction, m.source.address(), m.cfg.To.Address))
	votes := make(chan *psync.Peer, 4)
	m.setVotes(votes)
	defer m.setVotes(nil)
	machine := &cutover.Machine{
		Method: method, Old: m.sourceSide(), New: next, Limits: limits, ReplID: replid, Votes: votes,
		Arm: func(ctx context.Context) (err error) {
			if err := errors.Join(m.armOld(ctx, method, m.source), m.beginBack(ctx)); err != nil {
				return err
			}
			next.fence, err = m.cluster.raised(ctx, m.fenced(), m.noteFence) // at nodes that have joined since
			return err
		},
		Unfence: func(ctx context.Context) error { return m.restore(ctx, m.source, minReplicasToWrite) },
		Disarm: func(ctx context.Context) error {
			return errors.Join(m.restore(ctx, m.source), m.leaveBack())
		},
		Reverse: m.reverse,
		// A shard tells of each command that it refuses, but not of what it has lost as a whole,
		// and slots that have arrived within the switch lack what no command says.
		Intact: func(ctx context.Context) error {
			if err := next.fence.EndMoves(ctx); err != nil {
				return err
			}
			group, ctx := errgroup.WithContext(ctx)
			group.Go(func() error { return engine.Confirm(ctx) })
			group.Go(func() error { return m.markBack(ctx, apply.Stand{ReplID: replid, Offset: engine.View()[0].Acked}) })
			return group.Wait()
		},
		Observe: m.observeStep, Trace: m.traced(result.Direction),
	}
	r, err := machine.Run(ctx)
	result.Steps, result.WriteStallMS = steps(r.Steps), float64(r.WriteStall.Microseconds())/1e3
	return m.concluded(ctx, result, Target, before, err)
}

// concluded journals how a switch to a side has ended, from a phase to which it goes
// back if it was given up.
func (m *Sharded) concluded(ctx context.Context, result SwitchResult, to Side, before Phase, err error) (SwitchResult, error) {
	var gaveUp *cutover.GaveUpError
	var uncertain *cutover.UncertainError
	switch {
	case errors.As(err, &gaveUp):
		result.Reason = gaveUp.Err.Error()
		saveErr := m.update(func(r *shardedRecord) {
			r.Phase, r.Switch = before, nil
			r.Cutover.Steps, r.Cutover.WriteStallMS = result.Steps, result.WriteStallMS
		})
		m.event(slog.LevelWarn, fmt.Sprintf("%s %v", result.Direction, gaveUp))
		return result, &GaveUpError{Err: errors.Join(err, saveErr)}
	case errors.As(err, &uncertain):
		// The intent stays in the journal, and the keeper settles it.
		saveErr := m.change(func(r *header) { r.Error, r.Hint = err.Error(), hintOf(err) })
		m.event(slog.LevelError, err.Error())
		return result, errors.Join(err, saveErr)
	}
	return m.switched(ctx, result, to, err)
}

// switched journals a committed switch. after is what did not work after the commit.
func (m *Sharded) switched(ctx context.Context, result SwitchResult, to Side, after error) (SwitchResult, error) {
	result.Done = true
	phase, serves := Switched, "the cluster at "+m.cfg.To.Address
	if to == Source {
		phase, serves = RolledBack, m.source.address()
	}
	err := m.update(func(r *shardedRecord) {
		r.Phase, r.Primary, r.Switch, r.Error, r.Hint = phase, to, nil, "", ""
		if result.Steps != nil {
			r.Cutover.Steps, r.Cutover.WriteStallMS = result.Steps, result.WriteStallMS
		}
		r.Cutover.At = time.Now()
		r.Cutover.Switches++
		r.outdate("the servers have changed roles")
	})
	if err == nil && to == Source {
		err = m.restore(ctx, m.source) // a primary needs nothing of what made it a replica
	}
	for _, e := range []error{after, err} {
		if e != nil {
			result.Reason = e.Error()
			m.event(slog.LevelWarn, fmt.Sprintf("%s is committed, but: %v", result.Direction, e))
		}
	}
	if _, err := m.source.look(ctx); err != nil {
		m.log.Debug("looking at the source after the switch", "error", err) // the keeper looks again
	}
	m.saveQuietly()
	m.event(slog.LevelInfo, fmt.Sprintf("%s done: %s serves; writes were stopped for %.1f ms", result.Direction, serves, result.WriteStallMS))
	return result, nil
}

func (m *Sharded) setVotes(c chan *psync.Peer) {
	m.mu.Lock()
	votes := m.votes
	m.votes = c
	m.mu.Unlock()
	for votes != nil {
		select {
		case p := <-votes:
			putOff(p)
		default:
			return
		}
	}
}

// putOff has a replica ask again in a second. Redis 6.0 forgets where it stands when
// it is refused, or its connection ends without an answer.
func putOff(p *psync.Peer) {
	_ = p.Defer("godwit is not ready to go on from there") // it asks again in any case
	_ = p.Close()                                          // likewise
}

// cluster is a target as a switch sees it.
type cluster struct {
	m      *Sharded
	engine *apply.Engine
	fence  *cutover.ACLFence // once it is armed
}

func (c *cluster) close() {
	if c.fence != nil {
		closeAll(c.fence.Nodes)
	}
}

// Address names it.
func (c *cluster) Address() string { return c.m.cfg.To.Address }

// Command is what a step asks of it.
func (c *cluster) Command(step cutover.Name) string {
	switch step {
	case cutover.CatchUp:
		return "(until every shard lags less than 1 MB, and the old primary lists godwit as online)"
	case cutover.Drain:
		return "(until every shard has applied the old primary's last write; each answer is ACKed to it)"
	case cutover.Arm:
		return "ACL SETUSER … -@write (each user but godwit's, where that is not so yet)"
	case cutover.Promote:
		return "ACL SETUSER … (as it was: its clients may write)"
	default:
		return ""
	}
}

// Follows is how far its shards are, together.
func (c *cluster) Follows(ctx context.Context) (int64, error) {
	if v := c.engine.View()[0]; v.State != apply.Streaming {
		return 0, fmt.Errorf("the engine is %s %s", v.State, v.Reason)
	}
	return c.Applied(ctx)
}

// Applied is likewise. The source ends the engine's connection when it is demoted; what
// the shards have is true all the same.
func (c *cluster) Applied(context.Context) (int64, error) { return c.engine.View()[0].Acked, nil }

// Acknowledge tells the source what it has.
func (c *cluster) Acknowledge(context.Context) { c.engine.Acknowledge() }

// Promote has the shards take writes. The source takes none any more, and never will by
// itself. Whatever the engine carries by value after that would undo what clients write.
func (c *cluster) Promote(ctx context.Context) error {
	c.m.stopEngine()
	if err := c.fence.Forget(ctx); err != nil { // so that nothing is carried out late
		c.m.log.Warn("what was sent to the cluster may be carried out late", "error", err)
	}
	c.m.openBack()
	c.m.lift(ctx, c.fence)
	return nil
}
