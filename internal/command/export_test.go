package command

import (
	"maps"
	"slices"
)

// AllOptions lists what is in the table.
func AllOptions() []Option { return slices.Sorted(maps.Keys(options())) }

// InTransaction tells whether the stream is between MULTI and EXEC.
func (r *Rewriter) InTransaction() bool { return r.multi }
