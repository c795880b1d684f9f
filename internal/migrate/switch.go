package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"godwit/internal/cutover"
	"godwit/internal/psync"
	"godwit/internal/relay"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// The directions of a switch.
const (
	DirectionCutover  = "cutover"
	DirectionRollback = "rollback"
)

// GaveUpError says that a switch was given up and the old primary serves as before.
type GaveUpError struct{ Err error }

func (e *GaveUpError) Error() string { return e.Err.Error() }
func (e *GaveUpError) Unwrap() error { return e.Err }

// HintText is what the user can do about it.
func (e *GaveUpError) HintText() string {
	return "nothing is lost and nothing of godwit's is left set; see the step that failed, and try again"
}

// Cutover makes the target the primary. Errors: *GaveUpError when it was
// given up in time; the source then serves as before.
func (m *Migration) Cutover(ctx context.Context, o SwitchOptions) (SwitchResult, error) {
	return m.switchTo(ctx, DirectionCutover, Target, o)
}

// Rollback makes the source the primary again, with every write made since.
func (m *Migration) Rollback(ctx context.Context, o SwitchOptions) (SwitchResult, error) {
	return m.switchTo(ctx, DirectionRollback, Source, o)
}

func (m *Migration) switchTo(ctx context.Context, direction string, to Side, o SwitchOptions) (SwitchResult, error) {
	result := SwitchResult{Direction: direction, DryRun: o.DryRun}
	leave, err := m.operation.enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()
	if err := m.maySwitch(direction, to); err != nil {
		return result, err
	}
	next := m.side(to)
	old := m.other(next)
	limits, err := m.limits(o)
	if err != nil {
		return result, err
	}
	method, err := m.method(ctx, old)
	if err != nil {
		return result, err
	}
	if o.DryRun {
		result.Steps = steps(cutover.Steps(method, m.cutoverSide(old), m.replicaOf(old, next), limits))
		result.Emergency = m.foresee(direction, method, to)
		return result, nil
	}
	return m.carryOut(ctx, result, method, old, next, limits)
}

// maySwitch tells why a switch is not possible in the present phase.
func (m *Migration) maySwitch(direction string, to Side) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &m.rec
	switch {
	case !m.running:
		return hinted("start it with the same `godwit run`, then try again", "migration %s is not running", r.Name)
	case r.Primary == to && direction == DirectionCutover:
		return hinted("`godwit rollback` goes back, `godwit complete` ends the migration", "the target is the primary already")
	case r.Primary == to:
		return hinted("there is nothing to roll back", "the source is the primary already")
	case r.Completing:
		return hinted(completingHint, "%s", errCompleting)
	case direction == DirectionCutover && m.cfg.Cutover == Never:
		return hinted("run it with --cutover manual", "this migration runs with --cutover never")
	case direction == DirectionCutover && m.target.outOfMemory() != "":
		return hinted("raise its maxmemory, then try again", "%s", m.target.outOfMemory())
	case m.link == nil || m.link.link.State() != relay.Streaming:
		return hinted("wait until `godwit status` says that it is ready", "the link is not streaming")
	case direction == DirectionCutover && m.unverified() != "":
		return hinted("wait until `godwit status` says that it is ready, or go on without: the same `godwit run` without --verify", "%s", m.unverified())
	case unheard(m.link.link.Snapshot(), m.side(m.link.from)) != "":
		return hinted("wait until `godwit status` says that it is ready: the link is given up and taken up again within a minute",
			"%s", unheard(m.link.link.Snapshot(), m.side(m.link.from)))
	case r.Phase != Following && r.Phase != Switched && r.Phase != RolledBack:
		return hinted("wait until `godwit status` says that it is ready", "no switch in phase %s", r.Phase)
	}
	return nil
}

// method chooses how writes are stopped at a server, as the plan does, by
// asking what it has and what our user may do there now.
func (m *Migration) method(ctx context.Context, old *end) (cutover.Method, error) {
	if err := old.inspect(ctx); err != nil {
		return "", err
	}
	if old.found().Permissions.Refused(topology.Failover) { // before 6.2 it is missing
		return cutover.Fence, nil
	}
	return cutover.Failover, nil
}

func (m *Migration) cutoverSide(e *end) cutover.Side {
	host, port := e.announced()
	return cutover.Side{Client: e.client, AnnounceHost: host, AnnouncePort: port}
}

// replicaOf is the side that takes over, as a replica of old.
func (m *Migration) replicaOf(old, next *end) *cutover.Replica {
	return &cutover.Replica{Side: m.cutoverSide(next), Old: old.address()}
}

