package apply

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// A key that two of several sources have becomes one at the target, which gets what both
// write, in the order in which it comes, until a command does not fit what is there: that
// ends the engine, by name. Package verify names such keys before.
func TestKeyOfTwoSources(t *testing.T) {
	t.Parallel()
	a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	one, other, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b), sandboxtest.Client(t, target)
	do(t, one, "SET", "k", 1)
	do(t, other, "SET", "k", 2)
	e := New(configureServers(t, target, a, b))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	has := func(want ...any) {
		t.Helper()
		caughtUp(t, e, a, b)
		if got := do(t, to, "GET", "k"); !slices.Contains(want, got) {
			t.Errorf("the target has %v, want one of %v", got, want)
		}
	}
	has("1", "2") // of the two snapshots one is the last
	do(t, one, "SET", "k", 10)
	has("10")
	do(t, other, "INCR", "k") // from 2 to 3
	has("11")                 // which neither of them has
	do(t, one, "DEL", "k")
	if caughtUp(t, e, a, b); do(t, to, "EXISTS", "k") != int64(0) {
		t.Error("the target has it, though one of them does not")
	}
	do(t, one, "RPUSH", "k", "x")
	caughtUp(t, e, a, b)
	do(t, other, "INCR", "k")
	err := <-done
	var refused *CommandError
	if !errors.As(err, &refused) || string(refused.Key) != "k" || !strings.Contains(refused.Error(), "WRONGTYPE") || !strings.Contains(refused.HintText(), "another one of several sources") {
		t.Errorf("it ended with %v", err)
	}
}
