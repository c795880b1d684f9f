//go:build matrix

package matrix

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/traffic"
)

const path = "../../docs/compatibility.md"

const introduction = `# Compatibility

Written by ` + "`make matrix`" + `, which runs every pair of these servers, source in the row,
target in the column: a data set of every type in every encoding that the source
makes is copied; 20,000 random commands, of all write commands that the source
has, follow; a cutover; 20,000 of the target's; a rollback; 2,000 more. Both
sides are compared by meaning at each stage: every value, score, stream ID,
pending entry and TTL.

**works** means all of that, there and back, with what both servers have. What
only one of them has, or loads, is tried on its own: the numbers lead to what
becomes of it.

`

// title is a server's name as people write it.
func title(name string) string {
	product, version, _ := strings.Cut(name, "-")
	return strings.ToUpper(product[:1]) + product[1:] + " " + version
}

// cell is what the table says of a pair.
func (o outcome) cell(notes []int) string {
	text := "works"
	if !o.works() {
		text = "refused"
	}
	for _, n := range notes {
		text += fmt.Sprintf(" [%d](#%d)", n, n)
	}
	return text
}

// writeDocument writes the table and what it refers to, in an order that does
// not change from run to run.
func writeDocument(t *testing.T, names []string, outcomes []outcome) {
	t.Helper()
	var texts []string // of the notes
	note := func(text string) int {
		if !slices.Contains(texts, text) {
			texts = append(texts, text)
		}
		return slices.Index(texts, text) + 1
	}
	cells := make(map[[2]string]string)
	for _, o := range outcomes {
		var notes []int
		if !o.works() {
			notes = append(notes, note("Refused: "+o.refused))
		}
		for _, f := range o.features {
			notes = append(notes, note(f.text()))
		}
		slices.Sort(notes)
		cells[[2]string{o.source, o.target}] = o.cell(slices.Compact(notes))
	}
	var b strings.Builder
	b.WriteString(introduction)
	b.WriteString("| from \\ to |")
	for _, name := range names {
		fmt.Fprintf(&b, " %s |", title(name))
	}
	b.WriteString("\n|---" + strings.Repeat("|---", len(names)) + "|\n")
	for _, source := range names {
		fmt.Fprintf(&b, "| **%s** |", title(source))
		for _, target := range names {
			fmt.Fprintf(&b, " %s |", cells[[2]string{source, target}])
		}
		b.WriteString("\n")
	}
	b.WriteString("\n## Notes\n\n")
	for i, text := range texts {
		fmt.Fprintf(&b, "<a id=\"%d\"></a>%d. %s\n", i+1, i+1, text)
	}
	if err := os.WriteFile(filepath.FromSlash(path), []byte(b.String()), 0o644); err != nil { //nolint:gosec // a document
		t.Fatal(err)
	}
}

// text says what became of a feature, without the servers' names.
func (f featureOutcome) text() string {
	switch {
	case f.feature == traffic.GeoStore:
		return fmt.Sprintf("What a search by distance stores, each server computes for itself, and these two not alike: the link stops at such a command, by name, or with `--drop %s` the target stores what it computes.", f.feature)
	case f.back:
		return fmt.Sprintf("What the target's `%s` makes cannot always be sent back to the source: the first that cannot ends the way back, by name.", f.feature)
	case !slices.Contains(command.Features(), rdb.Feature(f.feature)):
		return fmt.Sprintf("Not every use of the source's `%s` can be said in the target's words: the link stops at the first that cannot, by name.", f.feature)
	case f.dropped != "":
		return fmt.Sprintf("The source's `%s` cannot be sent to the target: refused by name. `--drop %s` leaves it out of the copy; in the stream: %s.", f.feature, f.feature, f.dropped)
	default:
		return fmt.Sprintf("The source's `%s` cannot be sent to the target: refused by name, and left out with `--drop %s`.", f.feature, f.feature)
	}
}

// lost lists the pairs that worked by the present document and do not now.
func lost(t *testing.T, outcomes []outcome) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.FromSlash(path))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	worked := make(map[string]bool)
	var targets []string
	for line := range strings.Lines(string(text)) {
		columns := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range columns {
			columns[i] = strings.Trim(strings.TrimSpace(columns[i]), "*")
		}
		switch {
		case !strings.HasPrefix(line, "|") || strings.HasPrefix(columns[0], "---"):
		case targets == nil:
			targets = columns
		default:
			for i := 1; i < len(columns) && i < len(targets); i++ {
				worked[columns[0]+" to "+targets[i]] = strings.HasPrefix(columns[i], "works")
			}
		}
	}
	for _, o := range outcomes {
		if o.works() {
			delete(worked, title(o.source)+" to "+title(o.target))
		}
	}
	maps.DeleteFunc(worked, func(_ string, did bool) bool { return !did })
	return slices.Sorted(maps.Keys(worked))
}
