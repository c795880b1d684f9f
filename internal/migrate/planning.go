package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"godwit/internal/plan"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// planFor is the plan for two servers that were inspected.
func planFor(ctx context.Context, c Config, source, target *end) (plan.Plan, error) {
	facts := plan.Facts{Listener: plan.Listener{Certificate: c.ListenerCert != ""}}
	for _, e := range []*end{source, target} {
		address := e.announcedAddress(c.Announce)
		if e.side == Source {
			facts.Source, facts.Listener.SourceAddress = e.found(), address
		} else {
			facts.Target, facts.Listener.TargetAddress = e.found(), address
		}
	}
	survey, err := topology.TakeSurvey(ctx, facts.Source, plan.SurveyOf(facts.Source, facts.Target))
	if err != nil {
		return plan.Plan{}, err
	}
	facts.Source.Survey = &survey
	return planOf(c, facts), nil
}

// planOf is the plan for what was found.
func planOf(c Config, facts plan.Facts) plan.Plan {
	return plan.Make(facts, plan.Wants{
		Name: c.Name, Replace: c.Replace, Announce: c.Announce, CopyOnly: c.Cutover == Never, NoKill: c.NoKill, Verify: c.Verify == VerifyBeforeCutover,
		MaxPause: c.MaxPause, RollbackWindow: c.RollbackWindow, Drop: c.Drop, AcceptModules: c.AcceptModules, Route: c.Route, ShardBy: c.ShardBy,
		SpoolMemory: c.SpoolMemory, SpoolDisk: c.SpoolDisk,
	})
}

// makePlan refuses what cannot work, before anything is changed.
func (m *Migration) makePlan(ctx context.Context) error {
	if err := sameTarget(m.cfg); err != nil {
		return err
	}
	if err := m.inspect(ctx); err != nil {
		return err
	}
	p, err := planFor(ctx, m.cfg, m.source, m.target)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.planned = p
	m.mu.Unlock()
	if p.Refused() {
		return &plan.RefusedError{Plan: p}
	}
	for _, w := range p.Warnings {
		m.event(slog.LevelWarn, w.Text)
	}
	return nil
}

// sameTarget refuses a second migration with the same target, by its name.
func sameTarget(c Config) error {
	names, err := List(c.StateDir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	for _, name := range names {
		if name == c.Name {
			continue
		}
		to, err := os.ReadFile(filepath.Join(c.StateDir, name, targetFile))
		if err != nil || string(to) != c.To.Address {
			continue
		}
		if _, err := ReadStatus(c.StateDir, name); !isLocked(err) {
			continue // it does not run
		}
		return &TakenError{Name: name, Target: c.To.Address}
	}
	return nil
}

func isLocked(err error) bool {
	var locked *LockedError
	return errors.As(err, &locked)
}

// inspect asks the server for everything a plan needs. A replica cannot be asked
// what it loads; what it answered before counts, as long as it is the same process.
func (e *end) inspect(ctx context.Context) error {
	node, err := topology.Inspect(ctx, e.client)
	if err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	node.Recall(e.probed)
	e.node, e.probed = node, node.Probed()
	return nil
}

// rememberProbes has the journal keep what the servers answered, for a run that
// finds the target a replica: it must judge by the same.
func (m *Migration) rememberProbes() {
	probes := make(map[Side]topology.Probe)
	for _, e := range []*end{m.source, m.target} {
		e.mu.Lock()
		probes[e.side] = e.probed
		e.mu.Unlock()
	}
	m.mu.Lock()
	m.rec.Probes = probes
	m.mu.Unlock()
}

// found is what inspect found.
func (e *end) found() topology.Node {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.node
}

// version is the server's, as inspect found it.
func (e *end) version() server.Version { return e.found().Version }
