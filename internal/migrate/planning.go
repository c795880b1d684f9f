package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"godwit/internal/plan"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// MakePlan looks at both servers and says what a migration would do, and what
// stands in its way. It changes nothing.
func MakePlan(ctx context.Context, c Config) (plan.Plan, error) {
	if err := c.Validate(); err != nil {
		return plan.Plan{}, err
	}
	source, err := newEnd(Source, c.From, "", c.Now)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("source: %w", err)
	}
	target, err := newEnd(Target, c.To, "", c.Now)
	if err != nil {
		return plan.Plan{}, errors.Join(fmt.Errorf("target: %w", err), source.client.Close())
	}
	p, err := planFor(ctx, c, source, target)
	return p, errors.Join(err, source.client.Close(), target.client.Close())
}

func planFor(ctx context.Context, c Config, source, target *end) (plan.Plan, error) {
	facts := plan.Facts{Listener: plan.Listener{Certificate: c.ListenerCert != ""}}
	for _, e := range []*end{source, target} {
		if err := e.inspect(ctx); err != nil {
			return plan.Plan{}, fmt.Errorf("%s: %w", e.side, err)
		}
		address := c.Announce
		if host, port := e.announced(); address == "" && port != 0 {
			address = net.JoinHostPort(host, strconv.Itoa(port))
		}
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
	return plan.Make(facts, plan.Wants{
		Name: c.Name, Replace: c.Replace, Announce: c.Announce, CopyOnly: c.Cutover == Never, NoKill: c.NoKill, Verify: c.Verify == VerifyBeforeCutover,
		MaxPause: c.MaxPause, RollbackWindow: c.RollbackWindow, Drop: c.Drop, AcceptModules: c.AcceptModules,
		SpoolMemory: c.SpoolMemory, SpoolDisk: c.SpoolDisk,
	}), nil
}

// makePlan refuses what cannot work, before anything is changed.
func (m *Migration) makePlan(ctx context.Context) error {
	if err := m.sameTarget(); err != nil {
		return err
	}
	p, err := planFor(ctx, m.cfg, m.source, m.target)
	if err != nil {
		return err
	}
	m.rememberProbes()
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
func (m *Migration) sameTarget() error {
	names, err := List(m.cfg.StateDir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	for _, name := range names {
		if name == m.cfg.Name {
			continue
		}
		to, err := os.ReadFile(filepath.Join(m.cfg.StateDir, name, targetFile))
		if err != nil || string(to) != m.cfg.To.Address {
			continue
		}
		if _, err := ReadStatus(m.cfg.StateDir, name); !isLocked(err) {
			continue // it does not run
		}
		return &TakenError{Name: name, Target: m.cfg.To.Address}
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
