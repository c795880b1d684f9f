package verify

import (
	"fmt"
	"strconv"
	"strings"
)

// Scope is what of both sides was compared: everything, if it is zero.
type Scope struct {
	Sample float64 `json:"sample,omitempty"` // share of the keys, as in Options
	Keys   string  `json:"keys,omitempty"`
	DBs    []int   `json:"dbs,omitempty"`
}

// Whole tells whether everything was compared.
func (s Scope) Whole() bool { return s.Keys == "" && s.DBs == nil && (s.Sample == 0 || s.Sample == 1) }

// String is the scope in words, empty for everything.
func (s Scope) String() string {
	var parts []string
	if s.Sample != 0 && s.Sample != 1 {
		parts = append(parts, "a sample of "+strconv.FormatFloat(100*s.Sample, 'g', 4, 64)+"%")
	}
	if s.Keys != "" {
		parts = append(parts, fmt.Sprintf("keys like %q", s.Keys))
	}
	if s.DBs != nil {
		text := "db"
		for i, db := range s.DBs {
			text += []string{" ", ", "}[min(i, 1)] + strconv.Itoa(db)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, ", ")
}

// scope is what these options have compared.
func (o Options) scope() Scope { return Scope{Sample: o.Sample, Keys: o.Keys, DBs: o.DBs} }
