package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"godwit/internal/census"
	"godwit/internal/status/units"
)

// auditPage writes a report for people.
type auditPage struct {
	strings.Builder
	r *census.Report
}

func writeAudit(w io.Writer, r *census.Report) error {
	p := auditPage{r: r}
	p.line("%s", auditVerdict(r))
	p.line("")
	p.about()
	p.classes()
	p.findings()
	p.tags()
	p.notes()
	_, err := io.WriteString(w, p.String())
	return err
}

func (p *auditPage) line(format string, args ...any) {
	_, _ = fmt.Fprintf(p, format, args...) // a strings.Builder takes all
	p.WriteByte('\n')
}

// table writes rows in columns, each row after an indent.
func (p *auditPage) table(indent string, rows [][]string) {
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		_, _ = fmt.Fprintln(t, indent+strings.Join(row, "\t")) // as above
	}
	_ = t.Flush() // as above
	for line := range strings.Lines(b.String()) {
		p.line("%s", strings.TrimRight(line, " \n"))
	}
}

// auditVerdict is the report in one line.
func auditVerdict(r *census.Report) string {
	if r.Calls == 0 {
		return "nothing was called while it was watched"
	}
	text := percent(r.Effects[census.Works].Share) + " of the calls work on a cluster as they are"
	if r.Fits() && r.Effects[census.Unknown].Calls == 0 {
		text = "all calls work on a cluster as they are"
	}
	for _, part := range []struct {
		effect census.Effect
		says   string
	}{
		{census.Breaks, "break"}, {census.Splits, "have to be split by the client"},
		{census.OneShard, "see or reach one shard only"}, {census.Unknown, "are not known"},
	} {
		if s := r.Effects[part.effect]; s.Calls > 0 {
			text += "; " + percent(s.Share) + " " + part.says
			if part.effect == census.Breaks {
				text += ": " + broken(r)
			}
		}
	}
	return text
}

// broken says how many commands of how many clients break.
func broken(r *census.Report) string {
	commands := make(map[string]bool)
	for _, f := range r.Findings {
		if f.Effect == census.Breaks {
			commands[f.Command] = true
		}
	}
	text := plural(len(commands), "command")
	if r.Breaking > 0 {
		text += " of " + plural(r.Breaking, "client")
	}
	return text
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return units.Count(int64(n)) + " " + noun + "s"
}

// percent is a share in three digits or so; what is not quite 0 or 100 % never looks so.
func percent(share float64) string {
	p := 100 * share
	switch {
	case share <= 0:
		return "0 %"
	case share >= 1:
		return "100 %"
	case p < 0.01:
		return "< 0.01 %"
	case p > 99.99:
		return "> 99.99 %"
	case p < 0.1 || p > 99.9:
		return strconv.FormatFloat(p, 'f', 2, 64) + " %"
	}
	return strconv.FormatFloat(p, 'f', 1, 64) + " %"
}

// about says what was watched, for how long, and how it was counted.
func (p *auditPage) about() {
	r := p.r
	server := r.Source
	if r.Server != "" {
		server += " · " + r.Server
	}
	length := units.Duration(time.Duration(r.Seconds * float64(time.Second)))
	calls := units.Count(r.Calls) + " calls"
	switch {
	case r.Counted:
		calls += ", counted by the server"
	case r.Monitor != nil:
		calls += ", seen by MONITOR"
	}
	rows := [][]string{{"source", server}, {"watched", length + " · " + calls}}
	if m := r.Monitor; m != nil {
		text := "not used"
		if m.Windows > 0 {
			text = fmt.Sprintf("%s of the calls seen, in %s of the time", percent(min(1, float64(r.Seen)/float64(max(1, r.Calls)))), percent(min(1, m.Seconds/r.Seconds)))
		}
		if m.Fall > 0 {
			text += fmt.Sprintf("; while it ran the server ran %s fewer commands", percent(m.Fall))
		}
		rows = append(rows, []string{"monitor", text})
		if m.Stopped != "" {
			rows = append(rows, []string{"", "given up: " + m.Stopped})
		}
	}
	if r.Margin > 0 {
		rows = append(rows, []string{"margin", "± " + percent(r.Margin) + " with 95 % confidence, as calls were sampled"})
	}
	if c := r.ServerCount; c != nil {
		rows = append(rows, []string{"by server", fmt.Sprintf("cluster_incompatible_ops %s, of %d %% of the calls", units.Count(c.Counted), c.Ratio)})
	}
	p.table("", rows)
}

// classes says how the keys of calls lie.
func (p *auditPage) classes() {
	names := []struct {
		class      census.Class
		keys, does string
	}{
		{census.NoKey, "no key", ""},
		{census.OneKey, "one key", ""},
		{census.OneSlot, "several keys, one hash slot", "work as they are"},
		{census.Independent, "several keys, several slots, independent", "refused, unless the client splits them"},
		{census.Crossing, "several keys, several slots, together", "break"},
	}
	rows := [][]string{{"KEYS", "CALLS", "SHARE", ""}}
	for _, n := range names {
		if s := p.r.Classes[n.class]; s.Calls > 0 {
			rows = append(rows, []string{n.keys, units.Count(s.Calls), percent(s.Share), n.does})
		}
	}
	p.line("")
	p.table("", rows)
	if len(p.r.DBs) > 1 {
		var dbs []string
		for _, db := range p.r.DBs {
			dbs = append(dbs, fmt.Sprintf("db %d %s", db.DB, percent(db.Share)))
		}
		p.line("\nof the traffic: %s", strings.Join(dbs, ", "))
	}
}

// findingsShown is how many findings are printed of each effect; JSON has all.
const findingsShown = 15

