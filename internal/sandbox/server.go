package sandbox

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"godwit/internal/server"
)

// host is where every server listens: never on a network.
const host = "127.0.0.1"

// Options say how a server is started. The zero value will do.
type Options struct {
	Port int    // 0: a free one
	Dir  string // where it runs, logs and saves; empty: a directory of its own, removed by Close

	// Args are settings as on the server's command line, "--maxmemory 100mb" or
	// "--maxmemory", "100mb"; a value with spaces in it needs the second form.
	// They come after, and so override, what the sandbox sets by itself.
	Args []string

	// Username and Password are what Endpoint carries. A Password without a
	// Username is also set as requirepass; ACL users are the caller's to define.
	Username string
	Password string

	// Cluster starts the server in cluster mode. A free port is then one that leaves
	// the port 10,000 above it to the cluster bus.
	Cluster bool

	// TLS, when enabled, makes Port a TLS port and is what Endpoint carries;
	// the certificates of the server itself come with Args.
	TLS server.TLS
}

// Server is a running server process. Its methods are safe for concurrent use.
type Server struct {
	binary  Binary
	options Options
	ownDir  bool

	mu      sync.Mutex
	process *process // the present or the last one; never nil
}

// Start runs a server and returns once it answers. It listens on the loopback
// address only, saves no snapshots and begins diskless replication at once.
// ctx bounds the start, not the server's life: Close ends that. Should this
// process die without it, the kernel kills the server (on Linux).
func Start(ctx context.Context, b Binary, o Options) (*Server, error) {
	s := &Server{binary: b, options: o}
	if o.Dir == "" {
		dir, err := os.MkdirTemp("", "godwit-"+b.Name+"-")
		if err != nil {
			return nil, fmt.Errorf("starting %s: %w", b.Name, err)
		}
		s.options.Dir, s.ownDir = dir, true
	}
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("starting %s: %w", b.Name, err), s.removeDir())
	}
	return s, nil
}

// portAttempts is how many free ports Start tries: another process can take
// one between the moment it is found and the moment the server binds it.
const portAttempts = 10

func (s *Server) start(ctx context.Context) error {
	if s.options.Port != 0 {
		return s.launch(ctx)
	}
	for attempt := 1; ; attempt++ {
		port, err := s.findPort(ctx)
		if err != nil {
			return err
		}
		s.options.Port = port
		err = s.launch(ctx)
		var exited *ExitError
		if err == nil || attempt == portAttempts || !errors.As(err, &exited) || !exited.portTaken() {
			return err
		}
	}
}

// launch starts the process on options.Port and waits until it answers.
func (s *Server) launch(ctx context.Context) error {
	args, err := s.commandLine()
	if err != nil {
		return err
	}
	p, err := startProcess(s.binary.Path, s.options.Dir, args)
	if err != nil {
		return err
	}
	if err := s.awaitReady(ctx, p); err != nil {
		return errors.Join(err, p.kill())
	}
	s.process = p
	return nil
}

// commandLine writes the configuration file and gives the arguments. Passwords
// go into the file, so that no process list shows them; a file also lets
// CONFIG REWRITE work.
func (s *Server) commandLine() ([]string, error) {
	o := s.options
	settings := []string{
		"bind " + host,
		`save ""`,
		"repl-diskless-sync-delay 0",
		"dir " + strconv.Quote(o.Dir),
	}
	if o.TLS.Enabled {
		settings = append(settings, "port 0", fmt.Sprintf("tls-port %d", o.Port))
	} else {
		settings = append(settings, fmt.Sprintf("port %d", o.Port))
	}
	if o.Cluster {
		settings = append(settings, "cluster-enabled yes")
	}
	if o.Password != "" && o.Username == "" {
		settings = append(settings, "requirepass "+strconv.Quote(o.Password))
	}
	path := filepath.Join(o.Dir, "sandbox.conf")
	if err := os.WriteFile(path, []byte(strings.Join(settings, "\n")+"\n"), 0o600); err != nil {
		return nil, err
	}
	args := []string{path}
	for _, arg := range o.Args {
		if !strings.HasPrefix(arg, "--") {
			args = append(args, arg)
			continue
		}
		for word := range strings.FieldsSeq(arg) {
			if word == `""` {
				word = ""
			}
			args = append(args, word)
		}
	}
	return args, nil
}

// readyPoll is how often a starting server is asked whether it answers.
const readyPoll = 5 * time.Millisecond

// awaitReady returns when this very process, not a stranger on the same port,
// answers and has loaded its data.
func (s *Server) awaitReady(ctx context.Context, p *process) error {
	client, err := server.New(s.Endpoint(), "")
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // nothing was left unsent
	ticker := time.NewTicker(readyPoll)
	defer ticker.Stop()
	for {
		err := s.listens(ctx)
		if err == nil {
			err = answers(ctx, client, p.pid())
		}
		if err == nil {
			return nil
		}
		var conn *server.ConnError
		if errors.As(err, &conn) && conn.Op == "auth" {
			return err // no waiting will change that
		}
		select {
		case <-p.done:
			return &ExitError{Address: s.Address(), State: p.cmd.ProcessState.String(), Log: p.logSinceStart()}
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s: not ready: %w", s.Address(), ctx.Err()), err)
		case <-ticker.C:
		}
	}
}

