// Package verdict shows what a comparison found: for people as a report, a line
// and pages of differences, and for programs as CSV and JSON lines.
package verdict

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"charm.land/lipgloss/v2"

	"godwit/internal/status/units"
	"godwit/internal/verify"
)

// Options of a report.
type Options struct {
	Samples int      // differences of each kind that are shown with their values
	Next    []string // what to do now, one command a line
}

// Write writes the report of a comparison: the verdict in the first line, then what
// was compared and how, then what differs. Colours are left out where w is no
// terminal.
func Write(w io.Writer, r *verify.Report, o Options) error {
	var b strings.Builder
	b.WriteString(headline(r) + "\n\n")
	writeSides(&b, r)
	writeCounts(&b, r)
	b.WriteByte('\n')
	for _, row := range facts(r) {
		fmt.Fprintf(&b, "%-9s %s\n", row[0], row[1])
	}
	writeSamples(&b, r.Samples, o.Samples)
	for i, line := range o.Next {
		if i == 0 {
			b.WriteString("\nnext:\n")
		}
		b.WriteString("  " + line + "\n")
	}
	_, err := lipgloss.Fprint(w, b.String())
	return err
}

// Headline is the verdict in a line, its first word in capitals.
func Headline(r *verify.Report) string {
	word, rest := headlineParts(r)
	return word + rest
}

func headline(r *verify.Report) string {
	word, rest := headlineParts(r)
	switch r.Result {
	case verify.Equal:
		return good(word) + rest
	case verify.Different:
		return bad(word) + rest
	}
	return warn(word) + rest
}

func headlineParts(r *verify.Report) (word, rest string) {
	switch r.Result {
	case verify.Equal:
		rest = ": " + compared(r) + ", every value and expiry time"
		if n := total(r.Counts); n > 0 {
			rest = fmt.Sprintf(" after the repair of %s: %s", count(n, "key", "keys"), compared(r))
		}
		if !r.Scope.Whole() {
			return "EQUAL IN PART", rest
		}
		return "EQUAL", rest
	case verify.Different:
		n := total(r.Counts)
		if r.Error != "" {
			return "DIFFERENT", fmt.Sprintf(": %s so far, %s, and not all", count(n, "difference", "differences"), compared(r))
		}
		if left := left(r); left > 0 {
			return "DIFFERENT", fmt.Sprintf(": %s of %s not repaired, %s", units.Count(left), count(n, "difference", "differences"), compared(r))
		}
		return "DIFFERENT", fmt.Sprintf(": %s, %s", count(n, "difference", "differences"), compared(r))
	}
	return "COULD NOT TELL", ": " + r.Error
}

// compared is how many keys of the source there were, or of the target if it has more.
func compared(r *verify.Report) string {
	text := count(max(r.SourceRead.Keys, r.TargetRead.Keys), "key", "keys") + " compared"
	if !r.Scope.Whole() {
		text += " (" + r.Scope.String() + ")"
	}
	return text
}

// left is how many differences a repair has left; 0 where there was none.
func left(r *verify.Report) int64 {
	var n, repaired int64
	for what, count := range r.Repaired {
		n += count
		if mended(what) {
			repaired += count
		}
	}
	if n == 0 {
		return 0
	}
	return total(r.Counts) - repaired
}

// mended tells whether a key that became that is as the source has it.
func mended(repair string) bool {
	return repair == verify.Repaired || repair == verify.Deleted || repair == verify.Gone
}

func total(counts map[verify.Kind]int64) int64 {
	var n int64
	for _, c := range counts {
		n += c
	}
	return n
}

// writeSides prints what was read of each side, and how fast.
func writeSides(b *strings.Builder, r *verify.Report) {
	rows := make([][]string, 0, 2)
	for _, side := range []struct {
		name, url string
		read      verify.Read
	}{{"source", r.Source, r.SourceRead}, {"target", r.Target, r.TargetRead}} {
		row := []string{side.name, side.url, count(side.read.Keys, "key", "keys"), units.Bytes(side.read.Bytes)}
		if seconds := r.Took.Seconds(); seconds > 0 && side.read.Keys > 0 {
			row = append(row, units.Rate(float64(side.read.Keys)/seconds)+" keys/s",
				units.Bytes(int64(float64(side.read.Bytes)/seconds))+"/s")
		}
		rows = append(rows, row)
	}
	writeTable(b, rows, func(column int) bool { return column >= 2 })
}