// carryOut runs the machine between two journal entries: the intent before
// its first effect, and the outcome. Nothing is journaled while writes are
// stopped: after a crash the servers tell which side of the commit they are on.
func (m *Migration) carryOut(ctx context.Context, result SwitchResult, method cutover.Method, old, next *end, limits cutover.Limits) (SwitchResult, error) {
	defer m.interruptVerify(ctx, "a "+result.Direction)()
	link := m.present()
	replid := link.Snapshot().ReplID
	replica := m.replicaOf(old, next)
	replica.ReplID, replica.Counted, replica.ACK = link.TargetReplID(), link.SourceOffset, link.Acknowledge
	if replica.ReplID == "" {
		replica.ReplID = replid
	}
	editor := m.editor(ctx, next, old)
	var before Phase
	err := m.update(func(r *record) {
		before = r.Phase
		r.Phase = Switching
		r.Switch = &switchRecord{Direction: result.Direction, Method: string(method), ReplID: replid, NewRunID: next.seen()["run_id"], At: time.Now()}
		r.Cutover.Direction, r.Cutover.WriteStallMS = result.Direction, 0
		r.Cutover.Steps = steps(cutover.Steps(method, m.cutoverSide(old), m.replicaOf(old, next), limits))
	})
	if err != nil {
		return result, err
	}
	m.event(slog.LevelInfo, fmt.Sprintf("%s: %s hands over to %s", result.Direction, old.address(), next.address()))
	votes := make(chan *psync.Peer, 4)
	m.setVotes(votes)
	defer m.setVotes(nil)
	machine := &cutover.Machine{
		Method: method, Old: m.cutoverSide(old), New: replica, Limits: limits,
		ReplID: replid, Votes: votes,
		Arm:     func(ctx context.Context) error { return m.armOld(ctx, method, old) },
		Unfence: func(ctx context.Context) error { return m.restore(ctx, old, minReplicasToWrite) },
		Disarm:  func(ctx context.Context) error { return m.restore(ctx, old) },
		Reverse: func(ctx context.Context, leave func()) error { return m.reverse(ctx, old, next, editor, leave) },
		Intact:  func(ctx context.Context) error { return m.askRefused(ctx, old, next) },
		Observe: m.observeStep, Trace: m.traced(result.Direction),
	}
	r, err := machine.Run(ctx)
	result.Steps, result.WriteStallMS = steps(r.Steps), float64(r.WriteStall.Microseconds())/1e3
	var gaveUp *cutover.GaveUpError
	var uncertain *cutover.UncertainError
	switch {
	case errors.As(err, &gaveUp):
		result.Reason = gaveUp.Err.Error()
		saveErr := m.update(func(r *record) {
			r.Phase, r.Switch = before, nil
			r.Doubtful = gaveUp.Step == cutover.Promote
			r.Cutover.Steps, r.Cutover.WriteStallMS = result.Steps, result.WriteStallMS
		})
		m.event(slog.LevelWarn, fmt.Sprintf("%s %v", result.Direction, gaveUp))
		return result, &GaveUpError{Err: errors.Join(err, saveErr)}
	case errors.As(err, &uncertain):
		// The intent stays in the journal, and the keeper settles it as soon as
		// both servers answer: waiting for a person would let clients wait too.
		saveErr := m.update(func(r *record) { r.Error, r.Hint = err.Error(), hintOf(err) })
		m.event(slog.LevelError, err.Error())
		return result, errors.Join(err, saveErr)
	}
	return m.switched(ctx, result, next, err)
}

// switched journals a committed switch. after is what did not work after the commit.
func (m *Migration) switched(ctx context.Context, result SwitchResult, next *end, after error) (SwitchResult, error) {
	result.Done = true
	phase := Switched
	if result.Direction == DirectionRollback {
		phase = RolledBack
	}
	err := m.update(func(r *record) {
		r.Phase, r.Primary, r.Switch = phase, next.side, nil
		r.Cutover.Steps, r.Cutover.WriteStallMS, r.Cutover.At = result.Steps, result.WriteStallMS, time.Now()
		r.Cutover.Switches++
		r.outdate("the servers have changed roles")
	})
	if err == nil {
		// A primary needs nothing of what made it a replica.
		err = m.restore(ctx, next)
	}
	for _, e := range []error{after, err} {
		if e != nil {
			result.Reason = e.Error()
			m.event(slog.LevelWarn, fmt.Sprintf("%s is committed, but: %v", result.Direction, e))
		}
	}
	if err := m.look(ctx); err != nil {
		m.log.Debug("looking at both after the switch", "error", err) // the keeper looks again
	}
	m.saveQuietly()
	m.event(slog.LevelInfo, fmt.Sprintf("%s done: %s is the primary; writes were stopped for %.1f ms", result.Direction, next.address(), result.WriteStallMS))
	return result, nil
}