// listens tells whether anybody accepts connections yet. It spares the client's
// library attempts that it would log.
func (s *Server) listens(ctx context.Context) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Address())
	if err != nil {
		return err
	}
	return conn.Close()
}

func answers(ctx context.Context, client *server.Client, pid int) error {
	info, err := client.Info(ctx, "server")
	if err != nil {
		return err
	}
	if info.Int("process_id") != int64(pid) {
		return fmt.Errorf("process %s answers instead of %d", info["process_id"], pid)
	}
	_, err = client.Do(ctx, "PING")
	if server.IsCode(err, "MASTERDOWN") {
		return nil // a replica without a link that may not serve stale data
	}
	return err
}

// Binary is the program that runs.
func (s *Server) Binary() Binary { return s.binary }

// Endpoint is how a client reaches the server.
func (s *Server) Endpoint() server.Endpoint {
	return server.Endpoint{
		Network:  "tcp",
		Address:  s.Address(),
		Username: s.options.Username,
		Password: s.options.Password,
		TLS:      s.options.TLS,
	}
}

// Address is the server's host:port.
func (s *Server) Address() string { return net.JoinHostPort(host, strconv.Itoa(s.options.Port)) }

// Port is the server's port, the same one after a restart.
func (s *Server) Port() int { return s.options.Port }

// Dir is where the server runs and saves.
func (s *Server) Dir() string { return s.options.Dir }

// PID is the process id of the present process, or of the last one after Kill.
func (s *Server) PID() int { return s.current().pid() }

func (s *Server) current() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.process
}

// Close kills the server and waits for its end. A directory that Start made is
// removed, one that the caller named stays. Closing twice is harmless.
func (s *Server) Close() error {
	return errors.Join(s.Kill(), s.removeDir())
}

func (s *Server) removeDir() error {
	if !s.ownDir {
		return nil
	}
	return os.RemoveAll(s.options.Dir)
}

// Kill sends SIGKILL and waits for the end; the directory stays for Restart.
// It does nothing to a server that does not run.
func (s *Server) Kill() error { return s.current().kill() }

// Restart starts the server again on the same port and directory with the same
// settings, killing it first if it runs. What it did not save is lost.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.process.kill(); err != nil {
		return err
	}
	if err := s.launch(ctx); err != nil {
		return fmt.Errorf("restarting %s: %w", s.binary.Name, err)
	}
	return nil
}

// Pause stops the process in its tracks (SIGSTOP): its connections stay open
// and nobody answers.
func (s *Server) Pause() error { return s.current().signal(syscall.SIGSTOP) }

// Resume lets a paused process run on.
func (s *Server) Resume() error { return s.current().signal(syscall.SIGCONT) }

// Log is all that the server has logged, over every restart.
func (s *Server) Log() (string, error) {
	text, err := os.ReadFile(filepath.Join(s.options.Dir, logName))
	return string(text), err
}

// CPU is the user and system time that the present process has used, to 10 ms.
// What its forked children use while they run or have used is not in it.
func (s *Server) CPU() (time.Duration, error) { return s.current().cpu() }

// RSS is the memory of the process that is in RAM, in bytes.
func (s *Server) RSS() (int64, error) { return s.current().rss() }

// Running tells whether the process has not ended.
func (s *Server) Running() bool {
	select {
	case <-s.current().done:
		return false
	default:
		return true
	}
}

func (s *Server) findPort(ctx context.Context) (int, error) {
	if s.options.Cluster {
		return freeBusPort(ctx)
	}
	return FreePort(ctx)
}

// busOffset is how far the port of the cluster bus is above a node's own (cluster.h
// CLUSTER_PORT_INCR).
const busOffset = 10000

// freeBusPort finds a port that is free together with that of the bus. Both are
// below 32768: from there on systems choose the ports of clients, and a port that a
// client has cannot be listened on.
func freeBusPort(ctx context.Context) (int, error) {
	const first, last = 10000, 32768 - 1 - busOffset
	var err error
	for range 100 {
		port := first + rand.IntN(last-first+1)
		if err = errors.Join(bindable(ctx, port), bindable(ctx, port+busOffset)); err == nil {
			return port, nil
		}
	}
	return 0, fmt.Errorf("finding a free port with a port for the cluster bus: %w", err)
}

func bindable(ctx context.Context, port int) error {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return l.Close()
}

// FreePort finds a TCP port of the loopback address that nobody listens on.
// Nothing reserves it: who binds it must be ready to find it taken.
func FreePort(ctx context.Context) (int, error) {
	var listen net.ListenConfig
	l, err := listen.Listen(ctx, "tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, fmt.Errorf("finding a free port: %w", err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	return port, l.Close()
}

// ExitError says that a server ended while it was being started.
type ExitError struct {
	Address string
	State   string // such as "exit status 1"
	Log     string // what it logged since it was started
}

func (e *ExitError) Error() string {
	lines := strings.Split(strings.TrimSpace(e.Log), "\n")
	if len(lines) > 5 {
		lines = lines[len(lines)-5:] // the last lines say why
	}
	return fmt.Sprintf("%s: the server ended, %s: %s", e.Address, e.State, strings.Join(lines, " | "))
}

func (e *ExitError) portTaken() bool { return strings.Contains(e.Log, "Address already in use") }
