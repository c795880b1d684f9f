package migrate

import (
	"context"
	"errors"
	"fmt"
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
	}
	if dryRun {
		return result, nil
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
	source := m.source.found()
	result.Notes = append(result.Notes,
		fmt.Sprintf("%s holds the data as of now and is read-only, a replica of nobody", m.source.address()),
		fmt.Sprintf("to free it: %s; to end it: %s", source.CLI("REPLICAOF", "NO", "ONE"), source.CLI("SHUTDOWN", "NOSAVE")))
	return m.finishAs(Completed, result, fmt.Sprintf("completed: the cluster at %s serves", m.cfg.To.Address))
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
	result.Steps = []StepStatus{m.cleanStep()}
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
	if err := errors.Join(m.restoreShards(ctx, m.cluster), m.unfence(ctx)); err != nil {
		return err
	}
	if left := m.fenced(); left != nil {
		result.Notes = append(result.Notes, m.cluster.address()+" has nodes that are away; should one come back without a restart, its users may write there after:")
		result.Notes = append(result.Notes, m.cluster.byHand(left)...)
	}
	notes, err := notesOfAway(m.newEngine(m.cluster.entry).End(ctx))
	result.Notes = append(result.Notes, notes...)
	return err
}

func (m *Sharded) cleanStep() StepStatus {
	return StepStatus{Name: "clean", Server: m.cfg.To.Address, Command: "DEL godwit:" + m.cfg.Name + ":*; ACL SETUSER, CONFIG SET (what was changed, as it was)", State: "planned"}
}
