// Package fault runs the program itself, built with failpoints, against real
// servers: what it exits with, what is left when it is killed, how much memory it
// takes, and that it outlives what happens to clusters. Without the build tag fault
// it is a row or two of some tables; more tables of faults are in internal/migrate.
package fault

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/migrate"
	"godwit/internal/server"
	"godwit/internal/verify"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == byDigit {
		beRule()
		os.Exit(0)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		if path, err := build(); err == nil {
			_ = os.RemoveAll(filepath.Dir(path)) // the system clears what is left of it
		}
		os.Exit(code)
	}))
}

// build is the program with failpoints, made once.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "godwit-fault-")
	if err != nil {
		return "", err
	}
	path := filepath.Join(dir, "godwit")
	out, err := exec.Command("go", "build", "-tags", "failpoint", "-o", path, "godwit/cmd/godwit").CombinedOutput()
	if err != nil {
		return "", errors.Join(err, errors.New(string(out)))
	}
	return path, nil
})

// program is the program as a user meets it, with a state directory of its own.
type program struct {
	t        *testing.T
	path     string
	stateDir string
	ends     []string // the flags that say from where to where
}

// newProgramOf has the program move one server, several, or a cluster by any of its nodes.
func newProgramOf(t *testing.T, from []server.Endpoint, to server.Endpoint) *program {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, path: path, stateDir: t.TempDir(), ends: []string{"--to", to.String()}}
	for _, e := range from {
		p.ends = append(p.ends, "--from", e.String())
	}
	return p
}

func (p *program) command(verb string, args ...string) *exec.Cmd {
	cmd := exec.Command(p.path, append([]string{verb, "--state-dir", p.stateDir}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// exits runs a verb and returns its exit code, -1 when it was killed, and its output.
func (p *program) exits(verb string, args ...string) (code int, out string) {
	p.t.Helper()
	text, err := p.command(verb, args...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	if exit != nil {
		return exit.ExitCode(), string(text)
	}
	return 0, string(text)
}

// must runs a verb that is to succeed.
func (p *program) must(verb string, args ...string) string {
	p.t.Helper()
	code, out := p.exits(verb, args...)
	if code != 0 {
		p.t.Fatalf("godwit %s exits with %d:\n%s", verb, code, out)
	}
	return out
}

// status is what `godwit status --json` says.
func (p *program) status() migrate.Status {
	p.t.Helper()
	out, err := p.command("status", "--json").Output()
	var s migrate.Status
	if err != nil {
		return s // it is just being started
	}
	if err := json.Unmarshal(out, &s); err != nil {
		p.t.Fatalf("status: %v: %s", err, out)
	}
	return s
}

// until waits until the status is as wanted.
func (p *program) until(what string, ok func(migrate.Status) bool) migrate.Status {
	p.t.Helper()
	for deadline := time.Now().Add(2 * time.Minute); ; time.Sleep(50 * time.Millisecond) {
		s := p.status()
		if ok(s) {
			return s
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("not %s within two minutes: %+v", what, s)
		}
	}
}

func (p *program) ready() migrate.Status {
	p.t.Helper()
	return p.until("ready", func(s migrate.Status) bool { return s.Running && s.Ready })
}

// process is a `godwit run`.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  bytes.Buffer
	once sync.Once
}

// start begins a run that kills itself at a point, empty for never.
func (p *program) start(killAt string, args ...string) *process {
	p.t.Helper()
	r := &process{t: p.t, cmd: p.command("run", append(p.ends, args...)...)}
	r.cmd.Env = append(os.Environ(), "GODWIT_KILL_AT="+killAt)
	r.cmd.Stdout, r.cmd.Stderr = &r.out, &r.out
	if err := r.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() {
		_ = r.cmd.Process.Kill() // it may have ended
		r.wait()
		if p.t.Failed() {
			p.t.Logf("godwit run, to be killed at %q:\n%s", killAt, r.out.String())
		}
	})
	return r
}

func (r *process) wait() { r.once.Do(func() { _ = r.cmd.Wait() }) } // how it ended is in ProcessState

// exit waits for the end and returns the exit code, -1 when it was killed.
func (r *process) exit() int {
	r.wait()
	return r.cmd.ProcessState.ExitCode()
}

// kill ends it by SIGKILL.
func (r *process) kill() {
	r.signal(syscall.SIGKILL)
	r.wait()
}

func (r *process) signal(s os.Signal) {
	r.t.Helper()
	if err := r.cmd.Process.Signal(s); err != nil {
		r.t.Fatal(err)
	}
}

// verified runs `godwit verify` and returns what it found and its exit code.
func (p *program) verified(args ...string) (verify.Report, int) {
	p.t.Helper()
	cmd := p.command("verify", append(args, "--json")...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok { //nolint:errorlint // never wrapped
		p.t.Fatal(err)
	}
	var r verify.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		p.t.Fatalf("godwit verify %v exits with %d: %v\n%s%s", args, cmd.ProcessState.ExitCode(), err, out.Bytes(), errs.Bytes())
	}
	return r, cmd.ProcessState.ExitCode()
}
