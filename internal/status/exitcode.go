package status

import (
	"context"
	"errors"

	"godwit/internal/migrate"
	"godwit/internal/plan"
)

// The exit codes of every verb. They cross the API too, so that a verb ends as
// the operation did in the process that runs the migration.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitUsage       = 2   // bad usage or configuration
	ExitRefused     = 3   // the plan found blockers
	ExitDifferences = 4   // a comparison found differences
	ExitGaveUp      = 5   // a switch gave up, and the old primary serves as before
	ExitInterrupted = 130 // by SIGINT, SIGTERM or SIGHUP
)

// ExitCode is the exit code that err stands for. An error that knows its own
// says so by a method ExitCode() int.
func ExitCode(err error) int {
	var own interface{ ExitCode() int }
	var refused *plan.RefusedError
	var locked *migrate.LockedError
	var conflict *migrate.ConflictError
	var taken *migrate.TakenError
	var inUse *InUseError
	var gaveUp *migrate.GaveUpError
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &own):
		return own.ExitCode()
	case errors.As(err, &refused):
		return ExitRefused
	case errors.As(err, &locked), errors.As(err, &conflict), errors.As(err, &taken), errors.As(err, &inUse):
		return ExitUsage
	case errors.As(err, &gaveUp):
		return ExitGaveUp
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	}
	return ExitFailed
}

// Hint is what err says can be done about it, empty when it says nothing.
func Hint(err error) string {
	var hinted interface{ HintText() string }
	if errors.As(err, &hinted) {
		return hinted.HintText()
	}
	return ""
}
