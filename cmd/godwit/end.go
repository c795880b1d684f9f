package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/migrate"
	"godwit/internal/route"
	"godwit/internal/status"
	"godwit/internal/status/live"
)

// endOptions are the flags of complete and abort. They work without a running
// process too; then source and target are those of the journal, and their
// passwords, which no journal holds, come from the environment or the flags.
type endOptions struct {
	state     stateOptions
	endpoints endpointsOptions
	output    outputOptions
	dryRun    bool
	verbose   bool
}

func (o *endOptions) addFlags(cmd *cobra.Command, s streams) {
	o.state.addFlags(cmd, s)
	o.endpoints.addFlags(cmd)
	o.output.addFlags(cmd)
	cmd.Flags().BoolVar(&o.dryRun, "dry-run", false, "print the steps and change nothing")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "log to standard error")
	cmd.ValidArgsFunction = o.state.completeArg
}

// ender is complete or abort, of a client or of a migration without a process.
type ender struct {
	online  func(*status.Client, context.Context, bool) (migrate.EndResult, error)
	offline func(migrate.Running, context.Context, bool) (migrate.EndResult, error)
}

func runEnd(ctx context.Context, cmd *cobra.Command, args []string, o *endOptions, s streams, end ender) error {
	if err := o.state.load(cmd, s); err != nil {
		return err
	}
	if err := o.state.choose(cmd.Flags(), args); err != nil {
		return err
	}
	result, err := endOnline(ctx, o, end)
	var notRunning *status.NotRunningError
	if errors.As(err, &notRunning) {
		result, err = endOffline(ctx, o, s, end)
	}
	if err != nil {
		return err
	}
	return printEnd(s.out, result, o.output.json())
}

func endOnline(ctx context.Context, o *endOptions, end ender) (migrate.EndResult, error) {
	client, err := status.Dial(ctx, o.state.stateDir, o.state.name)
	if err != nil {
		return migrate.EndResult{}, err
	}
	defer func() { _ = client.Close() }() // always nil
	return end.online(client, ctx, o.dryRun)
}

func endOffline(ctx context.Context, o *endOptions, s streams, end ender) (result migrate.EndResult, err error) {
	config, err := o.journaled(s)
	if err != nil {
		return migrate.EndResult{}, err
	}
	m, err := migrate.Begin(ctx, config, newLogger(s, o.verbose))
	if err != nil {
		return migrate.EndResult{}, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	return end.offline(m, ctx, o.dryRun)
}

// journaled is the configuration of a migration that no process runs: what the
// flags say, and for the rest the journal.
func (o *endOptions) journaled(s streams) (migrate.Config, error) {
	known, err := migrate.ReadStatus(o.state.stateDir, o.state.name)
	if err != nil {
		return migrate.Config{}, o.state.missing(err)
	}
	config := migrate.NewConfig()
	config.Name, config.StateDir = o.state.name, o.state.stateDir
	from, to := &o.endpoints.from, &o.endpoints.to
	if from.url == "" {
		from.url = known.Source.URL
		if !strings.HasPrefix(from.url, fileScheme) { // there may be several, and no space is in a URL
			urls := strings.Fields(from.url)
			from.url, from.others = urls[0], urls[1:]
		}
	}
	if to.url == "" {
		to.url = known.Target.URL
	}
	if err := o.endpoints.source(&config, s); err != nil {
		return migrate.Config{}, err
	}
	if config.To, err = o.endpoints.endpoint(to, s); err != nil {
		return migrate.Config{}, err
	}
	if config.Route, err = route.Parse(known.DBMap); err != nil {
		return migrate.Config{}, err
	}
	config.ShardBy = known.ShardBy
	if err := config.Validate(); err != nil {
		return migrate.Config{}, &usageError{err: err}
	}
	return config, nil
}

func printEnd(w io.Writer, r migrate.EndResult, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(w).Encode(r)
	}
	if err := live.Steps(w, r.Steps); err != nil {
		return err
	}
	if r.DryRun {
		if _, err := fmt.Fprint(w, "\nnothing was changed\n"); err != nil {
			return err
		}
	}
	for _, note := range r.Notes {
		if _, err := fmt.Fprintln(w, note); err != nil {
			return err
		}
	}
	return nil
}
