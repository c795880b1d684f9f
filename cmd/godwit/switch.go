package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/migrate"
	"godwit/internal/status"
	"godwit/internal/status/live"
	"godwit/internal/status/units"
)

// switchOptions are the flags of cutover and rollback.
type switchOptions struct {
	state    stateOptions
	output   outputOptions
	dryRun   bool
	maxPause time.Duration
	noKill   bool
}

func (o *switchOptions) addFlags(cmd *cobra.Command, s streams) {
	o.state.addFlags(cmd, s)
	o.output.addFlags(cmd)
	fs := cmd.Flags()
	fs.BoolVar(&o.dryRun, "dry-run", false, "print the literal steps and change nothing")
	fs.DurationVar(&o.maxPause, "max-pause", 0, "longest stall of writes (default: what run was told)")
	fs.BoolVar(&o.noKill, "no-kill", false, "leave the clients of the demoted server connected")
	completeNone(cmd, "max-pause")
	cmd.ValidArgsFunction = o.state.completeArg
}

// switcher is one of the two switches of a client.
type switcher func(*status.Client, context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error)

func runSwitch(ctx context.Context, cmd *cobra.Command, args []string, o *switchOptions, s streams, do switcher) error {
	if err := o.state.load(cmd, s); err != nil {
		return err
	}
	if err := o.state.choose(cmd.Flags(), args); err != nil {
		return err
	}
	if o.maxPause < 0 || o.maxPause > 0 && o.maxPause < time.Millisecond {
		return usagef("", "--max-pause %v: use at least 1ms", o.maxPause)
	}
	client, err := status.Dial(ctx, o.state.stateDir, o.state.name)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // always nil
	result, err := do(client, ctx, migrate.SwitchOptions{
		DryRun: o.dryRun, MaxPauseMS: int(o.maxPause.Milliseconds()), NoKill: o.noKill,
	})
	if err != nil {
		// What was done before it was given up is worth seeing.
		if !o.output.json() && len(result.Steps) > 0 {
			if printErr := live.Steps(s.out, result.Steps); printErr != nil {
				return printErr
			}
		}
		return err
	}
	return printSwitch(s.out, result, o.output.json())
}

func printSwitch(w io.Writer, r migrate.SwitchResult, asJSON bool) error {
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
		return live.Emergency(w, r.Emergency)
	}
	_, err := fmt.Fprintf(w, "%s done, writes stalled for %s\n", r.Direction, units.Milliseconds(r.WriteStallMS))
	return err
}
