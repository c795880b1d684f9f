//go:build fault

package fault

import (
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/load"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func newProgram(t *testing.T, from, to *sandbox.Server) *program {
	t.Helper()
	return newProgramOf(t, []server.Endpoint{from.Endpoint()}, to.Endpoint())
}

func startLoad(t *testing.T, servers ...*sandbox.Server) *load.Load {
	t.Helper()
	c := load.Config{Writers: 8, Rate: 4000}
	for _, s := range servers {
		c.Endpoints = append(c.Endpoints, s.Endpoint())
	}
	l, err := load.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	return l
}

// settled audits the load on the primary, waits until the replica has it all,
// and compares the two.
func settled(t *testing.T, l *load.Load, primary, replica *sandbox.Server) {
	t.Helper()
	l.Stop()
	report, err := l.Audit(t.Context(), primary.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	if report.Acked == 0 || !report.Clean() {
		t.Fatalf("audit: %v", report)
	}
	t.Logf("audit: %v", report)
	equal(t, primary, replica)
}

func equal(t *testing.T, primary, replica *sandbox.Server) {
	t.Helper()
	from, to := sandboxtest.Client(t, primary), sandboxtest.Client(t, replica)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		a, b := info(t, from, "replication"), info(t, to, "replication")
		if b["role"] == "slave" && b["master_link_status"] == "up" && b.Int("slave_repl_offset") >= a.Int("master_repl_offset") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the replica has not applied everything within a minute: %v", b)
		}
	}
	r, err := audit.Compare(t.Context(), primary.Endpoint(), replica.Endpoint(), audit.Options{TTLTolerance: 200 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range r.Differences {
		t.Error(d)
	}
	if !r.Equal() || r.Keys == 0 {
		t.Fatalf("%d keys compared, %d differ", r.Keys, r.Different)
	}
	t.Logf("%d keys are equal", r.Keys)
}

func info(t *testing.T, c *server.Client, section string) server.Info {
	t.Helper()
	i, err := c.Info(t.Context(), section)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// untouched sees that a server is a primary that takes writes, with none of
// godwit's settings.
func untouched(t *testing.T, s *sandbox.Server) {
	t.Helper()
	noSettings(t, s)
	c := sandboxtest.Client(t, s)
	for _, command := range [][]any{{"SET", "untouched", "1"}, {"DEL", "untouched"}} {
		if _, err := c.Do(t.Context(), command...); err != nil {
			t.Errorf("%s takes no writes: %v", s.Address(), err)
		}
	}
}

func noSettings(t *testing.T, s *sandbox.Server) {
	t.Helper()
	c := sandboxtest.Client(t, s)
	for name, want := range map[string]string{"masterauth": "", "masteruser": "", "min-replicas-to-write": "0"} {
		if got, _, err := c.ConfigGet(t.Context(), name); err != nil || got != want {
			t.Errorf("%s: %s is left at %q: %v", s.Address(), name, got, err)
		}
	}
}
