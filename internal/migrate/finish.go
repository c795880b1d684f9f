package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"godwit/internal/server"
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
	if m.pending() {
		return result, hinted("the same `godwit run` brings it to an end, then complete", "a switch is not decided yet")
	}
	if err := m.nothingBegun(m.target.address()); err != nil {
		return result, err
	}
	if !m.phaseIn(Switched) && (!m.phaseIn(Failed) || m.primary() != m.target) {
		return result, hinted("`godwit cutover` switches; `godwit abort` ends it without a switch", "nothing to complete in phase %s", m.phase())
	}
	_, err = m.source.look(ctx)
	var gone *server.ConnError
	if errors.As(err, &gone) && gone.Op == "dial" && (dryRun || m.cfg.RollbackWindow < 0) {
		// It may have been shut down for good, which is how many migrations end.
		result.Steps = []StepStatus{{Name: "leave", Server: m.source.address(), Command: "(nothing: it is not there)", State: "skipped"}}
		if dryRun {
			return result, nil
		}
		if err := m.beginCompleting(); err != nil {
			return result, err
		}
		defer m.interruptVerify(ctx, "the end of the migration")()
		m.setQuiet()
		m.stopLink()
		if err := m.restore(ctx, m.target); err != nil {
			return result, err
		}
		result.Notes = append(result.Notes,
			fmt.Sprintf("%s is not there (%v); should it come back as a primary, clients must not find it", m.source.address(), err))
		return m.finishAs(ctx, Completed, result, fmt.Sprintf("completed: %s is the primary", m.target.address()))
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
	if err := m.beginCompleting(); err != nil {
		return result, err
	}
	defer m.interruptVerify(ctx, "the end of the migration")()
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
			fmt.Sprintf("to free it: %s; to end it: %s", source.found().CLI("REPLICAOF", "NO", "ONE"), source.found().CLI("SHUTDOWN", "NOSAVE")))
	} else {
		result.Notes = append(result.Notes,
			fmt.Sprintf("%s is a replica of %s now, without godwit; it forgets that when it restarts unless CONFIG REWRITE is sent to it", source.address(), target.address()))
	}
	run.skipRest()
	m.stopLink()
	if err := m.restore(ctx, target); err != nil {
		return result, err
	}
	if native && target.endpoint.Password != "" && m.saved(Source, masterauth) != nil {
		// The old primary needs the new one's password from now on: that setting stays.
		result.Notes = append(result.Notes, "masterauth of "+source.address()+" is the password that godwit was given for "+target.address())
		m.forgetSetting(Source, masterauth)
		m.forgetSetting(Source, masteruser)
	}
	if err := m.restore(ctx, source); err != nil {
		return result, err
	}
	return m.finishAs(ctx, Completed, result, fmt.Sprintf("completed: %s is the primary", target.address()))
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
	if m.pending() {
		return result, hinted("the same `godwit run` brings it to an end, then abort", "a switch is not decided yet: %s may not serve", m.source.address())
	}
	if err := m.nothingBegun(m.target.address()); err != nil {
		return result, err
	}
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
	defer m.interruptVerify(ctx, "an abort")()
	info, err := target.look(ctx)
	var gone *server.ConnError
	if errors.As(err, &gone) && gone.Op == "dial" {
		// It may be gone for good; the source must be free of it all the same.
		m.setQuiet()
		m.stopLink()
		if err := m.restore(ctx, source); err != nil {
			return result, err
		}
		for i := range result.Steps {
			result.Steps[i].State = "skipped"
		}
		result.Notes = append(result.Notes,
			fmt.Sprintf("%s serves as before", source.address()),
			fmt.Sprintf("%s is not there (%v); if it comes back as a replica, detach it: REPLICAOF NO ONE and CONFIG SET masterauth '' there", target.address(), err))
		return m.finishAs(ctx, Aborted, result, "aborted: the target is not there")
	}
	if err != nil {
		return result, fmt.Errorf("target: %w", err)
	}
	run := newRunner(result.Steps)
	m.setQuiet()
	m.stopLink()
	ours := info["role"] == "slave" && (target.follows(info) || m.wasOurs(info))
	if ours {
		if err := run.do(func() error { return detachLoading(ctx, target) }); err != nil {
			return result, err
		}
	} else {
		run.skip()
	}
	if err := run.do(func() error { return m.restore(ctx, target) }); err != nil {
		return result, err
	}
	if err := m.restore(ctx, source); err != nil {
		return result, err
	}
	result.Notes = append(result.Notes, fmt.Sprintf("%s serves as before", source.address()))
	if info["role"] == "slave" && !ours {
		result.Notes = append(result.Notes, fmt.Sprintf("%s is a replica of %s:%s, by somebody else's hand, and stays one", target.address(), info["master_host"], info["master_port"]))
	} else {
		result.Notes = append(result.Notes, fmt.Sprintf("%s is a primary of its own and keeps what was copied so far", target.address()))
	}
	return m.finishAs(ctx, Aborted, result, "aborted: the target is detached")
}

