//go:build fault

package migrate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"sync"

	"context"
	"errors"
	"slices"

	"godwit/internal/load"
	"godwit/internal/server"
)

func pauseServer(t *testing.T, s *sandbox.Server) {
	t.Helper()
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
}

func resumeServer(t *testing.T, s *sandbox.Server) {
	t.Helper()
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
}

func lineOf(text, part string) string {
	for line := range strings.Lines(text) {
		if strings.Contains(line, part) {
			return line
		}
	}
	return ""
}

// primaryServer is one of its primaries.
func (d *deployed) primaryServer() *sandbox.Server {
	d.t.Helper()
	n, err := d.cluster.Primary(d.t.Context(), 0)
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

// at has something done once at a point of a switch, while it waits.
func (p *jointPair) at(point string, do func()) {
	var once sync.Once
	before := p.config.Trace
	p.config.Trace = func(now string) {
		if before != nil {
			before(now)
		}
		if now == point {
			once.Do(do)
		}
	}
}

// What the users of the target might do is not forgotten by a run that fails before it
// has copied anything, and a migration that has failed goes on.
func TestJointFailedAtFirst(t *testing.T) {
	t.Parallel()
	p := newJointPair(t, "redis-7.0", servers(t, "redis-7.0", 2), servers(t, "redis-7.0", 1))
	for _, s := range p.a.servers {
		setConfig(t, s, "repl-diskless-sync-delay", "60")
	}
	m := start(t, p.config)
	eventually(t, "the target is fenced", func() bool { return refuses(t, p.b.servers[0]) })
	if err := m.stop(); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	pauseServer(t, p.a.servers[0])
	failing := start(t, p.config)
	err := <-failing.done
	failing.done <- err
	if err := failing.stop(); err == nil || failing.Status().Phase != migrate.Failed {
		t.Fatalf("without a source, phase %s: %v", failing.Status().Phase, err)
	}
	resumeServer(t, p.a.servers[0])
	for _, s := range p.a.servers {
		setConfig(t, s, "repl-diskless-sync-delay", "0")
	}
	p.load()
	m = start(t, p.config)
	m.ready()
	m.cutover()
	time.Sleep(100 * time.Millisecond)
	p.settled(nil, p.b)
	m.completed()
	p.a.clean(true)
	p.b.clean(false)
}

// Of a switch that was killed, or given up, nothing is left once the migration ends.
func TestJointLeavesNoUser(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"cutover-catch-up-before", "cutover-committed"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			p := newJointPair(t, "redis-7.0", aCluster(t, "redis-7.0", 3), servers(t, "redis-7.0", 1))
			p.load()
			run := startChild(t, p.config, point)
			run.must("ready")
			if a, ok := run.ask("cutover"); ok {
				t.Fatalf("not killed: %+v", a)
			}
			run.killedItself()
			m := start(t, p.config)
			m.ready()
			if point == "cutover-committed" {
				p.settled(m, p.b)
				m.completed()
				p.a.clean(true)
			} else {
				p.settled(m, p.a)
				if _, err := m.Abort(t.Context(), false); err != nil {
					t.Fatal(err)
				}
				p.a.clean(false)
			}
			p.b.clean(false)
		})
	}
}

// A node that is away while its users get their rights back gets them later, whatever is
// tried meanwhile.
func TestJointNodeAwayAtARollback(t *testing.T) {
	t.Parallel()
	p := newJointPair(t, "redis-7.0", aCluster(t, "redis-7.0", 3), servers(t, "redis-7.0", 1))
	p.config.MaxPause = time.Second
	m := start(t, p.config)
	m.ready()
	m.cutover()
	m.ready()
	replica := p.a.replica()
	pauseServer(t, replica)
	p.a.givesUp(replica)
	m.ready()
	m.rollback()
	m.ready()
	pauseServer(t, p.b.servers[0])
	if _, err := m.Cutover(t.Context(), migrate.SwitchOptions{}); err == nil {
		t.Fatal("a cutover to a server that does not answer")
	}
	resumeServer(t, p.b.servers[0])
	resumeServer(t, replica)
	eventually(t, "the replica takes writes of its users", func() bool { return !refuses(t, replica) })
	m.ready()
	if _, err := m.Abort(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	p.a.clean(false)
	p.b.clean(false)
}

// A shard of the source that gets its first slot within a cutover is not left out: what it
// has acknowledged is at the target, or the cutover is given up.
func TestJointShardJoinsWithinACutover(t *testing.T) {
	t.Parallel()
	for _, point := range []string{"cutover-catch-up-after", "cutover-pause-after"} {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			p := newJointPair(t, "redis-7.0", aCluster(t, "redis-7.0", 3), servers(t, "redis-7.0", 1))
			added, err := p.a.cluster.AddShard(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			const key = "{b}:late" // slot 3300
			p.at(point, func() {
				if err := p.a.cluster.Move(t.Context(), sandbox.SlotRange{First: 3300, Last: 3300}, added, sandbox.MoveOptions{}); err != nil {
					t.Error(err)
					return
				}
				n, err := p.a.cluster.Primary(t.Context(), added)
				if err != nil {
					t.Error(err)
					return
				}
				p.a.do(n, "SET", key, "1")
			})
			m := start(t, p.config)
			m.ready()
			serves := p.b.servers[0]
			if r, err := m.Cutover(t.Context(), migrate.SwitchOptions{}); err != nil {
				t.Logf("given up: %+v: %v", r, err)
				if serves, err = p.a.cluster.Primary(t.Context(), added); err != nil {
					t.Fatal(err)
				}
			}
			if got := p.a.do(serves, "GET", key); got != "1" {
				t.Errorf("%s has %v: %s", serves.Address(), got, key)
			}
			if refuses(t, serves) {
				t.Errorf("%s takes no writes", serves.Address())
			}
			eventually(t, "the target has it", func() bool { return p.b.do(p.b.servers[0], "GET", key) == "1" })
		})
	}
}