// armOld prepares the old primary for becoming a replica of the listener.
func (c *core) armOld(ctx context.Context, method cutover.Method, old *end) error {
	if method == cutover.Fence {
		value, _, err := old.client.ConfigGet(ctx, minReplicasToWrite)
		if err != nil {
			return err
		}
		if err := c.save(old.side, minReplicasToWrite, value); err != nil {
			return err
		}
	}
	if err := c.announceTo(old); err != nil {
		return err
	}
	return c.arm(ctx, old)
}

// reverseTimeout is how long a switch waits for the way back before it says
// that it is still to come; the link goes on trying after it.
const reverseTimeout = 10 * time.Second

// reverse carries the stream from the new primary to the old one from now on.
// leave has the old primary ask again, whom the link now answers.
func (m *Migration) reverse(ctx context.Context, old, next *end, editor relay.Editor, leave func()) error {
	ctx, cancel := context.WithTimeout(ctx, reverseTimeout)
	defer cancel()
	start, err := m.reversed(ctx, old, next, editor)
	if err == nil {
		err = m.keepTrack(next, start)
	}
	if err != nil {
		return err
	}
	link := m.startLink(next, start) //nolint:contextcheck // a link lives as long as Run, not as its caller
	leave()
	m.setVotes(nil) // the old primary may have asked again before the link was there
	for link.State() != relay.Streaming {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s does not follow %s yet: the link is %s", old.address(), next.address(), link.State())
		case <-time.After(reverseRetry):
		}
	}
	return nil
}

// promotedAt is where a new primary's own writes begin, and so where the old
// one stands, by the replid that INFO calls id: it has the same history up to there. A backlog of the default size does not last the second or two
// that an old primary of up to 6.2 takes to connect.
func promotedAt(ctx context.Context, next *end, id string) relay.Position {
	info, err := next.client.Info(ctx, "replication")
	if err != nil || info.Int("second_repl_offset") <= 0 {
		return relay.Position{} // the old primary asks by itself
	}
	return relay.Position{ReplID: info[id], Offset: info.Int("second_repl_offset")}
}

const reverseRetry = 20 * time.Millisecond

func (m *Migration) setVotes(c chan *psync.Peer) {
	m.mu.Lock()
	old := m.votes
	m.votes = c
	m.mu.Unlock()
	turnAway(old)
}

// turnAway ends the connections of those that nobody takes any more: they connect
// again, and the link takes them.
func turnAway(votes chan *psync.Peer) {
	for votes != nil {
		select {
		case p := <-votes:
			_ = p.Close()
		default:
			return
		}
	}
}

func (c *core) observeStep(s cutover.Step) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.head.Cutover.Steps {
		if c.head.Cutover.Steps[i].Name == string(s.Name) {
			c.head.Cutover.Steps[i] = step(s)
		}
	}
}

// trace tells that a point was come to.
func (c *core) trace(point string) {
	if c.cfg.Trace != nil {
		c.cfg.Trace(point)
	}
}

func (c *core) traced(direction string) func(string) {
	if c.cfg.Trace == nil {
		return nil
	}
	return func(point string) { c.cfg.Trace(direction + "-" + point) }
}

func step(s cutover.Step) StepStatus {
	t := StepStatus{
		Name: string(s.Name), Server: s.Server, Command: s.Command, State: string(s.State),
		TookMS: float64(s.Took.Microseconds()) / 1e3,
	}
	if s.Err != nil {
		t.Error = s.Err.Error()
	}
	return t
}

func steps(list []cutover.Step) []StepStatus {
	out := make([]StepStatus, len(list))
	for i, s := range list {
		out[i] = step(s)
	}
	return out
}

// recover brings a switch that a crash interrupted to one of its two ends, by
// what the servers say: committed if the new primary is one, else taken back.
func (m *Migration) recover(ctx context.Context) error {
	m.mu.Lock()
	intent := m.rec.Switch
	m.mu.Unlock()
	if intent == nil {
		return m.settle()
	}
	next := m.side(intent.to())
	old := m.other(next)
	newInfo, oldInfo := next.seen(), old.seen()
	m.mu.Lock()
	t := m.rec.Track
	m.mu.Unlock()
	restarted := newInfo["run_id"] != intent.NewRunID
	promoted, whole := newInfo["role"] == "master", covers(t, next.side, restarted, newInfo, oldInfo)
	if promoted && !whole && restarted && neverPromoted(t, intent, newInfo) {
		promoted = false
	}
	switch {
	case promoted && oldInfo["role"] == "slave":
		if !whole {
			return m.undecided(intent, old, next, "and its data is not known to continue that of "+old.address())
		}
		m.event(slog.LevelWarn, fmt.Sprintf("the %s was interrupted after its commit; it is being finished", intent.Direction))
		return m.finishSwitch(ctx, intent, old, next)
	case promoted:
		return m.undecided(intent, old, next, "and both accept writes")
	}
	m.event(slog.LevelWarn, fmt.Sprintf("the %s was interrupted before its commit; %s serves as before", intent.Direction, old.address()))
	if err := cutover.Release(ctx, old.client); err != nil {
		return err
	}
	if err := m.restore(ctx, old); err != nil {
		return err
	}
	return m.update(func(r *record) {
		r.Switch, r.Error, r.Hint = nil, "", ""
		r.Phase = r.settled()
	})
}

