package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/spf13/cobra"

	"godwit/internal/census"
	"godwit/internal/status"
	"godwit/internal/status/units"
)

// auditOptions are the flags of audit.
type auditOptions struct {
	output      outputOptions
	endpoints   endpointsOptions // only from is used
	watch       census.WatchOptions
	monitorFile string
}

// fileScheme begins the URL of a file.
const fileScheme = "file:"

func newAuditCommand(s streams) *cobra.Command {
	o := auditOptions{watch: census.WatchOptions{For: time.Minute, Share: 0.1}}
	cmd := &cobra.Command{
		Use:     "audit URL | audit --monitor-file FILE",
		GroupID: groupLook,
		Short:   "Show which commands of the live traffic would break on a cluster",
		Long: `Watches a server's traffic, or reads a file of MONITOR's output, and tells which
calls would not work on a cluster as they are: by command the share, the clients,
samples of keys, and which hash tags would mend it. It changes nothing.

Calls are counted by the server itself (INFO commandstats) over the whole time; how
their keys lie is taken from MONITOR, which costs a server about 1 µs for each
command that it runs. A server that runs fewer than 5,000 commands a second is
monitored all the time, a busier one for --monitor-share of it, in windows of a
fifth of a second; with --monitor-share 0 not at all.

Values and passwords are neither kept nor shown, names of keys are. The exit code is
0 when every call works on a cluster as it is, 4 when some would not, 1 when it
could not tell.`,
		Example: `  godwit audit redis://127.0.0.1:6379 --for 10m
  godwit audit redis://127.0.0.1:6379 --json | jq .findings
  redis-cli MONITOR | head -1000000 | godwit audit --monitor-file -`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runAudit(cmd.Context(), cmd, args, &o, s)
		},
	}
	o.output.addFlags(cmd)
	fs := cmd.Flags()
	fs.DurationVar(&o.watch.For, "for", o.watch.For, "how long to watch")
	fs.Var(monitorShareValue{shareValue{&o.watch.Share}}, "monitor-share", "for how much of the time MONITOR may run on a busy server; 0 for not at all")
	fs.StringVar(&o.monitorFile, "monitor-file", "", "`file` of MONITOR's output to read in place of watching a server; - for standard input")
	fs.StringVar(&o.endpoints.from.passwordFile, "password-file", "", "`file` that holds the password")
	addTLSFlags(fs, &o.endpoints.tls, "tls", "the server")
	completeNone(cmd, "for", "monitor-share")
	return cmd
}

// monitorShareValue is a share that may be 0, too.
type monitorShareValue struct{ shareValue }

func (v monitorShareValue) String() string {
	if v.share == nil || *v.share == 0 {
		return "0"
	}
	return v.shareValue.String()
}

func (v monitorShareValue) Set(text string) error {
	if digits := strings.TrimSuffix(strings.TrimSpace(text), "%"); digits == "0" {
		*v.share = 0
		return nil
	}
	return v.shareValue.Set(text)
}

func runAudit(ctx context.Context, cmd *cobra.Command, args []string, o *auditOptions, s streams) error {
	file := o.monitorFile
	if len(args) > 0 {
		if path, ok := strings.CutPrefix(args[0], fileScheme); ok && file == "" {
			file, args = path, nil
		}
	}
	switch {
	case file != "" && len(args) > 0:
		return usagef("give one of the two", "a URL is given, and --monitor-file too")
	case file != "" && (cmd.Flags().Changed("for") || cmd.Flags().Changed("monitor-share")):
		return usagef("leave it out", "--for and --monitor-share are for a server, and a file is given")
	case file != "":
		return auditFile(ctx, file, o, s)
	case len(args) == 0:
		return usagef("for example `godwit audit redis://127.0.0.1:6379 --for 60s`, or --monitor-file FILE", "what to audit is missing: a URL or a file")
	case o.watch.For < time.Second:
		return usagef("", "--for %s: use at least 1s", o.watch.For)
	}
	o.endpoints.from.url = args[0]
	endpoint, err := o.endpoints.endpoint(&o.endpoints.from, s)
	if err != nil {
		return err
	}
	done := o.showWatching(s)
	r, err := census.Watch(ctx, endpoint, o.watch)
	done()
	if err != nil {
		return err
	}
	return finishAudit(ctx, r, o, s)
}

// auditFile reads a file of MONITOR's output; - is standard input.
func auditFile(ctx context.Context, path string, o *auditOptions, s streams) (err error) {
	in := s.in
	source := "standard input"
	if path != "-" {
		source = fileScheme + path
		f, err := os.Open(path)
		if err != nil {
			return &hintedError{err: fmt.Errorf("--monitor-file: %w", err), hint: "redis-cli MONITOR > FILE writes such a file"}
		}
		defer func() { _ = f.Close() }() // it was only read
		in = f
	}
	r, err := census.ReadFile(ctx, in, source)
	if err != nil {
		return err
	}
	return finishAudit(ctx, r, o, s)
}

// finishAudit prints the report and returns what makes the exit code.
func finishAudit(ctx context.Context, r *census.Report, o *auditOptions, s streams) error {
	var err error
	if o.output.json() {
		err = json.NewEncoder(s.out).Encode(r)
	} else {
		err = writeAudit(s.out, r)
	}
	switch {
	case err != nil:
		return err
	case r.Interrupted:
		return ctx.Err()
	case !r.Fits():
		return &codedError{code: status.ExitDifferences} // the report says it
	}
	return nil
}

// showWatching shows on a terminal how long is still to be watched. done takes the
// line away.
func (o *auditOptions) showWatching(s streams) (done func()) {
	if name, _ := s.env("TERM"); name == "dumb" || !isTerminal(s.err) {
		return func() {}
	}
	o.watch.Progress = func(watched time.Duration, lines int64) {
		_, _ = fmt.Fprintf(s.err, "\rwatching: %s of %s, %s calls seen by MONITOR%s", // it watches on unseen
			units.Duration(watched.Truncate(time.Second)), units.Duration(o.watch.For), units.Count(lines), ansi.EraseLineRight)
	}
	return func() { _, _ = fmt.Fprint(s.err, "\r"+ansi.EraseLineRight) } // as above
}
