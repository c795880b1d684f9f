package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"godwit/internal/migrate"
	"godwit/internal/status/units"
	"godwit/internal/status/verdict"
	"godwit/internal/verify"
)

// Forms in which differences are shown.
const (
	formatTable = "table"
	formatCSV   = "csv"
	formatJSONL = "jsonl"
)

// pageSize is how many differences are shown on a terminal if nothing else is said.
const pageSize = 50

// showOptions are the flags of verify show.
type showOptions struct {
	state         stateOptions
	output        outputOptions
	format        string
	offset, limit int
	samples       int
	kinds         []verify.Kind
	dbs           []int
	list          bool
}

func newVerifyShowCommand(s streams) *cobra.Command {
	o := showOptions{format: formatTable}
	cmd := &cobra.Command{
		Use:   "show [NAME|ID]",
		Short: "Show the last comparison and page through its differences",
		Long: `Shows the last comparison, or the last one of the migration NAME, or the one with
that ID: what "godwit verify" printed, then its differences one a line. --kind and
--db choose among them, --offset and --limit page through them; --format csv or
jsonl exports them, for programs and whole unless --limit is given. It reads a
journal and asks no server. The exit code is 0 whatever the comparison found.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runVerifyShow(cmd.Context(), cmd, args, &o, s)
		},
	}
	o.state.addFlags(cmd, s)
	o.output.addFlags(cmd)
	flags := cmd.Flags()
	flags.Var(choiceValue[string]{&o.format, []string{formatTable, formatCSV, formatJSONL}}, "format", "form of the differences")
	flags.IntVar(&o.offset, "offset", 0, "differences to skip")
	flags.IntVar(&o.limit, "limit", 0, "differences to show at most (default: 50 on a terminal, elsewhere all)")
	flags.IntVar(&o.samples, "samples", 0, "differences of each kind that are shown with both values")
	flags.Var(kindsValue{&o.kinds}, "kind", "only differences of these kinds; repeat it or separate by commas")
	flags.Var(dbsValue{&o.dbs}, "db", "only differences in these dbs; repeat it or separate by commas")
	flags.BoolVar(&o.list, "list", false, "list the comparisons that are kept")
	completeChoices(cmd, "format", formatTable, formatCSV, formatJSONL)
	completeChoices(cmd, "kind", verdict.KindNames()...)
	completeNone(cmd, "offset", "limit", "samples", "db")
	cmd.ValidArgsFunction = o.state.completeArg
	return cmd
}

func runVerifyShow(_ context.Context, cmd *cobra.Command, args []string, o *showOptions, s streams) error {
	if err := o.state.load(cmd, s); err != nil {
		return err
	}
	if o.offset < 0 || o.limit < 0 || o.samples < 0 {
		return usagef("", "--offset, --limit and --samples must not be negative")
	}
	if !cmd.Flags().Changed("limit") && o.format == formatTable && isTerminal(s.out) {
		o.limit = pageSize
	}
	wanted := ""
	switch {
	case len(args) > 0:
		wanted = args[0]
	case cmd.Flags().Changed("name"):
		wanted = o.state.name
	}
	kept, err := keptReports(o.state.stateDir)
	if err != nil {
		return err
	}
	if o.list {
		return listReports(s, kept, o.output.json())
	}
	shown, err := chooseReport(kept, wanted, &o.state)
	if err != nil {
		return err
	}
	if o.output.json() {
		return json.NewEncoder(s.out).Encode(shown.report)
	}
	return showReport(s, shown, o)
}

// keptReport is a comparison that can be shown.
type keptReport struct {
	dir       string
	migration string // its name; empty for one of --from with --to
	report    *verify.Report
}

// keptReports finds all comparisons under a state directory, the newest first.
func keptReports(stateDir string) ([]keptReport, error) {
	var dirs []keptReport
	ids, err := listComparisons(stateDir)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		dirs = append(dirs, keptReport{dir: filepath.Join(stateDir, comparisonsDir, id)})
	}
	names, err := migrate.List(stateDir)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	for _, name := range names {
		dirs = append(dirs, keptReport{dir: migrate.VerifyDir(stateDir, name), migration: name})
	}
	kept := dirs[:0]
	for _, k := range dirs {
		k.report, err = verify.ReadReport(k.dir)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		default:
			kept = append(kept, k)
		}
	}
	slices.SortStableFunc(kept, func(a, b keptReport) int { return b.report.Started.Compare(a.report.Started) })
	return kept, nil
}

// chooseReport finds the comparison that is wanted: the last one of all, of a
// migration, or the one with an ID.
func chooseReport(kept []keptReport, wanted string, o *stateOptions) (keptReport, error) {
	for _, k := range kept {
		if wanted == "" || k.migration == wanted || k.report.ID == wanted {
			return k, nil
		}
	}
	if wanted == "" {
		return keptReport{}, &hintedError{err: fmt.Errorf("no comparison in %s", o.stateDir), hint: "make one with `godwit verify`, or point --state-dir to where it was made"}
	}
	return keptReport{}, &hintedError{
		err:  fmt.Errorf("no comparison of a migration %s, nor one with that ID, in %s", wanted, o.stateDir),
		hint: "`godwit verify show --list` lists those that are kept",
	}
}

func listReports(s streams, kept []keptReport, asJSON bool) error {
	if asJSON {
		reports := make([]*verify.Report, len(kept))
		for i, k := range kept {
			reports[i] = k.report
		}
		return json.NewEncoder(s.out).Encode(reports)
	}
	rows := make([][]string, len(kept))
	for i, k := range kept {
		what := k.report.Source + " with " + k.report.Target
		if k.migration != "" {
			what = "migration " + k.migration
		}
		rows[i] = []string{k.report.ID, k.report.Started.UTC().Format("2006-01-02 15:04:05 UTC"), what, verdict.Headline(k.report)}
	}
	return verdict.Table(s.out, rows)
}

// showReport prints the report and a page of its differences, or exports them.
func showReport(s streams, k keptReport, o *showOptions) error {
	filter := verdict.Filter{Kinds: o.kinds, DBs: o.dbs}
	switch o.format {
	case formatCSV:
		return export(k.dir, verdict.NewCSV(s.out), filter, o)
	case formatJSONL:
		return export(k.dir, verdict.NewLines(s.out), filter, o)
	}
	if err := verdict.Write(s.out, k.report, verdict.Options{Samples: o.samples}); err != nil {
		return err
	}
	page := verdict.NewPage(s.out)
	shown, more, err := each(k.dir, filter, o, page.Add)
	if err != nil {
		return err
	}
	if shown > 0 {
		if _, err := fmt.Fprintln(s.out); err != nil {
			return err
		}
	}
	if err := page.Flush(); err != nil {
		return err
	}
	if !more {
		return nil
	}
	_, err = fmt.Fprintf(s.out, "\n%s to %s; the next ones: godwit verify show %s --offset %d --limit %d\n",
		units.Count(int64(o.offset)+1), units.Count(int64(o.offset+shown)), k.report.ID, o.offset+shown, o.limit)
	return err
}

func export(dir string, to verdict.Exporter, filter verdict.Filter, o *showOptions) error {
	if _, _, err := each(dir, filter, o, to.Write); err != nil {
		return err
	}
	return to.Flush()
}

// errEnough ends the reading of a journal.
var errEnough = errors.New("enough")

// each gives the differences of a page to f. It returns how many there were, and
// whether there are more after them.
func each(dir string, filter verdict.Filter, o *showOptions, f func(*verify.Difference) error) (shown int, more bool, err error) {
	skip := o.offset
	err = verify.EachDifference(dir, func(d verify.Difference) error {
		switch {
		case !filter.Matches(&d):
			return nil
		case skip > 0:
			skip--
			return nil
		case o.limit > 0 && shown == o.limit:
			more = true
			return errEnough
		}
		shown++
		return f(&d)
	})
	if errors.Is(err, errEnough) {
		err = nil
	}
	return shown, more, err
}
