package migrate

import (
	"context"
	"errors"
	"fmt"

	"godwit/internal/apply"
)

// Complete ends the migration after a cutover: godwit leaves nothing behind but that the
// old side's clients may not write there.
func (m *Joint) Complete(ctx context.Context, dryRun bool) (EndResult, error) {
	result := EndResult{DryRun: dryRun}
	leave, err := m.operation.enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()
	r := m.record()
	if r.Switch != nil {
		return result, hinted("the same `godwit run` brings it to an end, then complete", "a switch is not decided yet")
	}
	if err := m.nothingBegun(m.sides[Target].address()); err != nil {
		return result, err
	}
	if r.Phase != Switched && (r.Phase != Failed || r.Primary != Target) {
		return result, hinted("`godwit cutover` switches; `godwit abort` ends it without a switch", "nothing to complete in phase %s", r.Phase)
	}
	result.Steps = []StepStatus{m.cleanStep(Target), m.cleanStep(Source)}
	if dryRun {
		return result, nil
	}
	if err := m.beginCompleting(); err != nil {
		return result, err
	}
	defer m.interruptVerify(ctx, "the end of the migration")()
	m.stopEngine()
	run := newRunner(result.Steps)
	if err := run.do(func() error { return m.free(ctx, Target, &result) }); err != nil {
		return result, err
	}
	old := m.sides[Source]
	// A source that is gone for good is nobody's concern any more.
	if err := run.do(func() error { return errors.Join(m.clean(ctx, Source, &result), old.forget(ctx, r.Fences[Source])) }); err != nil {
		result.Notes = append(result.Notes, fmt.Sprintf("%s: %v; what is left there are keys and a user whose names begin with %s", old.address(), err, old.user()))
	}
	result.Notes = append(result.Notes, old.address()+" holds the data as of now, and its clients may not write there; to free it:")
	result.Notes = append(result.Notes, old.byHand(r.Fences[Source])...)
	return m.finishAs(Completed, result, fmt.Sprintf("completed: %s serves", m.sides[Target].address()))
}

// Abort ends the migration while the source serves: the target keeps what it has.
func (m *Joint) Abort(ctx context.Context, dryRun bool) (EndResult, error) {
	result := EndResult{DryRun: dryRun}
	leave, err := m.operation.enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()
	r := m.record()
	if r.Switch != nil {
		return result, hinted("the same `godwit run` brings it to an end, then abort", "a switch is not decided yet")
	}
	if err := m.nothingBegun(m.sides[Target].address()); err != nil {
		return result, err
	}
	if r.Primary != Source || m.phaseIn(Switching, Completed, Aborted) {
		return result, hinted("`godwit complete` ends it", "no abort in phase %s", r.Phase)
	}
	result.Steps = []StepStatus{m.cleanStep(Target)}
	if r.Cutover.Direction != "" { // a switch was begun once
		result.Steps = append(result.Steps, m.cleanStep(Source))
	}
	if dryRun {
		return result, nil
	}
	defer m.interruptVerify(ctx, "an abort")()
	m.stopEngine()
	if err := m.putBackShards(ctx, m.sides[Source], &result); err != nil { // which may need no more than that
		return result, err
	}
	run := newRunner(result.Steps)
	for _, side := range []Side{Target, Source}[:len(result.Steps)] {
		if err := run.do(func() error { return m.free(ctx, side, &result) }); err != nil {
			return result, err
		}
	}
	result.Notes = append(result.Notes, m.sides[Source].address()+" serves as before", m.sides[Target].address()+" keeps what was copied so far")
	return m.finishAs(Aborted, result, "aborted: the target gets nothing more")
}

// free gives the users of a side their rights back, and leaves nothing of godwit's there.
// result notes what is to be done yet at nodes that are away.
func (m *Joint) free(ctx context.Context, side Side, result *EndResult) error {
	d := m.sides[side]
	left, err := d.lift(ctx, m.record().Fences[side])
	if err = errors.Join(err, m.fenced(side)(left), m.clean(ctx, side, result), d.forget(ctx, nil)); err != nil {
		return err
	}
	if len(left) > 0 {
		result.Notes = append(result.Notes, d.address()+" has nodes that are away; should one come back without a restart, its users may write there after:")
		result.Notes = append(result.Notes, d.byHand(left)...)
	}
	return nil
}

// clean deletes what an engine has left at a side, and puts settings back.
func (m *Joint) clean(ctx context.Context, side Side, result *EndResult) error {
	d := m.sides[side]
	if err := m.putBackShards(ctx, d, result); err != nil {
		return err
	}
	record := m.record()
	for i, e := range d.endpoints {
		own := e
		if len(d.endpoints) == 1 {
			own = d.entry()
		}
		// By the user who has changed what is put back: the one that godwit was given may not
		// be allowed to, and as long as it is fenced, nobody else is.
		if err := d.introduce(ctx); err == nil {
			own.Username, own.Password = d.user(), d.password
		} else if len(m.record().Fences[side]) > 0 {
			return err
		}
		engine := apply.New(apply.Config{
			Name: m.cfg.Name, Target: own, Log: m.log, Progress: record.progress(d)[i],
			Save: func(p apply.Progress) error { return m.update(func(r *jointRecord) { r.setProgress(d, i, p) }) },
		})
		notes, err := notesOfAway(engine.End(ctx))
		if result.Notes = append(result.Notes, notes...); err != nil {
			return err
		}
	}
	return nil
}

// putBackShards puts back what a comparison has changed at a side. result notes what is to be
// done yet at nodes that are away.
func (m *Joint) putBackShards(ctx context.Context, d *deployment, result *EndResult) error {
	notes, err := notesOfAway(m.restoreShards(ctx, d))
	result.Notes = append(result.Notes, notes...)
	return err
}

func (m *Joint) cleanStep(side Side) StepStatus {
	return StepStatus{Name: "clean-" + string(side), Server: m.sides[side].address(), Command: "DEL godwit:" + m.cfg.Name + ":*; ACL SETUSER, CONFIG SET (what was changed, as it was)", State: "planned"}
}
