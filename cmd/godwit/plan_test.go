package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/status"
)

func TestPlan(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	dir := t.TempDir()
	args := []string{"--from", source.Address(), "--to", target.Address(), "--state-dir", dir}
	got := godwit(t, nil, append([]string{"plan"}, args...)...)
	if got.code != 0 || got.err != "" {
		t.Fatalf("exit code %d: %s", got.code, got.err)
	}
	mustContain(t, "plan", got.out, source.Address(), target.Address(), "relay", "REPLICAOF", "FAILOVER TO")
	got = godwit(t, nil, append([]string{"plan", "--json"}, args...)...)
	var p struct {
		Engine   string
		Blockers []any
		Steps    []any
	}
	if err := json.Unmarshal([]byte(got.out), &p); err != nil || p.Engine != "relay" || len(p.Steps) == 0 {
		t.Errorf("--json: %+v, %v", p, err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("plan left %v in the state directory (%v)", left, err)
	}
}

// What the plan refuses, plan prints with the rest and run as errors; both end with 3.
func TestRefused(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	if _, err := sandboxtest.Client(t, target).Do(t.Context(), "SET", "precious", "1"); err != nil {
		t.Fatal(err)
	}
	args := []string{"--from", source.Address(), "--to", target.Address(), "--state-dir", t.TempDir()}
	got := godwit(t, nil, append([]string{"plan"}, args...)...)
	if got.code != status.ExitRefused || !strings.HasPrefix(got.err, "error: refused: 1 blocker, see above\n") {
		t.Errorf("plan: exit code %d: %s", got.code, got.err)
	}
	mustContain(t, "plan", got.out, "Blockers", "--replace")
	got = godwit(t, nil, append([]string{"run"}, args...)...)
	if got.code != status.ExitRefused || !strings.HasPrefix(got.err, "error: ") || !strings.Contains(got.err, "\nhint: ") || !strings.Contains(got.err, "--replace") {
		t.Errorf("run: exit code %d: %s", got.code, got.err)
	}
	got = godwit(t, nil, append([]string{"run", "--json"}, args...)...)
	if got.code != status.ExitRefused || !strings.Contains(got.out, `{"type":"result","result":{"exit_code":3,"error":"`) || !json.Valid([]byte(got.err)) {
		t.Errorf("run --json: exit code %d: %s%s", got.code, got.out, got.err)
	}
}

func TestPlanOfWhatCannotBeReached(t *testing.T) {
	source, _ := pair(t, sandbox.Options{})
	got := godwit(t, nil, "plan", "--from", source.Address(), "--to", "127.0.0.1:1", "--state-dir", t.TempDir())
	if got.code != status.ExitFailed || !strings.Contains(got.err, "hint: nothing listens there") {
		t.Errorf("exit code %d: %s", got.code, got.err)
	}
}