// neverPromoted tells of a server that was restarted and is a primary by its
// configuration file that it was still a replica when it saved what it has now, or
// has nothing, and has taken no write of its own since. A server from 7.0 on keeps
// the replid of its data as master_replid2 (server.c loadDataFromDisk); one before
// does not tell, and may have been promoted, written to and saved.
func neverPromoted(t *track, intent *switchRecord, next server.Info) bool {
	replid := intent.ReplID
	if t != nil && t.From != intent.to() {
		replid = t.Target.ReplID
	}
	return next.Int("rdb_changes_since_last_save") == 0 && (keys(next) == 0 || strings.EqualFold(next["master_replid2"], replid))
}

// covers tells whether a promoted server has all that the demoted one had
// written: it continues that one's stream from its last byte on (replication.c
// shiftReplicationId: second_repl_offset is the first byte of its own). Having
// the replid is not enough: a server that was restarted from an older snapshot
// has it too, at an older offset.
// Where the two count otherwise, only that it was promoted later than where the
// link stood last is known from here: that is enough for a promotion that godwit
// intended, because it promotes only what has everything, but not for a primary by
// its configuration, after a restart.
func covers(t *track, to Side, restarted bool, next, old server.Info) bool {
	if strings.EqualFold(next["master_replid"], old["master_replid"]) {
		return true // the old one follows it already
	}
	if t != nil && t.From == to && strings.EqualFold(old["master_replid"], t.Target.ReplID) {
		return true // likewise, under another name: the link back has begun, or was about to
	}
	if t != nil && t.From != to && continues(t, next, old) {
		return old["role"] == "slave" && !restarted
	}
	return old["role"] == "slave" && strings.EqualFold(next["master_replid2"], old["master_replid"]) &&
		next.Int("second_repl_offset") > old.Int("slave_repl_offset")
}

func (m *Migration) finishSwitch(ctx context.Context, intent *switchRecord, old, next *end) error {
	phase := Switched
	if intent.Direction == DirectionRollback {
		phase = RolledBack
	}
	start, err := m.reversed(ctx, old, next, m.editor(ctx, next, old))
	if err == nil {
		err = m.keepTrack(next, start)
	}
	if err != nil {
		return err
	}
	m.startLink(next, start) //nolint:contextcheck // a link lives as long as Run, not as its caller
	if err := m.attach(ctx, old); err != nil {
		return err
	}
	if err := m.restore(ctx, old, minReplicasToWrite); err != nil {
		return err
	}
	if err := m.restore(ctx, next); err != nil {
		return err
	}
	// Last, so that a run that is killed here finds the switch to be finished.
	err = m.update(func(r *record) {
		r.Phase, r.Primary, r.Switch = phase, next.side, nil
		r.Error, r.Hint = "", ""
		r.Cutover.At = time.Now()
		r.Cutover.Switches++
		r.outdate("the servers have changed roles")
	})
	if err != nil || m.cfg.NoKill {
		return err
	}
	if _, err = old.client.Do(ctx, "CLIENT", "KILL", "TYPE", "normal"); err == nil {
		old.client.Renew(ctx)
	}
	return err
}

func (m *Migration) undecided(intent *switchRecord, old, next *end, why string) error {
	return hinted(fmt.Sprintf("decide which server holds the data to keep; then REPLICAOF NO ONE there, and REPLICAOF that server on the other; docs/runbook.md has the lines for %s and %s", old.address(), next.address()),
		"a %s was interrupted: %s is a primary, %s", intent.Direction, next.address(), why)
}

// settle sets the phase of a migration that failed, or was only interrupted,
// by which side is the primary.
func (m *Migration) settle() error {
	return m.update(func(r *record) {
		if r.Phase == Failed || r.Phase == Switching {
			r.Phase = r.settled()
		}
	})
}

// settled is the phase of a migration no switch of which is under way.
func (r *header) settled() Phase {
	switch {
	case r.Primary == Target:
		return Switched
	case r.Cutover.Switches > 0:
		return RolledBack
	case r.Followed:
		return Following
	}
	return Copying
}
