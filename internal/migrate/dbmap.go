package migrate

import (
	"fmt"
	"strings"
)

// DBMapError says that a migration that goes on was begun with another mapping of dbs:
// what the target has by the one would not be found by the other.
type DBMapError struct {
	Name     string
	Was, Now []string // as flags
}

func (e *DBMapError) Error() string {
	return fmt.Sprintf("migration %s was begun with %s, not %s", e.Name, dbMap(e.Was), dbMap(e.Now))
}

// HintText is what the user can do about it.
func (e *DBMapError) HintText() string {
	return "go on with what it was begun with, or end it with `godwit abort " + e.Name + "` and begin anew"
}

// ExitCode is that of a bad usage.
func (e *DBMapError) ExitCode() int { return 2 }

func dbMap(flags []string) string {
	if len(flags) == 0 {
		return "no --db-map"
	}
	return "--db-map " + strings.Join(flags, " --db-map ")
}
