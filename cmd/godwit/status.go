package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/migrate"
	"godwit/internal/status"
	"godwit/internal/status/live"
)

// statusOptions are the flags of status.
type statusOptions struct {
	state  stateOptions
	output outputOptions
	watch  bool
}

func newStatusCommand(s streams) *cobra.Command {
	var o statusOptions
	cmd := &cobra.Command{
		Use:     "status [NAME]",
		GroupID: groupLook,
		Short:   "Show where a migration stands and what to do next",
		Long: `Asks the running process, or reads the journal when there is none, and says
what to do next. With --watch it shows the live view of "godwit run" until the
migration ends; elsewhere than on a terminal a line every few seconds.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runStatus(cmd.Context(), cmd, args, &o, s)
		},
	}
	o.state.addFlags(cmd, s)
	o.output.addFlags(cmd)
	cmd.Flags().BoolVarP(&o.watch, "watch", "w", false, "go on showing it")
	cmd.ValidArgsFunction = o.state.completeArg
	return cmd
}

func runStatus(ctx context.Context, cmd *cobra.Command, args []string, o *statusOptions, s streams) error {
	if err := o.state.load(cmd, s); err != nil {
		return err
	}
	if err := o.state.choose(cmd.Flags(), args); err != nil {
		return err
	}
	if o.watch {
		return watch(ctx, o, s)
	}
	snapshot, err := readStatus(ctx, &o.state)
	if err != nil {
		return err
	}
	return printStatus(s, snapshot, o.output.json())
}

// readStatus asks the running process, else the journal. A process that starts
// or ends between the two questions is asked again.
func readStatus(ctx context.Context, o *stateOptions) (migrate.Status, error) {
	for attempt := 0; ; attempt++ {
		snapshot, err := askStatus(ctx, o)
		var notRunning *status.NotRunningError
		if !errors.As(err, &notRunning) {
			return snapshot, err
		}
		snapshot, err = migrate.ReadStatus(o.stateDir, o.name)
		var locked *migrate.LockedError
		if !errors.As(err, &locked) || attempt == 20 {
			return snapshot, o.missing(err)
		}
		select {
		case <-ctx.Done():
			return migrate.Status{}, ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func askStatus(ctx context.Context, o *stateOptions) (migrate.Status, error) {
	client, err := status.Dial(ctx, o.stateDir, o.name)
	if err != nil {
		return migrate.Status{}, err
	}
	defer func() { _ = client.Close() }() // always nil
	return client.Status(ctx)
}

func printStatus(s streams, snapshot migrate.Status, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(s.out).Encode(snapshot)
	}
	return live.Report(s.out, snapshot)
}

// watch follows the running process until the migration or the process ends,
// then prints the last status.
func watch(ctx context.Context, o *statusOptions, s streams) error {
	client, err := status.Dial(ctx, o.state.stateDir, o.state.name)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // always nil
	switch {
	case o.output.json():
		err = live.Follow(ctx, client, live.JSON{W: s.out})
	case s.interactive():
		err = live.View(ctx, client, live.Options{Input: s.in, Output: s.out})
	default:
		err = live.Follow(ctx, client, live.Plain{W: s.out})
	}
	switch {
	case errors.Is(err, live.ErrQuit):
		return nil // the migration goes on, and so does its process
	case err != nil:
		return err
	case ctx.Err() != nil:
		return ctx.Err()
	}
	last, err := readStatus(ctx, &o.state)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return printStatus(s, last, o.output.json())
}
