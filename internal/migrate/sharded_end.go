package migrate

import (
	"context"
	"errors"
	"fmt"

	"godwit/internal/reserved"
	"godwit/internal/server"
)

// Complete ends the migration after a cutover: godwit leaves nothing at the shards,
// and the old primary stays a read-only replica of nobody.
func (m *Sharded) Complete(ctx context.Context, dryRun bool) (EndResult, error) {
	result := EndResult{DryRun: dryRun}
	leave, err := m.operation.enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()
	if m.pending() {
		return result, hinted("the same `godwit run` brings it to an end, then complete", "a switch is not decided yet")
	}
	if err := m.nothingBegun(m.cfg.To.Address); err != nil {
		return result, err
	}
	if !m.phaseIn(Switched) && (!m.phaseIn(Failed) || m.primary() != Target) {
		return result, hinted("`godwit cutover` switches; `godwit abort` ends it without a switch", "nothing to complete in phase %s", m.phase())
	}
	if err := m.source.inspect(ctx); err != nil {
		return result, fmt.Errorf("%s: %w", Source, err)
	}
	result.Steps = []StepStatus{
		{Name: "leave", Server: m.source.address(), Command: "REPLICAOF 127.0.0.1 1 (read-only, a replica of nobody)", State: "planned"},
		m.cleanStep(),
		m.cleanSourceStep(true),
	}
	if dryRun {
		return result, nil
	}
	if err := m.beginCompleting(); err != nil {
		return result, err
	}
	defer m.interruptVerify(ctx, "the end of the migration")()
	run := newRunner(result.Steps)
	if err := run.do(func() error { return leaveReadOnly(ctx, m.source) }); err != nil {
		return result, err
	}
	m.stopFeed()
	if err := run.do(func() error { return m.clean(ctx, &result) }); err != nil {
		return result, err
	}
	if err := m.restore(ctx, m.source); err != nil {
		return result, err
	}
	if err := run.do(func() error { return m.cleanSource(ctx, true, &result) }); err != nil {
		return result, err
	}
	source := m.source.found()
	result.Notes = append(result.Notes,
		fmt.Sprintf("%s holds the data as of now and is read-only, a replica of nobody", m.source.address()),
		fmt.Sprintf("to free it: %s; to end it: %s", source.CLI("REPLICAOF", "NO", "ONE"), source.CLI("SHUTDOWN", "NOSAVE")))
	return m.finishAs(Completed, result, fmt.Sprintf("completed: the cluster at %s serves", m.cfg.To.Address))
}

// cleanSource deletes the key of the way back. result notes it where that is refused: the
// migration has ended all the same.
func (m *Sharded) cleanSource(ctx context.Context, replica bool, result *EndResult) error {
	key := reserved.WayBack(m.cfg.Name)
	var err error
	if replica {
		// A replica takes no DEL, not in a transaction either, but one of a script; within the
		// transaction nobody else can write to it.
		_, err = m.source.client.Transaction(ctx,
			[]any{"REPLICAOF", "NO", "ONE"}, []any{"EVAL", "return redis.call('DEL', KEYS[1])", 1, key}, []any{"REPLICAOF", "127.0.0.1", "1"})
	} else {
		_, err = m.source.client.Do(ctx, "DEL", key)
	}
	var refused *server.Error
	if errors.As(err, &refused) {
		result.Notes = append(result.Notes, fmt.Sprintf("%s keeps the key %s, which godwit may not delete there: %v", m.source.address(), key, err))
		return nil
	}
	return err
}

func (m *Sharded) cleanSourceStep(replica bool) StepStatus {
	command := "DEL " + reserved.WayBack(m.cfg.Name)
	if replica {
		command = "MULTI; REPLICAOF NO ONE; EVAL … (" + command + "); REPLICAOF 127.0.0.1 1; EXEC"
	}
	return StepStatus{Name: "clean-source", Server: m.source.address(), Command: command, State: "planned"}
}

// Abort ends the migration before the switch: the cluster keeps what it has, the
// source was never touched.
func (m *Sharded) Abort(ctx context.Context, dryRun bool) (EndResult, error) {
	result := EndResult{DryRun: dryRun}
	leave, err := m.operation.enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()
	if m.pending() {
		return result, hinted("the same `godwit run` brings it to an end, then abort", "a switch is not decided yet: %s may not serve", m.source.address())
	}
	if err := m.nothingBegun(m.cfg.To.Address); err != nil {
		return result, err
	}
	if m.primary() != Source || m.phaseIn(Switching, Completed, Aborted) {
		return result, hinted("`godwit complete` ends it", "no abort in phase %s", m.phase())
	}
	m.mu.Lock()
	switched := m.rec.Cutover.Switches > 0 // and back
	m.mu.Unlock()
	result.Steps = []StepStatus{m.cleanStep()}
	if switched {
		result.Steps = append(result.Steps, m.cleanSourceStep(false))
	}
	if dryRun {
		return result, nil
	}
	defer m.interruptVerify(ctx, "an abort")()
	m.stopEngine()
	run := newRunner(result.Steps)
	if err := run.do(func() error { return m.clean(ctx, &result) }); err != nil {
		return result, err
	}
	if err := m.restore(ctx, m.source); err != nil {
		return result, err
	}
	if switched {
		if err := run.do(func() error { return m.cleanSource(ctx, false, &result) }); err != nil {
			return result, err
		}
	}
	result.Notes = append(result.Notes, fmt.Sprintf("%s serves as before", m.source.address()),
		fmt.Sprintf("the cluster at %s keeps what was copied so far", m.cfg.To.Address))
	return m.finishAs(Aborted, result, "aborted: the cluster gets nothing more")
}

func (m *Sharded) primary() Side {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rec.Primary
}

// clean takes back what godwit has left at the shards.
func (m *Sharded) clean(ctx context.Context, result *EndResult) error {
	notes, err := notesOfAway(m.restoreShards(ctx, m.cluster))
	result.Notes = append(result.Notes, notes...)
	if err := errors.Join(err, m.unfence(ctx)); err != nil {
		return err
	}
	if left := m.fenced(); left != nil {
		result.Notes = append(result.Notes, m.cluster.address()+" has nodes that are away; should one come back without a restart, its users may write there after:")
		result.Notes = append(result.Notes, m.cluster.byHand(left)...)
	}
	// By the user who has changed what is put back: the one that godwit was given may not be
	// allowed to.
	by := m.cluster.entry
	if m.cluster.introduce(ctx) == nil {
		by = m.cluster.own
	}
	notes, err = notesOfAway(m.newEngine(by).End(ctx))
	result.Notes = append(result.Notes, notes...)
	return errors.Join(err, m.cluster.forget(ctx, nil))
}

func (m *Sharded) cleanStep() StepStatus {
	return StepStatus{Name: "clean", Server: m.cfg.To.Address, Command: "DEL godwit:" + m.cfg.Name + ":*; ACL SETUSER, CONFIG SET (what was changed, as it was)", State: "planned"}
}
