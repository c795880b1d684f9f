package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// nativeTimeout is how long complete waits for the old primary to follow the
// new one without godwit.
const nativeTimeout = 10 * time.Second

// Complete ends the migration after a cutover: the reverse link goes, every
// setting is as it was, and the old primary becomes a replica of the new one
// where it natively can, else stays a read-only replica of nobody.
func (m *Migration) Complete(ctx context.Context, dryRun bool) (EndResult, error) {
	result := EndResult{DryRun: dryRun}
	leave, err := m.operation.enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()
	if !m.phaseIn(Switched) && !(m.phaseIn(Failed) && m.primary() == m.target) {
		return result, hinted("`godwit cutover` switches; `godwit abort` ends it without a switch", "nothing to complete in phase %s", m.phase())
	}
	if err := errors.Join(m.look(ctx), m.inspect(ctx)); err != nil {
		return result, err
	}
	source, target := m.source, m.target
	native, why := m.nativeBack(source, target)
	result.Steps = completeSteps(source, target, native)
	if dryRun {
		return result, nil
	}
	run := newRunner(result.Steps)
	m.setQuiet()
	if native {
		err := run.do(func() error { return m.reattachNatively(ctx, source, target) })
		if err != nil {
			why = err.Error()
			native = false
		}
	}
	if !native {
		if err := run.do(func() error { return leaveReadOnly(ctx, source) }); err != nil {
			return result, err
		}
		result.Notes = append(result.Notes,
			fmt.Sprintf("%s holds the data as of now and is read-only, a replica of nobody (%s)", source.address(), why),
			fmt.Sprintf("to free it: redis-cli -h %s -p %d REPLICAOF NO ONE; to end it: SHUTDOWN NOSAVE", source.endpoint.Host(), source.endpoint.Port()))
	} else {
		result.Notes = append(result.Notes,
			fmt.Sprintf("%s is a replica of %s now, without godwit; it forgets that when it restarts unless CONFIG REWRITE is sent to it", source.address(), target.address()))
	}
	m.stopLink()
	if err := m.restore(ctx, target); err != nil {
		return result, err
	}
	if native && target.endpoint.Password != "" {
		// The old primary needs the new one's password from now on: that setting stays.
		result.Notes = append(result.Notes, "masterauth of "+source.address()+" is the password that godwit was given for "+target.address())
		m.forgetSetting(Source, masterauth)
	}
	if err := m.restore(ctx, source); err != nil {
		return result, err
	}
	return m.finishAs(Completed, result, fmt.Sprintf("completed: %s is the primary", target.address()))
}

// Abort ends the migration before the switch: the target is detached with
// what it has, the source was never touched.
func (m *Migration) Abort(ctx context.Context, dryRun bool) (EndResult, error) {
	result := EndResult{DryRun: dryRun}
	leave, err := m.operation.enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()
	if m.primary() != m.source || m.phaseIn(Switching, Completed, Aborted) {
		return result, hinted("`godwit rollback` goes back to the source, then abort; or `godwit complete`", "no abort in phase %s", m.phase())
	}
	target, source := m.target, m.source
	result.Steps = []StepStatus{
		{Name: "detach", Server: target.address(), Command: "REPLICAOF NO ONE", State: "planned"},
		{Name: "restore", Server: target.address(), Command: "CONFIG SET (what was changed, as it was)", State: "planned"},
	}
	if dryRun {
		return result, nil
	}
	info, err := target.look(ctx)
	if err != nil {
		return result, fmt.Errorf("target: %w", err)
	}
	run := newRunner(result.Steps)
	m.setQuiet()
	m.stopLink()
	err = run.do(func() error {
		if info["role"] != "slave" {
			return nil
		}
		_, err := target.client.Do(ctx, "REPLICAOF", "NO", "ONE")
		return err
	})
	if err != nil {
		return result, err
	}
	if err := run.do(func() error { return m.restore(ctx, target) }); err != nil {
		return result, err
	}
	if err := m.restore(ctx, source); err != nil {
		return result, err
	}
	result.Notes = append(result.Notes,
		fmt.Sprintf("%s serves as before", source.address()),
		fmt.Sprintf("%s is a primary of its own and keeps what was copied so far", target.address()))
	return m.finishAs(Aborted, result, "aborted: the target is detached")
}

