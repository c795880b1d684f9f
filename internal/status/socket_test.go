package status_test

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/status"
)

// longStateDir is a state directory whose socket path no system could bind.
func longStateDir(t *testing.T) string {
	t.Helper()
	return filepath.Join(t.TempDir(), strings.Repeat("deep", 20), strings.Repeat("deeper", 20))
}

func listen(t *testing.T, dir string) net.Listener {
	t.Helper()
	listener, err := status.Listen(t.Context(), dir, "default")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() }) // closed twice in most tests
	return listener
}

func TestListenIsPrivateAndLeavesNothing(t *testing.T) {
	for name, dir := range map[string]string{"short": t.TempDir(), "long": longStateDir(t)} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			listener := listen(t, dir)
			path := status.SocketPath(dir, "default")
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if info.Mode().Perm() != 0o600 {
				t.Errorf("mode %o, want 600", info.Mode().Perm())
			}
			if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%s is left: %v", path, err)
			}
			if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
				t.Errorf("left in the temporary directory: %v, %v", left, err)
			}
		})
	}
}

func TestListenRefusesALiveSocket(t *testing.T) {
	for name, dir := range map[string]string{"short": t.TempDir(), "long": longStateDir(t)} {
		t.Run(name, func(t *testing.T) {
			listen(t, dir)
			_, err := status.Listen(t.Context(), dir, "default")
			var inUse *status.InUseError
			if !errors.As(err, &inUse) {
				t.Fatalf("got %v, want *InUseError", err)
			}
		})
	}
}

// A process that was killed leaves its socket, and for a long path its link too.
func TestListenReplacesTheSocketOfADeadProcess(t *testing.T) {
	for name, dir := range map[string]string{"short": t.TempDir(), "long": longStateDir(t)} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			path := status.SocketPath(dir, "default")
			leaveDeadSocket(t, path)
			if _, err := status.Dial(t.Context(), dir, "default"); !isNotRunning(err) {
				t.Fatalf("Dial: got %v, want *NotRunningError", err)
			}
			listener := listen(t, dir)
			if err := listener.Close(); err != nil {
				t.Fatal(err)
			}
			if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
				t.Errorf("left in the temporary directory: %v, %v", left, err)
			}
		})
	}
}

func TestDialWithoutARun(t *testing.T) {
	_, err := status.Dial(t.Context(), t.TempDir(), "default")
	if !isNotRunning(err) || !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("got %v, want *NotRunningError wrapping fs.ErrNotExist", err)
	}
}

func isNotRunning(err error) bool {
	var notRunning *status.NotRunningError
	return errors.As(err, &notRunning)
}

// leaveDeadSocket does what SIGKILL does to the listener of Listen.
func leaveDeadSocket(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	at := path
	if len(path) > 100 {
		dir, err := os.MkdirTemp("", "godwit-")
		if err != nil {
			t.Fatal(err)
		}
		at = filepath.Join(dir, "godwit.sock")
		if err := os.Symlink(at, path); err != nil {
			t.Fatal(err)
		}
	}
	var config net.ListenConfig
	listener, err := config.Listen(context.Background(), "unix", at)
	if err != nil {
		t.Fatal(err)
	}
	unix, ok := listener.(*net.UnixListener)
	if !ok {
		t.Fatalf("a %T", listener)
	}
	unix.SetUnlinkOnClose(false)
	if err := unix.Close(); err != nil {
		t.Fatal(err)
	}
}