// writeCounts prints how many differences there are, by db and kind.
func writeCounts(b *strings.Builder, r *verify.Report) {
	if total(r.Counts) == 0 {
		return
	}
	header, kinds := []string{""}, []verify.Kind{}
	for _, kind := range verify.Kinds() {
		if r.Counts[kind] > 0 {
			header, kinds = append(header, string(kind)), append(kinds, kind)
		}
	}
	rows := [][]string{append(header, "total")}
	row := func(name string, counts map[verify.Kind]int64) {
		cells := []string{name}
		for _, kind := range kinds {
			cells = append(cells, units.Count(counts[kind]))
		}
		rows = append(rows, append(cells, units.Count(total(counts))))
	}
	dbs := make([]int, 0, len(r.ByDB))
	for db := range r.ByDB {
		dbs = append(dbs, db)
	}
	slices.Sort(dbs)
	for _, db := range dbs {
		row(dbName(db), r.ByDB[db])
	}
	if len(rows) > 2 {
		row("total", r.Counts)
	}
	b.WriteByte('\n')
	writeTable(b, rows, func(column int) bool { return column > 0 })
}

// dbName is how a db of a difference is called; function libraries belong to none.
func dbName(db int) string {
	if own, homeless := verify.Homeless(db); homeless {
		return fmt.Sprintf("target's db %d", own)
	}
	if db < 0 {
		return "functions"
	}
	return fmt.Sprintf("db %d", db)
}

// facts are the lines that say how the verdict was come to.
func facts(r *verify.Report) [][2]string {
	var rows [][2]string
	row := func(name, format string, args ...any) {
		rows = append(rows, [2]string{name, fmt.Sprintf(format, args...)})
	}
	if r.Method != verify.Automatic {
		row("method", "%s", method(r))
	}
	if r.ReplID != "" {
		row("holds at", "offset %s of the source, replid %s", units.Count(r.Offset), r.ReplID)
	}
	if r.ReplID != "" {
		row("held", "the target's feed for %s", units.Duration(r.Held))
	}
	if r.Settled > 0 {
		row("settled", "%s in flight at the first look: equal in the end", count(r.Settled, "key that was", "keys that were"))
	}
	if text := repaired(r.Repaired); text != "" {
		row("repaired", "%s", text)
	}
	if r.Error != "" && r.Result == verify.Different {
		row("stopped", "%s", r.Error)
		if r.Hint != "" {
			row("hint", "%s", r.Hint)
		}
	}
	row("took", "%s, begun %s", units.Duration(r.Took), r.Started.UTC().Format(time.DateTime+" UTC"))
	if r.ID != "" {
		row("id", "%s", r.ID)
	}
	return rows
}

// method is how the sides were read, and why so.
func method(r *verify.Report) string {
	text := string(r.Method)
	switch r.Method {
	case verify.Snapshot:
		text += ": an RDB snapshot of each side"
		if r.ReplID != "" {
			text += ", both at the same offset"
		}
	case verify.Scan:
		text += ": SCAN and DUMP of each side"
	}
	if r.Why != "" {
		text += "; " + r.Why
	}
	return text
}

// repaired says what became of the differences.
func repaired(by map[string]int64) string {
	var parts []string
	what := make([]string, 0, len(by))
	for name := range by {
		what = append(what, name)
	}
	slices.SortFunc(what, func(a, b string) int { return order(a) - order(b) })
	for _, name := range what {
		text := map[string]string{
			verify.Repaired: "written as the source has them",
			verify.Deleted:  "deleted at the target",
			verify.Kept:     "extra at the target and kept",
			verify.Gone:     "equal by then",
			verify.Failed:   "failed",
		}[name]
		parts = append(parts, units.Count(by[name])+" "+text)
	}
	return strings.Join(parts, " · ")
}

// order is the place of what became of a difference; failures come last.
func order(repair string) int {
	return slices.Index([]string{verify.Repaired, verify.Deleted, verify.Gone, verify.Kept, verify.Failed}, repair)
}

// writeTable prints rows in columns; right tells which of them are numbers.
func writeTable(b *strings.Builder, rows [][]string, right func(column int) bool) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], lipgloss.Width(cell))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			if i > 0 {
				line.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[i]-lipgloss.Width(cell))
			if right(i) {
				line.WriteString(pad + cell)
			} else {
				line.WriteString(cell + pad)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}

// count is a number with its noun, thousands separated.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return units.Count(n) + " " + many
}

// The styles use the terminal's own sixteen colours, which fit every theme.
func dim(s string) string  { return lipgloss.NewStyle().Foreground(lipgloss.BrightBlack).Render(s) }
func good(s string) string { return strong(lipgloss.Green, s) }
func warn(s string) string { return strong(lipgloss.Yellow, s) }
func bad(s string) string  { return strong(lipgloss.Red, s) }
