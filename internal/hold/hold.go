// Package hold is what the engines that feed a target, and a comparison that has
// them hold it back at an offset, say to each other.
package hold

import (
	"errors"
	"fmt"

	"godwit/internal/refresh"
)

// Stand is where a target stands that was stopped at an offset of its source.
type Stand struct {
	// ReplID and Offset are what the target calls the place; ReplID is empty where it
	// is a primary, whose own offset has nothing to do with the source's.
	ReplID string
	Offset int64
	// Ahead are the keys that the target has not as the source had them at that
	// offset but as it had them a little later: by these values, with the target's
	// names. The commands on them up to there are left out of what it is fed next.
	Ahead []refresh.Value
}

// ErrHeld says that there is a hold already.
var ErrHeld = errors.New("the target is being held back already")

// PassedError says that the target has, or may have, got more than it was to be
// stopped at. Offsets are the source's.
type PassedError struct {
	Offset, Passed int64
}

func (e *PassedError) Error() string {
	return fmt.Sprintf("the target was to stop at offset %d, and has been sent the stream up to %d", e.Offset, e.Passed)
}

// BrokenError says that a hold ended by itself.
type BrokenError struct{ Reason string }

func (e *BrokenError) Error() string { return "the target is not held back any more: " + e.Reason }
