package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"godwit/internal/migrate"
	"godwit/internal/server"
	"godwit/internal/status"
	"godwit/internal/status/verdict"
	"godwit/internal/topology"
	"godwit/internal/verify"
)

// verifyEnds compares --from with --to in this process.
func verifyEnds(ctx context.Context, cmd *cobra.Command, o *verifyOptions, s streams) (err error) {
	from, to, err := o.ends(s)
	if err != nil {
		return err
	}
	note := comparisonNote{Ends: from.String() + " " + to.String(), Scope: o.compare.scope()}
	source, sourceKeys, err := resolveSide(ctx, "source", from)
	if err != nil {
		return err
	}
	target, targetKeys, err := resolveSide(ctx, "target", to)
	if err != nil {
		return err
	}
	place, err := openComparison(o.state.stateDir, note, o.compare.anew, time.Now())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, place.close()) }()
	if place.goesOn {
		if _, err := fmt.Fprintf(s.err, "going on with the comparison of %s, which was interrupted; --anew begins anew\n", place.began()); err != nil {
			return err
		}
	}
	if name := migrationBetween(ctx, o.state.stateDir, from, to); name != "" {
		if _, err := fmt.Fprintf(s.err, "the migration %s runs between the two: godwit verify %s compares both at the very same offset\n", name, name); err != nil {
			return err
		}
	}
	progress := showProgress(s, o.output.json(), verdict.NewMeter(sourceKeys, targetKeys))
	options := o.compare.Options
	options.Dir = place.dir
	running, stop := interruption(ctx)
	defer stop()
	report, err := verify.Run(running, verify.Config{Source: source, Target: target, Options: options, Progress: progress.update})
	progress.stop()
	if err != nil {
		return err
	}
	return finishVerify(s, o, report, ctx.Err(), nextSteps(cmd, o, report.ID, report))
}

// migrationBetween is the migration of the state directory that runs between two
// deployments, in either direction; "" if there is none that tells.
func migrationBetween(ctx context.Context, stateDir string, from, to server.Endpoint) string {
	names, err := migrate.List(stateDir)
	if err != nil {
		return ""
	}
	ends := func(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }
	for _, name := range names {
		client, err := status.Dial(ctx, stateDir, name)
		if err != nil {
			continue // it does not run
		}
		now, err := client.Status(ctx)
		_ = client.Close() // always nil
		source, wrong := server.ParseEndpoint(now.Source.URL)
		target, wrongToo := server.ParseEndpoint(now.Target.URL)
		if err == nil && wrong == nil && wrongToo == nil && ends(source.Address, target.Address) == ends(from.Address, to.Address) {
			return name
		}
	}
	return ""
}

// errInterrupted is what a report says of a comparison that the user ended.
var errInterrupted = errors.New("interrupted")

// interruption is a context that ends with ctx, and says so in the user's words.
func interruption(ctx context.Context) (context.Context, func()) {
	running, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { cancel(errInterrupted) })
	return running, func() {
		stop()
		cancel(nil)
	}
}

// ends are --from and --to.
func (o *verifyOptions) ends(s streams) (from, to server.Endpoint, err error) {
	if from, err = o.endpoints.endpoint(&o.endpoints.from, s); err != nil {
		return from, to, err
	}
	if to, err = o.endpoints.endpoint(&o.endpoints.to, s); err != nil {
		return from, to, err
	}
	switch {
	case from.Address == to.Address:
		err = usagef("", "source and target are the same address, %s", from.Address)
	case from.DB != 0 || to.DB != 0:
		err = usagef("--db 3 compares one db", "a db in a URL: every db is compared with the same of the other side; leave it out")
	}
	return from, to, err
}

// resolveSide finds the servers of a side, and how many keys they have.
func resolveSide(ctx context.Context, name string, e server.Endpoint) (verify.Side, int64, error) {
	d, err := topology.Resolve(ctx, e)
	if err != nil {
		return verify.Side{}, 0, fmt.Errorf("%s: %w", name, err)
	}
	return verify.Side{Name: e.String(), Shards: d.Primaries, Slots: d.Slots}, d.Keys, nil
}

// commandLine is the verb as it was called, without passwords, without --repair and
// without what only says how it is shown.
func commandLine(cmd *cobra.Command, o *verifyOptions) string {
	words := []string{"godwit", "verify"}
	if args := cmd.Flags().Args(); len(args) > 0 {
		words = append(words, args[0])
	}
	for _, name := range o.given {
		value := cmd.Flags().Lookup(name).Value.String()
		switch name {
		case "repair", "json", "output", "samples":
			continue // what differs from call to call
		case "from", "to":
			e, err := server.ParseEndpoint(value)
			if err != nil {
				continue // it was refused before
			}
			value = e.String()
		}
		words = append(words, "--"+name, topology.ShellQuote(value))
	}
	return strings.Join(words, " ")
}
