package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	note := comparisonNote{Ends: urlsOf(from) + " " + to.String(), Scope: o.compare.scope()}
	source, sourceKeys, err := resolveSide(ctx, "source", from...)
	if err != nil {
		return err
	}
	target, targetKeys, err := resolveSide(ctx, "target", to)
	if err != nil {
		return err
	}
	target.Route = o.compare.route
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
func migrationBetween(ctx context.Context, stateDir string, from []server.Endpoint, to server.Endpoint) string {
	names, err := migrate.List(stateDir)
	if err != nil {
		return ""
	}
	ends := func(a, b string) [2]string { return [2]string{min(a, b), max(a, b)} }
	wanted := ends(addressesOf(from), to.Address)
	for _, name := range names {
		client, err := status.Dial(ctx, stateDir, name)
		if err != nil {
			continue // it does not run
		}
		now, err := client.Status(ctx)
		_ = client.Close() // always nil
		if err != nil {
			continue
		}
		source, wrong := parseAll(now.Source.URL)
		target, wrongToo := parseAll(now.Target.URL)
		if wrong == nil && wrongToo == nil && ends(addressesOf(source), addressesOf(target)) == wanted {
			return name
		}
	}
	return ""
}

// parseAll are the servers of URLs with spaces between, as a status names a side.
func parseAll(urls string) ([]server.Endpoint, error) {
	var all []server.Endpoint
	for _, url := range strings.Fields(urls) {
		e, err := server.ParseEndpoint(url)
		if err != nil {
			return nil, err
		}
		all = append(all, e)
	}
	return all, nil
}

// addressesOf are those of servers, in one order whatever theirs is.
func addressesOf(servers []server.Endpoint) string {
	all := make([]string, len(servers))
	for i, e := range servers {
		all[i] = e.Address
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// urlsOf are the URLs of servers, without passwords.
func urlsOf(servers []server.Endpoint) string {
	all := make([]string, len(servers))
	for i, e := range servers {
		all[i] = e.String()
	}
	return strings.Join(all, " ")
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

// ends are --from, one or several, and --to.
func (o *verifyOptions) ends(s streams) (from []server.Endpoint, to server.Endpoint, err error) {
	first, others, err := o.endpoints.sources(s)
	if err != nil {
		return nil, to, err
	}
	if to, err = o.endpoints.endpoint(&o.endpoints.to, s); err != nil {
		return nil, to, err
	}
	from = append([]server.Endpoint{first}, others...)
	for i, e := range from {
		switch {
		case e.Address == to.Address:
			err = usagef("", "source and target are the same address, %s", e.Address)
		case slices.ContainsFunc(from[:i], func(x server.Endpoint) bool { return x.Address == e.Address }):
			err = usagef("give each source once", "%s is given twice", e.Address)
		case e.DB != 0 || to.DB != 0:
			err = usagef("--db 3 compares one db", "a db in a URL: every db is compared with the same of the other side; leave it out")
		}
		if err != nil {
			return nil, to, err
		}
	}
	return from, to, nil
}

// resolveSide finds the servers of a side, and how many keys they have. Several endpoints
// are servers among which clients have divided their keys.
func resolveSide(ctx context.Context, name string, endpoints ...server.Endpoint) (verify.Side, int64, error) {
	side, keys := verify.Side{Name: urlsOf(endpoints)}, int64(0)
	for _, e := range endpoints {
		d, err := topology.Resolve(ctx, e)
		switch {
		case err != nil:
			return verify.Side{}, 0, fmt.Errorf("%s: %w", name, err)
		case d.Cluster != nil && len(endpoints) > 1:
			return verify.Side{}, 0, usagef("a cluster is one source: give any one node of it", "%s is of a cluster, and one of several sources", e.Address)
		}
		side.Shards, side.Slots = append(side.Shards, d.Primaries...), d.Slots
		keys += d.Keys
	}
	return side, keys, nil
}

// commandLine is the verb as it was called, without passwords, without --repair and
// without what only says how it is shown.
func commandLine(cmd *cobra.Command, o *verifyOptions) string {
	words := []string{"godwit", "verify"}
	if args := cmd.Flags().Args(); len(args) > 0 {
		words = append(words, args[0])
	}
	for _, name := range o.given {
		values := []string{cmd.Flags().Lookup(name).Value.String()}
		switch name {
		case "repair", "json", "output", "samples":
			continue // what differs from call to call
		case "db-map":
			values = o.compare.route.Flags()
		case "from", "to":
			if name == "from" {
				values = append(values, o.endpoints.from.others...)
			}
			for i, value := range values {
				if e, err := server.ParseEndpoint(value); err == nil { // or it was refused before
					values[i] = e.String()
				}
			}
		}
		for _, value := range values {
			words = append(words, "--"+name, topology.ShellQuote(value))
		}
	}
	return strings.Join(words, " ")
}
