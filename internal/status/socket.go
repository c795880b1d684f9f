package status

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// socketName is the file of the API's socket in a migration's state directory.
const socketName = "godwit.sock"

// maxSocketPath is the longest path, in bytes, that every system binds a Unix
// socket to: sun_path holds 108 bytes on Linux and 104 on the BSDs, with its NUL.
const maxSocketPath = 100

// dialTimeout bounds connecting to a socket on the same machine.
const dialTimeout = 2 * time.Second

// InUseError says that a live process already serves the socket.
type InUseError struct{ Path string }

func (e *InUseError) Error() string { return e.Path + ": another godwit serves this migration" }

// HintText is what the user can do about it.
func (e *InUseError) HintText() string {
	return "talk to it with `godwit status`, or give this migration another --name"
}

// SocketPath is where the API of a migration is found. When that path is too
// long for a socket it is a symbolic link to one with a short path.
func SocketPath(stateDir, name string) string {
	return filepath.Join(stateDir, name, socketName)
}

// Listen opens the API's socket of a migration, for this user only (mode 0600).
// The socket of a process that is gone is replaced; *InUseError says that the
// process lives. Closing the listener removes what Listen made.
func Listen(ctx context.Context, stateDir, name string) (net.Listener, error) {
	path := SocketPath(stateDir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	if len(path) <= maxSocketPath {
		return bind(ctx, path)
	}
	return bindShort(ctx, path)
}

// bind listens on path. The socket is made with mode 0600 from the start where
// the directory is private; chmod makes it so everywhere.
func bind(ctx context.Context, path string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("status socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		_ = listener.Close() // the first error is the one that tells
		return nil, fmt.Errorf("status socket: %w", err)
	}
	return listener, nil
}

// bindShort listens in a fresh private directory under the system's temporary
// one, and leaves at path a link to the socket.
func bindShort(ctx context.Context, path string) (net.Listener, error) {
	dir, err := os.MkdirTemp("", "godwit-")
	if err != nil {
		return nil, fmt.Errorf("status socket: %w", err)
	}
	listener, err := bind(ctx, filepath.Join(dir, socketName))
	if err != nil {
		_ = os.RemoveAll(dir) // nothing of ours is in it
		return nil, err
	}
	linked := &linkedListener{Listener: listener, link: path, dir: dir}
	if err := os.Symlink(filepath.Join(dir, socketName), path); err != nil {
		_ = linked.Close() // the first error is the one that tells
		return nil, fmt.Errorf("status socket: %w", err)
	}
	return linked, nil
}

// linkedListener removes the link and the short directory when it is closed.
type linkedListener struct {
	net.Listener
	link, dir string
}

func (l *linkedListener) Close() error {
	err := l.Listener.Close()
	if target, readErr := os.Readlink(l.link); readErr == nil && filepath.Dir(target) == l.dir {
		err = errors.Join(err, os.Remove(l.link))
	}
	return errors.Join(err, os.RemoveAll(l.dir))
}

// dialSocket connects to the socket at path or to the one it links to.
// A path that is too long to be a socket yet is no link cannot have been made by Listen.
func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	target, err := os.Readlink(path)
	if err == nil {
		path = target
	} else if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout}
	return dialer.DialContext(ctx, "unix", path)
}

// isDead tells whether err, of dialSocket, says that nobody serves the socket.
func isDead(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)
}

// removeStale makes way for a new socket unless a live process serves the old one.
func removeStale(ctx context.Context, path string) error {
	conn, err := dialSocket(ctx, path)
	if err == nil {
		_ = conn.Close() // it was only asked whether somebody answers
		return &InUseError{Path: path}
	}
	if !isDead(err) {
		return fmt.Errorf("status socket: %w", err)
	}
	if target, err := os.Readlink(path); err == nil && filepath.Base(target) == socketName {
		_ = os.Remove(target)               // left behind by a process that was killed
		_ = os.Remove(filepath.Dir(target)) // only when it is empty
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("status socket: %w", err)
	}
	return nil
}
