// Package sandboxtest starts real servers for tests and stops them at the end.
package sandboxtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/server"
)

// startTimeout bounds the start of one server, on a machine that is busy too.
const startTimeout = 30 * time.Second

// Catalog finds the servers of the repository: in $GODWIT_SERVERS, or in
// .servers beside go.mod, where scripts/get-servers.sh puts them.
func Catalog(t testing.TB) sandbox.Catalog {
	t.Helper()
	catalog, err := sandbox.Servers(serversDir(t))
	if err != nil {
		t.Fatal(err)
	}
	return catalog
}

// Binary finds one server, and fails the test with the line to run if it is missing.
func Binary(t testing.TB, name string) sandbox.Binary {
	t.Helper()
	b, err := Catalog(t).Lookup(name)
	found(t, err)
	return b
}

// Module is the path of a module, for MODULE LOAD and --loadmodule; it fails the
// test as Binary does.
func Module(t testing.TB, name string) string {
	t.Helper()
	path, err := Catalog(t).Module(name)
	found(t, err)
	return path
}

// found fails the test with the line to run if something is missing.
func found(t testing.TB, err error) {
	t.Helper()
	var missing *sandbox.MissingError
	if errors.As(err, &missing) {
		t.Fatalf("%v\n%s", err, missing.HintText())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Start runs the named server for the length of the test. If the test fails,
// the end of the server's log is in the test's output.
func Start(t testing.TB, name string, o sandbox.Options) *sandbox.Server {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	s, err := sandbox.Start(ctx, Binary(t, name), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			logTail(t, s)
		}
		if err := s.Close(); err != nil {
			t.Errorf("closing %s at %s: %v", name, s.Address(), err)
		}
	})
	return s
}

// Client connects to a server for the length of the test.
func Client(t testing.TB, s *sandbox.Server) *server.Client {
	t.Helper()
	c, err := server.Dial(t.Context(), s.Endpoint(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Errorf("closing the client of %s: %v", s.Address(), err)
		}
	})
	return c
}

func logTail(t testing.TB, s *sandbox.Server) {
	const tail = 4 << 10
	text, err := s.Log()
	if err != nil {
		t.Logf("log of %s: %v", s.Address(), err)
		return
	}
	t.Logf("log of %s at %s:\n%s", s.Binary().Name, s.Address(), text[max(0, len(text)-tail):])
}

func serversDir(t testing.TB) string {
	t.Helper()
	if dir := os.Getenv("GODWIT_SERVERS"); dir != "" {
		return dir
	}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".servers")
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above the test's directory")
		}
		dir = parent
	}
}
