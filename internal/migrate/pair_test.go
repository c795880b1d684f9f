package migrate_test

import (
	"crypto/rand"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// pair is a source with data and an empty target.
type pair struct {
	t              *testing.T
	source, target *sandbox.Server
	ttlTolerance   time.Duration
}

// newPair starts both with a backlog that a second without godwit does not outrun.
func newPair(t *testing.T, source, target string, args ...string) *pair {
	t.Helper()
	return newUnequalPair(t, source, args, target, args)
}

// newUnequalPair is newPair with settings of its own for each.
func newUnequalPair(t *testing.T, source string, sourceArgs []string, target string, targetArgs []string) *pair {
	t.Helper()
	start := func(name string, args []string) *sandbox.Server {
		return sandboxtest.Start(t, name, sandbox.Options{Args: append([]string{"--repl-backlog-size 64mb"}, args...)})
	}
	p := &pair{t: t, source: start(source, sourceArgs), target: start(target, targetArgs), ttlTolerance: 200 * time.Millisecond}
	switch {
	case source == "redis-6.0" && target == "redis-6.0":
		p.ttlTolerance = time.Minute
	case source == "redis-6.0" || target == "redis-6.0":
		p.ttlTolerance = 10 * time.Second // its own commands say TTLs, and count from when godwit gets them
	}
	p.fill(2000)
	return p
}

func (p *pair) fill(n int) {
	p.t.Helper()
	o := dataset.Options{Keys: n, DBs: []int{0, 1, 15}, Seed: 1, NoFieldTTLs: true, NoFunctions: true}
	if err := dataset.Fill(p.t.Context(), p.source.Endpoint(), o); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) config() migrate.Config {
	return config(p.t, p.source.Endpoint(), p.target.Endpoint())
}

// load writes to whichever is the primary. Its keys expire, but for servers of
// the same version before 7.0, between which commands pass as they are: with TTLs
// that count from when they arrive.
func (p *pair) load() *load.Load {
	c := writing(p.source, p.target)
	if p.ttlTolerance < time.Minute {
		c.TTL = time.Hour
	}
	return startLoad(p.t, c)
}

// settled audits the load on primary, waits until the other server has it all
// and compares the two.
func (p *pair) settled(l *load.Load, primary *sandbox.Server) {
	p.t.Helper()
	audited(p.t, l, primary)
	p.equal(primary)
}

// equal waits until the other server has applied what primary has written, and
// compares the two.
func (p *pair) equal(primary *sandbox.Server) {
	p.t.Helper()
	replica := p.applied(primary)
	if i := info(p.t, connect(p.t, replica), "replication"); i["role"] != "slave" {
		p.t.Fatalf("the other one is a %s", i["role"])
	}
	r, err := audit.Compare(p.t.Context(), primary.Endpoint(), replica.Endpoint(), audit.Options{TTLTolerance: p.ttlTolerance})
	if err != nil {
		p.t.Fatal(err)
	}
	for _, d := range r.Differences {
		p.t.Error(d)
	}
	if !r.Equal() || r.Keys == 0 {
		p.t.Fatalf("%d keys compared, %d differ", r.Keys, r.Different)
	}
	p.t.Logf("%d keys are equal", r.Keys)
}

// applied waits until the other server has applied what primary has written, and
// gives that other one.
func (p *pair) applied(primary *sandbox.Server) *sandbox.Server {
	p.t.Helper()
	replica := p.source
	if primary == replica {
		replica = p.target
	}
	from, to := connect(p.t, primary), connect(p.t, replica)
	// What comes last says that everything has come: offsets may differ.
	last := rand.Text()
	if _, err := from.Do(p.t.Context(), "SET", "last", last); err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, "the replica has applied everything", func() bool {
		got, err := to.Do(p.t.Context(), "GET", "last")
		return err == nil && got == last
	})
	return replica
}

// untouched sees that a server is as it was before godwit: a primary that takes
// writes, with none of its settings.
func untouched(t *testing.T, s *sandbox.Server) {
	t.Helper()
	c := connect(t, s)
	i := info(t, c, "replication")
	if state := i["master_failover_state"]; i["role"] != "master" || state != "" && state != "no-failover" {
		t.Errorf("%s: role %s, master_failover_state %s", s.Address(), i["role"], state)
	}
	noSettings(t, s)
	if _, err := c.Do(t.Context(), "SET", "untouched", "1"); err != nil {
		t.Errorf("%s takes no writes: %v", s.Address(), err)
	}
	if _, err := c.Do(t.Context(), "DEL", "untouched"); err != nil {
		t.Error(err)
	}
}

// noSettings sees that none of godwit's settings is left at a server.
func noSettings(t *testing.T, s *sandbox.Server) {
	t.Helper()
	c := connect(t, s)
	for name, want := range map[string]string{"masterauth": "", "masteruser": "", "min-replicas-to-write": "0"} {
		if got, _, err := c.ConfigGet(t.Context(), name); err != nil || got != want {
			t.Errorf("%s: %s is left at %q: %v", s.Address(), name, got, err)
		}
	}
}

// connect opens a client for the length of the test.
func connect(t *testing.T, s *sandbox.Server) *server.Client {
	t.Helper()
	c, err := server.New(s.Endpoint(), "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func info(t *testing.T, c *server.Client, section string) server.Info {
	t.Helper()
	i, err := c.Info(t.Context(), section)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

// eventually waits up to half a minute.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	eventuallyIn(t, 30, what, ok)
}

func eventuallyIn(t *testing.T, seconds int, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Duration(seconds) * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %d s: %s", seconds, what)
		}
	}
}
