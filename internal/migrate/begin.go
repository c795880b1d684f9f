package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"godwit/internal/plan"
	"godwit/internal/server"
	"godwit/internal/topology"
	"godwit/internal/verify"
)

// Running is a migration by whatever engine.
type Running interface {
	Run(ctx context.Context) error
	Close() error
	Plan() plan.Plan
	Status() Status
	Subscribe() (events <-chan Event, cancel func())
	Cutover(ctx context.Context, o SwitchOptions) (SwitchResult, error)
	Rollback(ctx context.Context, o SwitchOptions) (SwitchResult, error)
	Complete(ctx context.Context, dryRun bool) (EndResult, error)
	Abort(ctx context.Context, dryRun bool) (EndResult, error)
	Verify(ctx context.Context, o VerifyOptions) (*verify.Report, error)
}

// Begin opens the migration with the engine that its journal names, or, if it is a new
// one, with that for its target. Errors: *LockedError when another process runs it.
func Begin(ctx context.Context, c Config, log *slog.Logger) (Running, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.File != "" {
		return OpenLoading(c, log)
	}
	last, err := ReadStatus(c.StateDir, c.Name)
	if isLocked(err) {
		return nil, err
	}
	engine := last.Engine
	if err != nil || last.Phase.Ended() && last.Phase != Failed {
		cluster, err := isCluster(ctx, c.To)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", Target, err)
		case cluster:
			engine = plan.Apply
		}
	}
	if engine == plan.Apply {
		return OpenSharded(ctx, c, log)
	}
	return Open(ctx, c, log)
}

// isCluster tells whether a server is a node of a cluster.
func isCluster(ctx context.Context, e server.Endpoint) (is bool, err error) {
	client, err := server.Dial(ctx, e, "")
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	info, err := client.Info(ctx, "cluster")
	return info["cluster_enabled"] == "1", err
}

// MakePlan looks at both ends and says what a migration would do, and what stands in
// its way. It changes nothing.
func MakePlan(ctx context.Context, c Config) (p plan.Plan, err error) {
	if err := c.Validate(); err != nil {
		return plan.Plan{}, err
	}
	if c.File != "" {
		return planFile(ctx, c)
	}
	source, err := newEnd(Source, c.From, "", c.Now)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("source: %w", err)
	}
	defer func() { err = errors.Join(err, source.client.Close()) }()
	target, err := newEnd(Target, c.To, "", c.Now)
	if err != nil {
		return plan.Plan{}, fmt.Errorf("target: %w", err)
	}
	defer func() { err = errors.Join(err, target.client.Close()) }()
	for _, e := range []*end{source, target} {
		if err := e.inspect(ctx); err != nil {
			return plan.Plan{}, fmt.Errorf("%s: %w", e.side, err)
		}
	}
	if target.found().Mode == topology.Cluster {
		facts, err := findSharded(ctx, c, source)
		return planOf(c, facts), err
	}
	return planFor(ctx, c, source, target)
}
