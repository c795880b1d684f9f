package topology_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/sandbox"
	"godwit/internal/server"
	"godwit/internal/topology"
)

func TestMain(m *testing.M) {
	server.Quiet()
	goleak.VerifyTestMain(m)
}

func inspect(t *testing.T, e server.Endpoint) topology.Node {
	t.Helper()
	c, err := server.Dial(t.Context(), e, "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}()
	n, err := topology.Inspect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// as is the endpoint for another user.
func as(s *sandbox.Server, user, password string) server.Endpoint {
	e := s.Endpoint()
	e.Username, e.Password = user, password
	return e
}

func do(t *testing.T, c *server.Client, args ...any) {
	t.Helper()
	if _, err := c.Do(t.Context(), args...); err != nil {
		t.Fatal(err)
	}
}

func waitFor(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}
