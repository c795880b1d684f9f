//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/status"
)

// program is godwit in a process of its own.
func program(t *testing.T, args ...string) (*exec.Cmd, *buffer) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var output buffer
	cmd := exec.CommandContext(t.Context(), self, args...)
	cmd.Env = append(os.Environ(), asProgram+"=1")
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it has ended unless the test failed
		_ = cmd.Wait()         // as above
	})
	return cmd, &output
}

func TestSignals(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		dir := t.TempDir()
		cmd, output := program(t, "run", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir, "--abort-on-exit", "--replace")
		await(t, dir, ready)
		if err := cmd.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // the exit code is looked at
		if code := cmd.ProcessState.ExitCode(); code != status.ExitInterrupted {
			t.Errorf("%v: exit code %d: %s", signal, code, output)
		}
		if left, err := filepath.Glob(filepath.Join(dir, "*", "*.sock")); err != nil || len(left) > 0 {
			t.Errorf("%v: left %v (%v)", signal, left, err)
		}
	}
}

// The second signal does not wait for anything: here, for a server that hangs.
func TestASecondSignalExitsAtOnce(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	dir := t.TempDir()
	cmd, output := program(t, "run", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir, "--abort-on-exit")
	await(t, dir, ready)
	if err := target.Pause(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	began := time.Now()
	if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // the exit code is looked at
	if code, took := cmd.ProcessState.ExitCode(), time.Since(began); code != status.ExitInterrupted || took > 2*time.Second {
		t.Errorf("exit code %d after %v: %s", code, took, output)
	}
	if err := target.Resume(); err != nil {
		t.Fatal(err)
	}
}

// After SIGKILL the journal tells where it stands, and the same run goes on in
// spite of the socket that was left.
func TestKilled(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	dir := t.TempDir()
	args := []string{"run", "-v", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir}
	cmd, output := program(t, args...)
	await(t, dir, ready)
	watching := start(t, nil, "status", "--watch", "--state-dir", dir)
	for deadline := time.Now().Add(30 * time.Second); watching.out.String() == ""; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("status --watch says nothing: %s", &watching.err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if code := watching.wait(t); code != 0 || !strings.Contains(watching.out.String(), "default: following, but no process runs it") {
		t.Errorf("status --watch: exit code %d: %s%s", code, &watching.out, &watching.err)
	}
	mustContain(t, "the log of -v", output.String(), "level=INFO", "phase")
	if left, err := filepath.Glob(filepath.Join(dir, "default", "*.sock")); err != nil || len(left) != 1 {
		t.Errorf("the socket is gone by itself: %v (%v)", left, err)
	}
	verb(t, dir, "status", "default: following, but no process runs it", "gone for good")
	if got := godwit(t, nil, "cutover", "--state-dir", dir); got.code != status.ExitFailed || !strings.Contains(got.err, "no godwit process runs the migration default") {
		t.Errorf("cutover without a process: exit code %d: %s", got.code, got.err)
	}
	start(t, nil, args...)
	if s := await(t, dir, ready); s.Copy.FullResyncs > 0 {
		t.Errorf("going on took %d full resyncs", s.Copy.FullResyncs)
	}
}
