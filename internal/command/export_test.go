package command

import (
	"maps"
	"slices"
)

// AllOptions lists what is in the table.
func AllOptions() []Option { return slices.Sorted(maps.Keys(options())) }
