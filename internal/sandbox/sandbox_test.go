package sandbox_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestEveryServerStarts(t *testing.T) {
	catalog := sandboxtest.Catalog(t)
	names := catalog.Names()
	if len(names) < 2 {
		t.Fatalf("only %v found", names)
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			s := sandboxtest.Start(t, name, sandbox.Options{})
			info, err := sandboxtest.Client(t, s).Info(t.Context(), "server")
			if err != nil {
				t.Fatal(err)
			}
			want, err := s.Binary().Version(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if got := info.Version(); got != want {
				t.Errorf("runs %v, the program says %v", got, want)
			}
			if got := info.Int("process_id"); got != int64(s.PID()) {
				t.Errorf("process %d, want %d", got, s.PID())
			}
			if info.Int("tcp_port") != int64(s.Port()) {
				t.Errorf("port %s, want %d", info["tcp_port"], s.Port())
			}
		})
	}
}

func TestRestartKeepsSavedData(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--appendonly yes", "--appendfsync", "always"}})
	client := sandboxtest.Client(t, s)
	if _, err := client.Do(t.Context(), "SET", "key", "value"); err != nil {
		t.Fatal(err)
	}
	port, pid := s.Port(), s.PID()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(t.Context(), "PING"); err == nil {
		t.Fatal("a killed server answers")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if s.Port() != port || s.PID() == pid {
		t.Errorf("port %d, pid %d after the restart of port %d, pid %d", s.Port(), s.PID(), port, pid)
	}
	if got, err := client.Text(t.Context(), "GET", "key"); err != nil || got != "value" {
		t.Errorf("GET: %q, %v", got, err)
	}
}

func TestPauseHoldsAnswers(t *testing.T) {
	s := sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	client := sandboxtest.Client(t, s)
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Do(ctx, "PING"); err == nil {
		t.Error("a paused server answers")
	}
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.Do(t.Context(), "PING"); err != nil {
		t.Error(err)
	}
}

func TestPasswordStaysOutOfTheProcessList(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Password: "swordfish"})
	sandboxtest.Client(t, s)
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(cmdline), "swordfish") {
		t.Errorf("command line %q", cmdline)
	}
	anonymous := s.Endpoint()
	anonymous.Password = ""
	if _, err := server.Dial(t.Context(), anonymous, ""); err == nil {
		t.Error("served without a password")
	}
}

func TestStartFailures(t *testing.T) {
	t.Parallel()
	t.Run("bad setting", func(t *testing.T) {
		_, err := sandbox.Start(t.Context(), sandboxtest.Binary(t, "redis-7.0"), sandbox.Options{Args: []string{"--no-such-setting 1"}})
		var exited *sandbox.ExitError
		if !errors.As(err, &exited) || !strings.Contains(err.Error(), "no-such-setting") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("port taken", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		port := l.Addr().(*net.TCPAddr).Port
		_, err = sandbox.Start(t.Context(), sandboxtest.Binary(t, "redis-7.0"), sandbox.Options{Port: port})
		var exited *sandbox.ExitError
		if !errors.As(err, &exited) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("wrong program", func(t *testing.T) {
		_, err := sandbox.Start(t.Context(), sandbox.Binary{Name: "nothing", Path: "/nonexistent/redis-server"}, sandbox.Options{})
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCloseRemovesOnlyItsOwnDirectory(t *testing.T) {
	binary := sandboxtest.Binary(t, "redis-7.0")
	own, err := sandbox.Start(t.Context(), binary, sandbox.Options{})
	if err != nil {
		t.Fatal(err)
	}
	given, err := sandbox.Start(t.Context(), binary, sandbox.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*sandbox.Server{own, given, own} { // twice is harmless
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(own.Dir()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("own directory: %v", err)
	}
	if _, err := os.Stat(given.Dir()); err != nil {
		t.Errorf("given directory: %v", err)
	}
}

func TestUse(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--enable-debug-command local"}})
	before, err := s.CPU()
	if err != nil {
		t.Fatal(err)
	}
	client := sandboxtest.Client(t, s)
	if _, err := client.Do(t.Context(), "DEBUG", "POPULATE", 200_000); err != nil {
		t.Fatal(err)
	}
	after, err := s.CPU()
	if err != nil {
		t.Fatal(err)
	}
	if after <= before {
		t.Errorf("CPU went from %v to %v", before, after)
	}
	if rss, err := s.RSS(); err != nil || rss < 10<<20 {
		t.Errorf("RSS %d, %v", rss, err)
	}
	if log, err := s.Log(); err != nil || !strings.Contains(log, "Ready to accept connections") {
		t.Errorf("log %q, %v", log, err)
	}
}

func TestCatalog(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"redis-9.9/bin/redis-server", "valkey-9.9/bin/valkey-server", "empty/bin/other"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("redis-9.9", filepath.Join(dir, "redis-newest")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(dir, "valkey-9.9", "bin"))
	catalog, err := sandbox.Servers(filepath.Join(dir, "missing"), dir)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(catalog.Names()); got != "[path redis-9.9 valkey-9.9]" {
		t.Errorf("names %s", got)
	}
	if b, err := catalog.Lookup("redis-newest"); err != nil || b.Name != "redis-9.9" || b.Product != server.Redis {
		t.Errorf("alias: %+v, %v", b, err)
	}
	if b, err := catalog.Lookup(sandbox.PathName); err != nil || b.Product != server.Valkey {
		t.Errorf("on PATH: %+v, %v", b, err)
	}
	_, err = catalog.Lookup("redis-1.0")
	var missing *sandbox.MissingError
	if !errors.As(err, &missing) || missing.HintText() != "run scripts/get-servers.sh redis-1.0" {
		t.Errorf("missing: %v", err)
	}
}
