package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/internal/migrate"
	"godwit/internal/status"
	"godwit/internal/status/verdict"
	"godwit/internal/topology"
	"godwit/internal/verify"
)

// verifyOptions are the flags of verify.
type verifyOptions struct {
	state     stateOptions
	endpoints endpointsOptions
	output    outputOptions
	compare   compareOptions
	given     []string // the flags of the command line
}

func newVerifyCommand(s streams) *cobra.Command {
	var o verifyOptions
	cmd := &cobra.Command{
		Use:     "verify [NAME] | verify --from URL [--from URL]... --to URL",
		GroupID: groupLook,
		Short:   "Compare source and target exactly, and repair the target",
		Long: `Compares every key of both sides by type, value and expiry time while clients
write, and names those that differ. With a NAME, or nothing, it asks the process
that runs the migration, which compares both sides at the very same offset of the
replication stream. With --from and --to it compares any two deployments; --from may
be given more than once, for servers among which clients have divided their keys.

Encodings and the order of sets and hashes do not count; the order of lists, scores
to the bit, the IDs, groups and pending entries of streams, and expiry times to the
millisecond do. Both servers fork once for a snapshot of their own, and once more
where something differs; where snapshots are not permitted, both are scanned.

--repair writes the keys that differ as the source has them, and compares them
again; --repair=delete-extra also deletes what only the target has. Without it
nothing is changed.

The exit code is 0 when both are equal, with --repair when they are in the end; 4
when they differ, 1 when it could not tell. "godwit verify show" lists the
differences and exports them.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runVerify(cmd.Context(), cmd, args, &o, s)
		},
	}
	o.state.addFlags(cmd, s)
	o.state.ownFields = true
	o.endpoints.addFlags(cmd)
	o.output.addFlags(cmd)
	o.compare.addFlags(cmd)
	cmd.ValidArgsFunction = o.state.completeArg
	cmd.AddCommand(newVerifyShowCommand(s))
	return cmd
}

func runVerify(ctx context.Context, cmd *cobra.Command, args []string, o *verifyOptions, s streams) error {
	fs := cmd.Flags()
	named := len(args) > 0 || fs.Changed("name")
	between := fs.Changed("from") || fs.Changed("to")
	if named && between {
		return usagef("for a running migration leave --from and --to out", "a migration is named, and --from or --to is given too")
	}
	o.given = givenFlags(fs)
	if err := o.state.load(cmd, s); err != nil {
		return err
	}
	if err := o.compare.check(); err != nil {
		return err
	}
	if between {
		return verifyEnds(ctx, cmd, o, s)
	}
	if err := o.state.choose(fs, args); err != nil {
		return err
	}
	client, err := status.Dial(ctx, o.state.stateDir, o.state.name)
	var notRunning *status.NotRunningError
	if errors.As(err, &notRunning) && !named && o.endpoints.from.url != "" {
		if _, err := fmt.Fprintf(s.err, "the migration %s does not run: comparing from and to of %s\n", o.state.name, o.state.file); err != nil {
			return err
		}
		return verifyEnds(ctx, cmd, o, s)
	}
	if err != nil {
		return notVerified(err)
	}
	defer func() { _ = client.Close() }() // always nil
	return verifyRunning(ctx, cmd, client, o, s)
}

// givenFlags are the names of the flags of a command line, --from and --to first.
func givenFlags(fs *pflag.FlagSet) []string {
	var ends, others []string
	fs.Visit(func(f *pflag.Flag) {
		if f.Name == "from" || f.Name == "to" {
			ends = append(ends, f.Name)
		} else {
			others = append(others, f.Name)
		}
	})
	return append(ends, others...)
}

// notVerified adds what else can be done where no process runs the migration.
func notVerified(err error) error {
	var notRunning *status.NotRunningError
	if !errors.As(err, &notRunning) {
		return err
	}
	return &hintedError{err: err, hint: notRunning.HintText() + "; or compare any two servers with `godwit verify --from URL --to URL`"}
}

// verifyRunning has the process that runs a migration compare its two sides.
func verifyRunning(ctx context.Context, cmd *cobra.Command, client *status.Client, o *verifyOptions, s streams) error {
	if len(o.compare.drop) > 0 && cmd.Flags().Changed("drop") {
		return usagef("leave it out", "--drop is what the migration was told; it cannot be told again")
	}
	if slices.Contains(o.given, "db-map") {
		return usagef("leave it out", "--db-map is what the migration was told; it cannot be told again")
	}
	now, err := client.Status(ctx)
	if err != nil {
		return err
	}
	progress := showProgress(s, o.output.json(), verdict.NewMeter(now.Source.Keys, now.Target.Keys))
	report, err := client.Verify(ctx, o.compare.running(), func(v migrate.VerifyStatus) {
		if v.State == migrate.VerifyRunning { // not still the one before
			progress.update(verdict.ProgressOf(v))
		}
	})
	progress.stop()
	if errors.Is(err, context.Canceled) {
		return &hintedError{err: err, hint: "the comparison was cancelled; the migration " + o.state.name + " goes on"}
	}
	if err != nil {
		return notVerified(err)
	}
	return finishVerify(s, o, report, nil, nextSteps(cmd, o, o.state.name, report))
}

// finishVerify prints the report and returns what makes the exit code. interrupted
// is the error of a context that has ended.
func finishVerify(s streams, o *verifyOptions, r *verify.Report, interrupted error, next []string) error {
	var err error
	if o.output.json() {
		err = json.NewEncoder(s.out).Encode(r)
	} else {
		err = verdict.Write(s.out, r, verdict.Options{Samples: o.compare.Samples, Next: next})
	}
	switch {
	case err != nil:
		return err
	case interrupted != nil && r.Interrupted:
		return &hintedError{err: interrupted, hint: goesOn}
	case interrupted != nil:
		return interrupted
	case r.Result == verify.Equal:
		return nil
	case r.Result == verify.Different:
		return &codedError{code: status.ExitDifferences} // the report says it
	}
	hint := r.Hint
	if r.Interrupted {
		hint = strings.TrimPrefix(hint+"; "+goesOn, "; ")
	}
	return &hintedError{err: errors.New(r.Error), hint: hint}
}

const goesOn = "the same `godwit verify` goes on from here"

// nextSteps are the commands that make sense after a report.
func nextSteps(cmd *cobra.Command, o *verifyOptions, shown string, r *verify.Report) []string {
	if r == nil || r.Result != verify.Different {
		return nil
	}
	var next []string
	again := commandLine(cmd, o)
	switch extra := r.Counts[verify.Extra]; {
	case !o.compare.Repair && extra > 0:
		next = append(next, again+" --repair", again+" --repair=delete-extra   # deletes the extra keys, too")
	case !o.compare.Repair:
		next = append(next, again+" --repair")
	case extra > 0 && !o.compare.DeleteExtra:
		next = append(next, again+" --repair=delete-extra")
	}
	show := "godwit verify show " + shown
	if slices.Contains(o.given, "state-dir") {
		show += " --state-dir " + topology.ShellQuote(o.state.stateDir)
	}
	return append(next, show+"   # all differences")
}