// findings says what does not work, the worst first.
func (p *auditPage) findings() {
	for _, group := range []struct {
		effect census.Effect
		title  string
	}{
		{census.Breaks, "BREAKS"},
		{census.Splits, "REFUSED UNLESS SPLIT"},
		{census.OneShard, "SEES OR REACHES ONE SHARD"},
		{census.Unknown, "NOT KNOWN"},
	} {
		var all []census.Finding
		for _, f := range p.r.Findings {
			if f.Effect == group.effect {
				all = append(all, f)
			}
		}
		if len(all) == 0 {
			continue
		}
		p.line("\n%s", group.title)
		for _, f := range all[:min(len(all), findingsShown)] {
			p.finding(f)
		}
		if more := len(all) - findingsShown; more > 0 {
			p.line("  and %s; --json has all", plural(more, "more finding"))
		}
	}
}

func (p *auditPage) finding(f census.Finding) {
	what := f.Command
	for _, more := range []string{f.Script, f.Detail} {
		if more != "" {
			what += " " + more
		}
	}
	if f.Reason == census.DB {
		what = "db " + f.Detail
	}
	of := ""
	if f.Of > 0 {
		of = ", " + percent(f.Of) + " of this command's"
	}
	p.line("  %s: %s", what, f.Text)
	p.line("      %s (%s of all%s)", plural64(f.Calls, "call"), percent(f.Share), of)
	for _, c := range f.Clients[:min(len(f.Clients), 3)] {
		p.line("      by %s", clientText(c))
	}
	if more := len(f.Clients) + f.More - 3; more > 0 {
		p.line("      by %s", plural(more, "more client"))
	}
	var samples []string
	for _, keys := range f.Samples {
		samples = append(samples, strings.Join(keys, " "))
	}
	if len(samples) > 0 {
		p.line("      e.g. %s", strings.Join(samples, " | "))
	}
}

func plural64(n int64, noun string) string { return plural(int(n), noun) }

func clientText(c census.Client) string {
	text := c.Address
	if text == "" {
		text = "?"
	}
	if c.Name != "" {
		text = c.Name + " at " + text
	}
	if c.Library != "" {
		text += " (" + c.Library + ")"
	}
	text += ", " + plural(c.Connections, "connection")
	if c.Share < 1 {
		text += ", " + percent(c.Share) + " of them"
	}
	return text
}

// tags says what hash tags would do.
func (p *auditPage) tags() {
	h := p.r.HashTags
	if len(h.Proposals)+len(h.Unmended) == 0 {
		return
	}
	p.line("\nHASH TAGS")
	if h.Breaks > 0 || h.Splits > 0 {
		p.line("  would mend %s:", mended(h.Breaks, h.Splits))
	} else {
		p.line("  none would mend any of the calls that break, without all keys of a kind on one shard")
	}
	for _, proposal := range h.Proposals {
		p.proposal(proposal)
	}
	for _, u := range h.Unmended {
		p.line("  nothing in common: %s (%s of the calls that break), e.g. %s", strings.Join(u.Patterns, "  "), percent(u.Breaks), strings.Join(u.Example, " "))
	}
}

// mended says of which calls a share works with hash tags.
func mended(breaks, splits float64) string {
	var parts []string
	if breaks > 0 {
		parts = append(parts, percent(breaks)+" of the calls that break")
	}
	if splits > 0 {
		parts = append(parts, percent(splits)+" of those to be split")
	}
	return strings.Join(parts, " and ")
}

func (p *auditPage) proposal(h census.Proposal) {
	var rows [][]string
	for _, k := range h.Keys {
		change := []string{k.Pattern, "→ " + k.As}
		if k.Pattern == k.As {
			change = []string{k.Pattern, "  stays"}
		}
		rows = append(rows, change)
	}
	p.table("    ", rows)
	text := "mends " + mended(h.Breaks, h.Splits)
	if h.OneSlot {
		text += ", but then all these keys are in one slot, on one shard"
	} else {
		text += fmt.Sprintf("; %s seen", plural(h.Values, "tag"))
	}
	p.line("      %s; e.g. %s", text, strings.Join(h.Example, " "))
}

// notes says what was left out, and what else is to be known.
func (p *auditPage) notes() {
	var notes []string
	for _, e := range p.r.Earlier {
		if len(notes) == findingsShown {
			notes = append(notes, "more in --json")
			break
		}
		notes = append(notes, fmt.Sprintf("%s: %s before, none while watched: %s", e.Command, plural64(e.Calls, "call"), e.Text))
	}
	if len(notes) > 0 {
		p.line("\nEARLIER, since the server's start or CONFIG RESETSTAT")
		for _, note := range notes {
			p.line("  %s", note)
		}
	}
	notes = p.r.Notes
	l := p.r.LeftOut
	for _, left := range []struct {
		n    int64
		text string
	}{
		{l.NotUnderstood, "lines are not MONITOR's output; the first one: " + p.r.FirstBad},
		{l.Cut, "lines were too long to be read to their end: keys may be missing"},
		{l.Unescaped, "lines have quotes that are not escaped (Valkey 8.1), and were read as well as possible"},
		{l.CutTransactions, "transactions were not seen from their beginning: each of their calls was judged by itself"},
		{l.UnixTransactions, "transactions came over a Unix socket, where MONITOR does not tell clients apart: each of their calls was judged by itself"},
		{l.Connections, "calls came from connections beyond the first 65,536"},
		{l.Rows, "calls that do not work are not among the findings, which were too many"},
		{l.Clients, "calls are not among the clients of their findings, which were too many"},
		{l.Groups, "groups of keys were too large to find hash tags for"},
	} {
		if left.n > 0 {
			notes = append(notes, units.Count(left.n)+" "+left.text)
		}
	}
	if len(notes) > 0 {
		p.line("")
	}
	for _, note := range notes {
		p.line("note: %s", note)
	}
}