// setQuiet tells that what ends from now on ends on purpose.
func (m *Migration) setQuiet() {
	m.mu.Lock()
	m.quiet = true
	m.mu.Unlock()
}

func (m *Migration) finishAs(p Phase, result EndResult, text string) (EndResult, error) {
	if err := m.update(func(r *record) { r.Phase, r.Error, r.Hint = p, "", "" }); err != nil {
		return result, err
	}
	m.event(slog.LevelInfo, text)
	for _, note := range result.Notes {
		m.event(slog.LevelInfo, note)
	}
	m.saveQuietly()
	result.Done = true
	close(m.finished)
	return result, nil
}

func completeSteps(source, target *end, native bool) []StepStatus {
	if native {
		return []StepStatus{
			{Name: "re-attach", Server: source.address(), Command: fmt.Sprintf("REPLICAOF %s %d (partial resync)", target.endpoint.Host(), target.endpoint.Port()), State: "planned"},
			{Name: "leave", Server: source.address(), Command: "REPLICAOF 127.0.0.1 1 (only if that fails: read-only, of nobody)", State: "planned"},
		}
	}
	return []StepStatus{{Name: "leave", Server: source.address(), Command: "REPLICAOF 127.0.0.1 1 (read-only, a replica of nobody)", State: "planned"}}
}

// nativeBack tells whether the old primary can be a replica of the new one without godwit.
func (m *Migration) nativeBack(source, target *end) (bool, string) {
	if target.endpoint.Network != "tcp" {
		return false, "the target has no TCP address"
	}
	if source.seen()["role"] != "slave" {
		return false, "it is not a replica"
	}
	from, to := target.found(), source.found()
	switch {
	case !to.Loads(from.SnapshotFor(to)):
		return false, fmt.Sprintf("%s cannot load the snapshots of %s", to.Version, from.Version)
	case !to.KnowsCommandsOf(from.Version):
		return false, fmt.Sprintf("%s does not know every command of %s", to.Version, from.Version)
	}
	return true, ""
}

// reattachNatively points the old primary at the new one and sees that it
// goes on by a partial resync: a full one would wipe it first.
func (m *Migration) reattachNatively(ctx context.Context, source, target *end) error {
	full := target.seen().Int("sync_full")
	if password := target.endpoint.Password; password != "" {
		if err := source.client.ConfigSet(ctx, masterauth, password); err != nil {
			return err
		}
		if user := target.endpoint.Username; user != "" {
			if err := source.client.ConfigSet(ctx, "masteruser", user); err != nil {
				return err
			}
		}
	} else if err := m.restore(ctx, source, masterauth); err != nil {
		return err
	}
	if _, err := source.client.Do(ctx, "REPLICAOF", target.endpoint.Host(), target.endpoint.Port()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, nativeTimeout)
	defer cancel()
	for {
		info, err := source.client.Info(ctx, "replication")
		if err == nil && info["master_link_status"] == "up" {
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it did not reach %s within %v", target.address(), nativeTimeout)
		case <-time.After(20 * time.Millisecond):
		}
	}
	stats, err := target.client.Info(ctx, "stats")
	if err != nil {
		return err
	}
	if stats.Int("sync_full") > full && full > 0 {
		m.event(slog.LevelInfo, "the old primary needed a full resync")
	}
	return nil
}

// leaveReadOnly points a server at an address where nothing is: it stays a
// replica, so it refuses writes, and it keeps its data.
func leaveReadOnly(ctx context.Context, e *end) error {
	_, err := e.client.Do(ctx, "REPLICAOF", "127.0.0.1", "1")
	return err
}

// forgetSetting keeps a setting as it is now.
func (m *Migration) forgetSetting(s Side, name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	kept := m.rec.Settings[:0]
	for _, x := range m.rec.Settings {
		if x.Server != s || x.Name != name {
			kept = append(kept, x)
		}
	}
	m.rec.Settings = kept
}

// runner marks the steps of an ending as they are done, in order.
type runner struct {
	steps []StepStatus
	next  int
}

func newRunner(steps []StepStatus) *runner { return &runner{steps: steps} }

func (r *runner) do(f func() error) error {
	s := &r.steps[min(r.next, len(r.steps)-1)]
	r.next++
	began := time.Now()
	err := f()
	s.State, s.TookMS = "done", float64(time.Since(began).Microseconds())/1e3
	if err != nil {
		s.State, s.Error = "failed", err.Error()
	}
	return err
}
