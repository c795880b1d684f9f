package status_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/plan"
	"godwit/internal/status"
)

func TestExitCode(t *testing.T) {
	for _, test := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{&migrate.LockedError{Name: "x"}, 2},
		{&migrate.ConflictError{Name: "x"}, 2},
		{&migrate.TakenError{Name: "x"}, 2},
		{&status.InUseError{Path: "x"}, 2},
		{&plan.RefusedError{}, 3},
		{&migrate.GaveUpError{Err: errors.New("x")}, 5},
		{&migrate.GaveUpError{Err: context.Canceled}, 5},
		{&status.NotRunningError{Name: "x"}, 1},
		{&status.RemoteError{Body: status.ErrorBody{ExitCode: 3}}, 3},
		{context.Canceled, 130},
		{context.DeadlineExceeded, 1},
	} {
		wrapped := test.err
		if wrapped != nil {
			wrapped = fmt.Errorf("doing: %w", wrapped)
		}
		if got := status.ExitCode(wrapped); got != test.want {
			t.Errorf("%v: exit code %d, want %d", test.err, got, test.want)
		}
	}
}

func TestHint(t *testing.T) {
	if got := status.Hint(fmt.Errorf("doing: %w", refusal{})); got != "wait until it follows" {
		t.Errorf("got %q", got)
	}
	if got := status.Hint(errors.New("x")); got != "" {
		t.Errorf("got %q", got)
	}
}
