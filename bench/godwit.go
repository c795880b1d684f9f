package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/server"
)

// process is a `godwit run` under way.
type process struct {
	cmd    *exec.Cmd
	binary string
	state  string
	output *output
}

// output is what a process has printed so far.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// follows waits until it prints that the copy is done.
func (p *process) follows(ctx context.Context) error {
	for deadline := time.Now().Add(2 * time.Minute); ; {
		text := p.output.String()
		switch {
		case strings.Contains(text, "the copy is done"):
			return nil
		case time.Now().After(deadline):
			return fmt.Errorf("it does not follow:\n%s", text)
		}
		pause(ctx, 2*time.Millisecond)
	}
}

// interrupt ends the process and keeps its state.
func (p *process) interrupt() error {
	err := p.cmd.Process.Signal(os.Interrupt)
	_ = p.cmd.Wait() // interrupted: exit code 130 is as it should be
	return err
}

// migrate starts `godwit run` from one server to another.
func (b *bench) migrate(ctx context.Context, from, to *sandbox.Server, flags ...string) (*process, error) {
	state, err := os.MkdirTemp("", "godwit-bench-")
	if err != nil {
		return nil, err
	}
	return b.migrateIn(ctx, state, from, to, flags...)
}

// migrateIn is migrate with a state directory that there is, to go on from.
func (b *bench) migrateIn(ctx context.Context, state string, from, to *sandbox.Server, flags ...string) (*process, error) {
	args := append([]string{"run", "--from", from.Endpoint().String(), "--to", to.Endpoint().String(), "--state-dir", state, "--output", "json"}, flags...)
	p := &process{cmd: exec.CommandContext(ctx, b.godwit, args...), binary: b.godwit, state: state, output: &output{}}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	return p, p.cmd.Start()
}

// verb runs another verb against the process, such as cutover.
func (p *process) verb(ctx context.Context, args ...string) error {
	out, err := exec.CommandContext(ctx, p.binary, append(args, "--state-dir", p.state)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("godwit %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// stop ends the process and removes its state.
func (p *process) stop() error {
	if p == nil {
		return nil
	}
	return errors.Join(p.interrupt(), os.RemoveAll(p.state))
}

// cpu is the process's user and system time so far.
func (p *process) cpu() (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+2:]))
	var ticks int64
	for _, f := range fields[11:13] { // utime and stime, in hundredths of a second (proc(5))
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

// peak is the largest resident set so far, in bytes.
func (p *process) peak() (int64, error) { return peakOf(p.cmd.Process.Pid) }

func peakOf(pid int) (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(value)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, errors.New("no VmHWM in /proc")
}

// until asks a server for INFO until ok says so.
func until(ctx context.Context, s *sandbox.Server, what string, limit time.Duration, ok func(server.Info) bool) error {
	c, err := server.New(s.Endpoint(), "")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // a measuring connection
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		info, err := c.Info(ctx, "replication", "persistence")
		if err == nil && ok(info) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: not %s within %v (role %s, link %s): %w", s.Address(), what, limit, info["role"], info["master_link_status"], ctx.Err())
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func linkUp(info server.Info) bool { return info["master_link_status"] == "up" }

// do sends one command.
func do(ctx context.Context, s *sandbox.Server, args ...any) error {
	c, err := server.New(s.Endpoint(), "")
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // a measuring connection
	_, err = c.Do(ctx, args...)
	return err
}

// offsets are a primary's and its replica's.
func offset(ctx context.Context, s *sandbox.Server) (int64, error) {
	c, err := server.New(s.Endpoint(), "")
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }() // a measuring connection
	info, err := c.Info(ctx, "replication")
	return info.Int("master_repl_offset"), err
}

// ready tells whether a switch now would succeed.
func (p *process) ready(ctx context.Context) (bool, error) {
	out, err := exec.CommandContext(ctx, p.binary, "status", "--json", "--state-dir", p.state).Output()
	if err != nil {
		return false, err
	}
	var s struct {
		Ready bool `json:"ready"`
	}
	err = json.Unmarshal(out, &s)
	return s.Ready, err
}
