package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"godwit/internal/apply"
	"godwit/internal/persist"
	"godwit/internal/plan"
	"godwit/internal/rdb"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// planFile is MakePlan for a file. It reads the file from its beginning to its end.
func planFile(ctx context.Context, c Config) (p plan.Plan, err error) {
	target, err := newEnd(Target, c.To, "", c.Now)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("%s: %w", Target, err)
	}
	defer func() { err = errors.Join(err, target.client.Close()) }()
	facts, err := findTarget(ctx, c, target)
	if err != nil {
		return plan.Plan{}, err
	}
	return planLoading(ctx, c, facts, target)
}

// planLoading examines the file for a target that was found.
func planLoading(ctx context.Context, c Config, facts plan.FileFacts, target *end) (plan.Plan, error) {
	if err := target.clock.set(ctx, target.client); err != nil {
		return plan.Plan{}, fmt.Errorf("%s: %w", Target, err)
	}
	config, err := fileConfig(c, facts.Whole())
	if err != nil {
		return plan.Plan{}, err
	}
	facts.File, err = apply.ExamineFile(ctx, config, facts.Cluster != nil, target.clock.now())
	if err != nil {
		return plan.Plan{}, fmt.Errorf("%s: %w", Source, err)
	}
	return plan.ForFile(facts, plan.Wants{Name: c.Name, Replace: c.Replace, Drop: c.Drop, AcceptModules: c.AcceptModules, Route: c.Route}), nil
}

// findTarget asks the target what a plan needs.
func findTarget(ctx context.Context, c Config, target *end) (facts plan.FileFacts, err error) {
	if err := target.inspect(ctx); err != nil {
		return facts, fmt.Errorf("%s: %w", Target, err)
	}
	facts.Target = target.found()
	if facts.Target.Mode != topology.Cluster {
		return facts, nil
	}
	if facts.Cluster, err = topology.ReadCluster(ctx, c.To); err != nil {
		return facts, fmt.Errorf("%s: %w", Target, err)
	}
	var primaries []server.Endpoint
	for _, s := range facts.Cluster.Shards() {
		if len(s.Primary.Slots) > 0 {
			primaries = append(primaries, s.Primary.Endpoint)
		}
	}
	if len(primaries) == 0 {
		return facts, fmt.Errorf("%s: %w", Target, facts.Cluster.Served())
	}
	for _, i := range topology.InspectAll(ctx, primaries, "godwit:"+c.Name, len(primaries)) {
		if i.Err != nil {
			return facts, fmt.Errorf("%s: %w", Target, i.Err)
		}
		facts.Shards = append(facts.Shards, i.Node)
	}
	return facts, nil
}

// fileConfig is how the file is said to a target.
func fileConfig(c Config, target topology.Node) (apply.FileConfig, error) {
	source, err := persist.Open(c.File)
	if err != nil {
		return apply.FileConfig{}, fmt.Errorf("%s: %w", Source, err)
	}
	d := source.Describe()
	if err := source.Close(); err != nil {
		return apply.FileConfig{}, fmt.Errorf("%s: %w", Source, err)
	}
	if d.Bytes < 0 {
		return apply.FileConfig{}, hinted("write it to a file first, and name that", "%s: %s is a pipe: a loading that is interrupted could not go on", Source, c.File)
	}
	knows := target.Capabilities()
	knows.Module = func(id rdb.ModuleID) bool {
		if id.Name() == topology.VectorSets {
			return target.HasModule(topology.VectorSets)
		}
		// A file does not tell which module has a type: the target says whether it has it.
		return len(target.LoadedModules()) > 0
	}
	return apply.FileConfig{
		Name: c.Name, Path: c.File, Target: c.To, Capabilities: knows, Written: apply.WordsOf(d, knows),
		Transcoder: rdb.TranscoderOptions{Drop: c.Drop, Module: knows.Module}, Route: c.Route,
	}, nil
}

// inspect asks the target what it is, and has a fresh migration planned.
func (m *Loading) inspect(ctx context.Context, fresh bool) error {
	if fresh {
		if err := sameTarget(m.cfg); err != nil {
			return err
		}
	}
	facts, err := findTarget(ctx, m.cfg, m.to)
	if err != nil {
		return err
	}
	m.mu.Lock()
	m.target, m.cluster = facts.Whole(), facts.Cluster != nil
	m.mu.Unlock()
	if !fresh {
		return nil
	}
	p, err := planLoading(ctx, m.cfg, facts, m.to)
	if err != nil {
		return err
	}
	for i, b := range p.Blockers {
		if m.ended == Completed && b.Code == "target-has-keys" { // perhaps by a run that was killed before it could say so
			p.Blockers[i].Text += fmt.Sprintf("; it was loaded already: migration %s was completed at %s", m.cfg.Name, m.endedAt.UTC().Format(time.DateTime+" UTC"))
		}
	}
	m.mu.Lock()
	m.planned = p
	m.rec.Version, m.rec.Kind, m.rec.Keys = p.File.Version, string(p.File.Kind), p.File.Keys
	m.mu.Unlock()
	if p.Refused() {
		return &plan.RefusedError{Plan: p}
	}
	for _, w := range p.Warnings {
		m.event(slog.LevelWarn, w.Text)
	}
	return nil
}
