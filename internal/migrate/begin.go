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

// Begin opens the migration with what its journal names, or, if it is a new one, with what
// its source and target take. Errors: *LockedError when another process runs it.
func Begin(ctx context.Context, c Config, log *slog.Logger) (Running, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.File != "" {
		return OpenLoading(c, log)
	}
	last, err := readHeader(c.StateDir, c.Name)
	if isLocked(err) {
		return nil, err
	}
	joint, apply := last.Joint || len(c.Others) > 0, last.Engine == plan.Apply
	if err != nil || last.Phase == Completed || last.Phase == Aborted || last.untouched() {
		if joint, apply, err = kindOf(ctx, c); err != nil {
			return nil, err
		}
	}
	switch {
	case joint:
		return OpenJoint(ctx, c, log)
	case apply:
		return OpenSharded(ctx, c, log)
	}
	return Open(ctx, c, log)
}

// kindOf tells whether several primaries hand over together, and whether godwit writes to
// the target as its client.
func kindOf(ctx context.Context, c Config) (joint, apply bool, err error) {
	if joint = len(c.Others) > 0; !joint {
		if joint, err = isCluster(ctx, c.From); err != nil {
			return false, false, fmt.Errorf("%s: %w", Source, err)
		}
	}
	if joint {
		return true, true, nil
	}
	if apply, err = isCluster(ctx, c.To); err != nil {
		return false, false, fmt.Errorf("%s: %w", Target, err)
	}
	return false, apply, nil
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
	if joint, _, err := kindOf(ctx, c); err != nil {
		return plan.Plan{}, err
	} else if joint {
		if err := c.tryShardBy(ctx); err != nil {
			return plan.Plan{}, err
		}
		facts, err := findJoint(ctx, map[Side]*deployment{Source: newDeployment(Source, c, c.sources()...), Target: newDeployment(Target, c, c.To)})
		if err != nil {
			return plan.Plan{}, err
		}
		return planOf(c, facts), nil
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
		facts, err := findSharded(ctx, c, source, newDeployment(Target, c, c.To))
		return planOf(c, facts), err
	}
	return planFor(ctx, c, source, target)
}
