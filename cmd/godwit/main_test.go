package main

import (
	"bytes"
	"context"
	"os"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

// asProgram makes the test binary be godwit itself, for tests of signals.
const asProgram = "GODWIT_TEST_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

// buffer is a bytes.Buffer that a verb in another goroutine may write to.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// environment is one that only holds the given variables, NAME=value each.
func environment(variables ...string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		for _, v := range variables {
			if n, value, _ := strings.Cut(v, "="); n == name {
				return value, true
			}
		}
		return "", false
	}
}

// outcome is how a verb ended.
type outcome struct {
	code     int
	out, err string
}

// godwit runs a verb with the given environment.
func godwit(t *testing.T, env []string, args ...string) outcome {
	t.Helper()
	return godwitContext(t.Context(), env, args...)
}

func godwitContext(ctx context.Context, env []string, args ...string) outcome {
	var out, err buffer
	code := execute(ctx, args, streams{in: strings.NewReader(""), out: &out, err: &err, env: environment(env...), exit: os.Exit})
	return outcome{code, out.String(), err.String()}
}

// mustContain checks that text has every part.
func mustContain(t *testing.T, what, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%s has no %q:\n%s", what, part, text)
		}
	}
}
