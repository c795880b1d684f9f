package migrate_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// A migration that is to be killed runs in a process of its own: this test
// binary again, which TestMain sends to beChild when childVariable is set.

const childVariable = "GODWIT_TEST_CHILD"

// order is what the child is to run.
type order struct {
	StateDir, From, To     string // From is file:PATH of a file
	Announce               string
	ListenPort             int
	MaxPause               time.Duration
	SpoolMemory, SpoolDisk int64
	Drop                   []rdb.Feature
	Verify                 migrate.VerifyMode
	DBMap                  []string
	Others                 []string
	ShardBy                string
	KillAt                 string // the point of Config.Trace at which it kills itself
}

// answer is one line of the child.
type answer struct {
	Status migrate.Status
	Switch migrate.SwitchResult
	Report *verify.Report
	Error  string
}

// beChild runs a migration and does what it reads, a word a line: "ready"
// waits until it is, "cutover" and "rollback" switch, "verify", "slowly", "scan" and
// "repair" compare, and "status" does nothing.
// Each is answered by a line. It ends with its input.
func beChild() error {
	var o order
	if err := json.Unmarshal([]byte(os.Getenv(childVariable)), &o); err != nil {
		return err
	}
	c := migrate.NewConfig()
	c.StateDir, c.Announce, c.ListenPort, c.MaxPause = o.StateDir, o.Announce, o.ListenPort, o.MaxPause
	c.SpoolMemory, c.SpoolDisk, c.Drop, c.Verify = o.SpoolMemory, o.SpoolDisk, o.Drop, o.Verify
	var err error
	if c.Route, err = route.Parse(o.DBMap); err != nil {
		return err
	}
	c.ShardBy = o.ShardBy
	for _, other := range o.Others {
		e, err := server.ParseEndpoint(other)
		if err != nil {
			return err
		}
		c.Others = append(c.Others, e)
	}
	if path, isFile := strings.CutPrefix(o.From, "file:"); isFile {
		c.File = path
	} else if c.From, err = server.ParseEndpoint(o.From); err != nil {
		return err
	}
	if c.To, err = server.ParseEndpoint(o.To); err != nil {
		return err
	}
	c.Trace = func(point string) {
		if point == o.KillAt {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}
	m, err := migrate.Begin(context.Background(), c, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx) }()
	out := json.NewEncoder(os.Stdout)
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		var a answer
		switch in.Text() {
		case "ready":
			err = awaitReady(m, ended)
		case "cutover":
			a.Switch, err = m.Cutover(ctx, migrate.SwitchOptions{})
		case "rollback":
			a.Switch, err = m.Rollback(ctx, migrate.SwitchOptions{})
		case "verify":
			a.Report, err = m.Verify(ctx, migrate.VerifyOptions{Samples: 1})
		case "slowly":
			a.Report, err = m.Verify(ctx, migrate.VerifyOptions{MaxRate: 1 << 20})
		case "scan":
			a.Report, err = m.Verify(ctx, migrate.VerifyOptions{Method: verify.Scan, MaxRate: 1 << 20})
		case "repair":
			a.Report, err = m.Verify(ctx, migrate.VerifyOptions{Repair: true, DeleteExtra: true})
		default:
			err = nil
		}
		if err != nil {
			a.Error = err.Error()
		}
		a.Status = m.Status()
		if err := out.Encode(a); err != nil {
			return err
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		return err
	}
	return m.Close()
}

func awaitReady(m migrate.Running, ended chan error) error {
	for deadline := time.Now().Add(time.Minute); !m.Status().Ready; time.Sleep(5 * time.Millisecond) {
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("the run ended: %w", err)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("not ready within a minute: %s", m.Status().NotReady)
		}
	}
	return nil
}

// child is a migration in a process of its own.
type child struct {
	t    *testing.T
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *json.Decoder
	log  logBuffer
	wait sync.Once
}

func startChild(t *testing.T, c migrate.Config, killAt string) *child {
	t.Helper()
	from := c.From.String()
	if c.File != "" {
		from = "file:" + c.File
	}
	var others []string
	for _, e := range c.Others {
		others = append(others, e.String())
	}
	text, err := json.Marshal(order{
		Others: others, ShardBy: c.ShardBy,
		StateDir: c.StateDir, From: from, To: c.To.String(), Announce: c.Announce, ListenPort: c.ListenPort,
		MaxPause: c.MaxPause, SpoolMemory: c.SpoolMemory, SpoolDisk: c.SpoolDisk, Drop: c.Drop, Verify: c.Verify, DBMap: c.Route.Flags(), KillAt: killAt,
	})
	if err != nil {
		t.Fatal(err)
	}
	p := &child{t: t, cmd: exec.Command(os.Args[0])}
	p.cmd.Env = append(os.Environ(), childVariable+"="+string(text))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.cmd.Stderr = &p.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	p.out = json.NewDecoder(out)
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of the process to be killed at %q:\n%s", killAt, p.log.String())
		}
	})
	return p
}

// ask has the child do something and returns its answer; false if it died of it.
func (p *child) ask(word string) (answer, bool) {
	p.t.Helper()
	var a answer
	if _, err := fmt.Fprintln(p.in, word); err != nil {
		return a, false
	}
	return a, p.out.Decode(&a) == nil
}

// must is ask for what neither kills nor fails.
func (p *child) must(word string) answer {
	p.t.Helper()
	a, ok := p.ask(word)
	if !ok || a.Error != "" {
		p.t.Fatalf("%s: answered %v, error %q, phase %s\n%s", word, ok, a.Error, a.Status.Phase, p.log.String())
	}
	return a
}

// kill sends SIGKILL.
func (p *child) kill() {
	_ = p.cmd.Process.Kill() // it may have ended
	p.reap()
}

// killedItself waits for the end and sees that it was by SIGKILL.
func (p *child) killedItself() {
	p.t.Helper()
	p.reap()
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		p.t.Fatalf("it ended by %v\n%s", p.cmd.ProcessState, p.log.String())
	}
}

func (p *child) reap() { p.wait.Do(func() { _ = p.cmd.Wait() }) } // how it ended is in ProcessState

// logBuffer takes a process's log from the goroutine that reads it.
type logBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