// pending tells whether a switch was begun whose end is not known.
func (m *Migration) pending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rec.Switch != nil
}

// loadingTimeout bounds the wait for a replica that loads a snapshot, and
// refuses REPLICAOF until it has noticed that its connection is gone.
const loadingTimeout = 30 * time.Second

func detachLoading(ctx context.Context, e *end) error {
	ctx, cancel := context.WithTimeout(ctx, loadingTimeout)
	defer cancel()
	for {
		_, err := e.client.Do(ctx, "REPLICAOF", "NO", "ONE")
		if !server.IsCode(err, "LOADING") {
			return err
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return err
		}
	}
}

// setQuiet tells that what ends from now on ends on purpose.
func (m *Migration) setQuiet() {
	m.mu.Lock()
	m.quiet = true
	m.mu.Unlock()
}

func (m *Migration) finishAs(ctx context.Context, p Phase, result EndResult, text string) (EndResult, error) {
	if err := m.look(ctx); err != nil { // what is shown from now on is what they were left as
		m.log.Debug("looking at both at the end", "error", err)
	}
	return m.core.finishAs(p, result, text)
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
	case !to.Understands(from, m.cfg.AcceptModules...):
		return false, fmt.Sprintf("%s does not understand every command of %s", to.Version, from.Version)
	}
	return true, ""
}

// reattachNatively points the old primary at the new one and sees that it
// goes on by a partial resync: a full one would wipe it first.
func (m *Migration) reattachNatively(ctx context.Context, source, target *end) error {
	before, err := target.client.Info(ctx, "stats")
	if err != nil {
		return err
	}
	// A masterauth that is not godwit's is what the server is to present to any
	// primary; it stays. Where godwit's stands in its place, the target's goes there.
	switch password := target.endpoint.Password; {
	case m.saved(Source, masterauth) == nil:
	case password != "":
		if err := source.client.ConfigSet(ctx, masterauth, password); err != nil {
			return err
		}
		if user := target.endpoint.Username; user != "" {
			own, _, err := source.client.ConfigGet(ctx, masteruser)
			if err != nil {
				return err
			}
			if err := m.save(Source, masteruser, own); err != nil {
				return err
			}
			if err := source.client.ConfigSet(ctx, masteruser, user); err != nil {
				return err
			}
		}
	default:
		if err := m.restore(ctx, source, masterauth); err != nil {
			return err
		}
	}
	if loopback(target.endpoint.Host()) && source.endpoint.Network == "tcp" && !loopback(source.endpoint.Host()) {
		return fmt.Errorf("%s is another server where %s runs", target.address(), source.address())
	}
	if _, err := source.client.Do(ctx, "REPLICAOF", target.endpoint.Host(), target.endpoint.Port()); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, nativeTimeout)
	defer cancel()
	for {
		info, err := source.client.Info(ctx, "replication")
		if err == nil && info["master_link_status"] == "up" {
			// That address may be another server's where the old primary is.
			next, err := target.client.Info(ctx, "replication")
			if err != nil {
				return err
			}
			if info["master_replid"] != next["master_replid"] {
				return fmt.Errorf("what it reaches at %s is another server", target.address())
			}
			break
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("it did not reach %s within %v", target.address(), nativeTimeout)
		case <-time.After(20 * time.Millisecond):
		}
	}
	after, err := target.client.Info(ctx, "stats")
	if err != nil {
		return err
	}
	if after.Int("sync_full") > before.Int("sync_full") {
		m.event(slog.LevelInfo, "the old primary needed a full resync")
	}
	return nil
}

// loopback tells whether a host is one that means another machine elsewhere.
func loopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback() || host == "localhost"
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
	var kept []setting
	for _, x := range m.rec.Settings {
		if x.Server != s || x.Name != name {
			kept = append(kept, x)
		}
	}
	m.rec.Settings = kept
}

// skipRest marks the steps that were not needed.
func (r *runner) skipRest() {
	for i := r.next; i < len(r.steps); i++ {
		r.steps[i].State = "skipped"
	}
}

// runner marks the steps of an ending as they are done, in order.
type runner struct {
	steps []StepStatus
	next  int
}

func newRunner(steps []StepStatus) *runner { return &runner{steps: steps} }

// skip marks the next step as not needed.
func (r *runner) skip() {
	r.steps[r.next].State = "skipped"
	r.next++
}

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