// A migration whose target has lost a node for good can be completed, and says what it
// could not do there.
func TestJointTargetNodeGone(t *testing.T) {
	t.Parallel()
	p := newJointPair(t, "redis-7.0", servers(t, "redis-7.0", 2), aCluster(t, "redis-7.0", 3))
	p.load()
	m := start(t, p.config)
	m.ready()
	gone, err := p.b.cluster.Crash(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	m.until("ready again", func(s migrate.Status) bool { return s.Ready && len(s.Links) == 2 && s.Links[0].LagBytes == 0 })
	m.cutover()
	time.Sleep(100 * time.Millisecond)
	p.settled(nil, p.b)
	end := m.completed()
	if text := strings.Join(end.Notes, "\n"); !strings.Contains(text, gone.Address()) {
		t.Errorf("%s is not named: %s", gone.Address(), text)
	}
}

// A run goes on, and lets the target's clients write, where the node is gone that the
// target's URL names.
func TestJointKilledAndFirstNodeGone(t *testing.T) {
	t.Parallel()
	p := newJointPair(t, "redis-7.0", aCluster(t, "redis-7.0", 3), aCluster(t, "redis-7.0", 3))
	run := startChild(t, p.config, "cutover-committed")
	run.must("ready")
	if a, ok := run.ask("cutover"); ok {
		t.Fatalf("not killed: %+v", a)
	}
	run.killedItself()
	gone, err := p.b.cluster.Crash(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if gone.Address() != p.config.To.Address {
		t.Fatalf("%s is gone, not %s", gone.Address(), p.config.To.Address)
	}
	m := start(t, p.config)
	eventually(t, "every node takes its users' writes", func() bool {
		for _, n := range p.b.nodes() {
			if n.Running() && refuses(t, n) {
				return false
			}
		}
		return true
	})
	p.loads = []*load.Load{startLoad(t, load.Config{Writers: 4, Prefix: "load:", Rate: 1000, Mix: load.OneSlot, Endpoints: p.b.cluster.Endpoints()[1:]})}
	m.ready()
	time.Sleep(300 * time.Millisecond)
	p.settled(m, p.b)
}

// A shard of the target that fails over within the pause, to a replica that has not all
// that it has acknowledged, loses nothing: the cutover is given up.
func TestJointTargetLosesWithinACutover(t *testing.T) {
	t.Parallel()
	p := newJointPair(t, "redis-7.0", servers(t, "redis-7.0", 2), aCluster(t, "redis-7.0", 3))
	p.config.MaxPause = time.Minute
	var m *running
	p.at("cutover-pause-before", func() {
		for _, n := range p.b.nodes() {
			if info(t, connect(t, n), "replication")["role"] == "slave" {
				if err := n.Pause(); err != nil {
					t.Error(err)
				}
			}
		}
		flood(t, p.a.servers[0], "late", 600, 1000) // more than is on its way in sockets
		m.until("the target has it", func(s migrate.Status) bool {
			return !slices.ContainsFunc(s.Links, func(l migrate.LinkStatus) bool { return l.LagBytes > 1000 })
		})
	})
	p.at("cutover-drain-after", func() {
		time.AfterFunc(200*time.Millisecond, func() {
			for _, n := range p.b.nodes() {
				if n.Running() {
					_ = n.Resume() // those that were not paused do not mind
				}
			}
		})
		if _, err := p.b.cluster.Crash(t.Context(), 1); err != nil {
			t.Error(err)
		}
	})
	m = start(t, p.config)
	m.ready()
	r, err := m.Cutover(t.Context(), migrate.SwitchOptions{})
	if err == nil {
		t.Errorf("it was not given up: %+v", r)
	} else {
		t.Log(err)
		m.ready()
		m.cutover()
	}
	found := 0
	for _, e := range p.b.primaries() {
		c, err := server.Dial(t.Context(), e, "")
		if err != nil {
			t.Fatal(err)
		}
		for i := range 600 {
			if n, err := c.Do(t.Context(), "EXISTS", fmt.Sprintf("late:%d", i)); err == nil && n == int64(1) { // the others redirect
				found++
			}
		}
		_ = c.Close()
	}
	if found != 600 {
		t.Errorf("%d of 600 keys are found", found)
	}
}
