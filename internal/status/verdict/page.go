package verdict

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"charm.land/lipgloss/v2"

	"godwit/internal/rdb"
	"godwit/internal/status/units"
	"godwit/internal/verify"
)

// Filter chooses among the differences of a journal.
type Filter struct {
	Kinds []verify.Kind // nil for all
	DBs   []int         // of either side; nil for all
}

// Matches tells whether d is one of those.
func (f Filter) Matches(d *verify.Difference) bool {
	if len(f.Kinds) > 0 && !slices.Contains(f.Kinds, d.Kind) {
		return false
	}
	return len(f.DBs) == 0 || slices.Contains(f.DBs, d.DB) || slices.Contains(f.DBs, d.TargetDB)
}

// Page prints differences for people, one a line, in columns as wide as those of
// pageLines together need.
type Page struct {
	w     io.Writer
	lines [][]string
}

// pageLines is how many differences are laid out together: there may be millions.
const pageLines = 1000

// NewPage is a page without differences; Flush prints what Add has not.
func NewPage(w io.Writer) *Page { return &Page{w: w} }

// Add adds a difference.
func (p *Page) Add(d *verify.Difference) error {
	db := dbName(d.DB)
	if d.Kind == verify.OtherDB {
		db = fmt.Sprintf("db %d → %d", d.DB, d.TargetDB)
	}
	p.lines = append(p.lines, []string{string(d.Kind), db, Name(d.Key), what(d), d.Repair})
	if len(p.lines) < pageLines {
		return nil
	}
	return p.Flush()
}

// Flush prints the differences that are not printed yet.
func (p *Page) Flush() error {
	err := Table(p.w, p.lines)
	p.lines = p.lines[:0]
	return err
}

// Table prints rows in columns.
func Table(w io.Writer, rows [][]string) error {
	var b strings.Builder
	writeTable(&b, rows, func(int) bool { return false })
	_, err := lipgloss.Fprint(w, b.String())
	return err
}

// what says in a few words how the two sides differ.
func what(d *verify.Difference) string {
	if d.Detail != "" {
		return d.Detail
	}
	switch {
	case d.Source != nil && d.Target != nil && d.Source.Type != d.Target.Type:
		return d.Source.Type + " / " + d.Target.Type
	case d.Source != nil && d.Target != nil && d.Source.ExpireAt != d.Target.ExpireAt:
		return d.Source.Type + ", " + expiryText(d.Source.ExpireAt, d.Target.ExpireAt)
	case d.Source != nil:
		return d.Source.Type
	case d.Target != nil:
		return d.Target.Type
	}
	return ""
}

// expiryText says how the target's time of expiry differs from the source's.
func expiryText(source, target int64) string {
	switch {
	case source == rdb.None:
		return "expires at the target only"
	case target == rdb.None:
		return "never expires at the target"
	case target > source:
		return "expires " + units.Milliseconds(float64(target-source)) + " later at the target"
	}
	return "expires " + units.Milliseconds(float64(source-target)) + " earlier at the target"
}
