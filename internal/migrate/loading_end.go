package migrate

import (
	"context"
	"errors"
	"fmt"

	"godwit/internal/apply"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/topology"
	"godwit/internal/verify"
)

// Abort ends the loading: the target keeps what it has of the file, and nothing else of
// godwit's.
func (m *Loading) Abort(ctx context.Context, dryRun bool) (EndResult, error) {
	result := EndResult{DryRun: dryRun}
	leave, err := m.operation.enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()
	if err := m.nothingBegun(m.cfg.To.Address); err != nil {
		return result, err
	}
	if m.phaseIn(Completed, Aborted) {
		return result, hinted("there is nothing to end any more", "no abort in phase %s", m.phase())
	}
	result.Steps = []StepStatus{{
		Name: "clean", Server: m.cfg.To.Address, State: "planned",
		Command: "EVALSHA (TTLs that were put off are put right); DEL godwit:" + m.cfg.Name + ":*",
	}}
	if dryRun {
		return result, nil
	}
	engine := m.stopEngine()
	goOn := m.startEngine
	if engine == nil {
		goOn = func() error { return nil } // it did not
		if err := m.inspect(ctx, false); err != nil {
			return result, err
		}
		m.mu.Lock()
		knows := m.target.Capabilities()
		m.mu.Unlock()
		// The file itself, which may be gone, is not needed for that.
		engine = m.newEngine(apply.FileConfig{Name: m.cfg.Name, Path: m.cfg.File, Target: m.cfg.To, Capabilities: knows})
	}
	run := newRunner(result.Steps)
	if err := run.do(func() error { return engine.End(ctx) }); err != nil {
		return result, errors.Join(err, goOn())
	}
	v := engine.View()
	result.Notes = append(result.Notes, fmt.Sprintf("%s keeps what it was given of the file: %s", m.cfg.To.Address, loadedText(v)))
	return m.finishAs(Aborted, result, "aborted: the target gets nothing more of the file")
}

// errNoSwitch answers the verbs that have no meaning here.
func (m *Loading) errNoSwitch(verb string) error {
	return hinted("the loading ends by itself once the target has everything; `godwit abort` ends it before",
		"no %s: the source of migration %s is a file, %s, which takes no writes", verb, m.cfg.Name, m.cfg.File)
}

// Cutover is refused: a file takes no writes.
func (m *Loading) Cutover(context.Context, SwitchOptions) (SwitchResult, error) {
	return SwitchResult{Direction: DirectionCutover}, m.errNoSwitch("cutover")
}

// Rollback is refused, likewise.
func (m *Loading) Rollback(context.Context, SwitchOptions) (SwitchResult, error) {
	return SwitchResult{Direction: DirectionRollback}, m.errNoSwitch("rollback")
}

// Complete is refused: it does so by itself.
func (m *Loading) Complete(_ context.Context, dryRun bool) (EndResult, error) {
	return EndResult{DryRun: dryRun}, m.errNoSwitch("complete")
}

// verifyFile is how a target can be compared with the file that it was given.
func verifyFile(to server.Endpoint, r route.Route) string {
	text := "once it is loaded, load the file into a server of its own, too (redis-server, with the file in its dir), and compare that: godwit verify --from redis://that-server --to " + to.String()
	for _, flag := range r.Flags() {
		text += " --db-map " + topology.ShellQuote(flag)
	}
	return text
}

// Verify is refused: a file cannot be asked for its keys.
func (m *Loading) Verify(context.Context, VerifyOptions) (*verify.Report, error) {
	return nil, hinted(verifyFile(m.cfg.To, m.cfg.Route),
		"no verify: the source of migration %s is a file, %s", m.cfg.Name, m.cfg.File)
}
