package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"godwit/internal/plan"
	"godwit/internal/status"
)

// usageError is bad usage or configuration.
type usageError struct {
	err  error
	hint string
}

func (e *usageError) Error() string    { return e.err.Error() }
func (e *usageError) Unwrap() error    { return e.err }
func (e *usageError) HintText() string { return e.hint }
func (e *usageError) ExitCode() int    { return status.ExitUsage }

// usagef makes a usageError; hint may be empty.
func usagef(hint, format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...), hint: hint}
}

// codedError is an outcome that has been printed already: it sets the exit
// code, and its text, if any, is all that is still said.
type codedError struct {
	code int
	text string
}

func (e *codedError) Error() string { return e.text }
func (e *codedError) ExitCode() int { return e.code }

// report prints err for people, or as one JSON object, and returns its exit code.
func report(w io.Writer, err error, asJSON bool) int {
	body := status.ErrorBody{Error: err.Error(), Hint: status.Hint(err), ExitCode: status.ExitCode(err)}
	if body.ExitCode == status.ExitInterrupted && errors.Is(err, context.Canceled) {
		body.Error = "interrupted"
	}
	if body.Error == "" {
		return body.ExitCode
	}
	// Should the printing fail, the exit code still tells.
	if asJSON {
		_ = json.NewEncoder(w).Encode(body)
		return body.ExitCode
	}
	var refused *plan.RefusedError
	if errors.As(err, &refused) {
		for _, blocker := range refused.Plan.Blockers {
			printError(w, blocker.Text, blocker.Hint)
		}
		return body.ExitCode
	}
	printError(w, body.Error, body.Hint)
	return body.ExitCode
}

func printError(w io.Writer, text, hint string) {
	_, _ = fmt.Fprintf(w, "error: %s\n", text) // as above
	if hint != "" {
		_, _ = fmt.Fprintf(w, "hint: %s\n", hint) // as above
	}
}

// wantsJSON tells whether the verb was asked for JSON, as far as its flags were read.
func wantsJSON(cmd *cobra.Command) bool {
	if f := cmd.Flags().Lookup("json"); f != nil && f.Value.String() == "true" {
		return true
	}
	f := cmd.Flags().Lookup("output")
	return f != nil && f.Value.String() == outputJSON
}

// hintedError is an error with what the user can do about it.
type hintedError struct {
	err  error
	hint string
}

func (e *hintedError) Error() string    { return e.err.Error() }
func (e *hintedError) Unwrap() error    { return e.err }
func (e *hintedError) HintText() string { return e.hint }
