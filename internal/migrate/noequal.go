package migrate

import (
	"errors"
	"fmt"
	"slices"

	"godwit/internal/command"
	"godwit/internal/rdb"
)

// linkError is why a link cannot go on, with what the user should know. What has
// no equal at the other end ends a link in a known state, and waiting does not
// mend it.
func linkError(from, to *end, err error) error {
	err = fmt.Errorf("link %s to %s: %w", from.address(), to.address(), err)
	var inStream *command.NoEqualError
	var inCopy *rdb.NoEqualError
	var hint string
	switch {
	case errors.As(err, &inStream):
		hint = afterNoEqual(from, to, inStream.Feature, "has everything up to this command")
	case errors.As(err, &inCopy):
		hint = afterNoEqual(from, to, inCopy.What, "has no whole copy")
	default:
		return err
	}
	return &HintedError{Err: err, Hint: hint}
}

// afterNoEqual says where things stand once something had no equal at to, and how
// to go on. f is empty, or none of command.Features, where nothing may be dropped.
func afterNoEqual(from, to *end, f rdb.Feature, state string) string {
	mayDrop := slices.Contains(command.Features(), f)
	what := "leaves out what it does not have"
	if f == command.FeatureGeoStore {
		what = "lets it store what it computes itself"
	}
	again := fmt.Sprintf("the same `godwit run` with --drop %s copies to it anew, %s, and counts that", f, what)
	if from.side == Source {
		hint := fmt.Sprintf("%s serves as before; %s %s; ", from.address(), to.address(), state)
		if mayDrop {
			return hint + again + "; or `godwit abort`, and choose a target that has it"
		}
		return hint + "the same `godwit run` would stop here again: see that no client sends this, then `godwit abort` and a new `godwit run` with --replace, which copies what is there now"
	}
	hint := fmt.Sprintf("%s serves, with every write; %s %s and stays read-only. A rollback is not possible any more. `godwit complete` ends the migration", from.address(), to.address(), state)
	if mayDrop {
		return hint + "; for a way back, " + again
	}
	return hint + fmt.Sprintf("; the way back is then a migration from %s to %s, with --replace, once no client sends this", from.address(), to.address())
}
