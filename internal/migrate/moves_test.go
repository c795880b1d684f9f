package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// moving is a target whose slots are moved at once while it is fenced.
type moving struct {
	*deployed

	before string
	moved  int
}

func newMoving(d *deployed) *moving {
	d.t.Helper()
	m := &moving{deployed: d}
	m.before = m.state()
	return m
}

// state is what the nodes have of users, and by whom they connect to each other, a line
// each.
func (m *moving) state() string {
	m.t.Helper()
	var b strings.Builder
	for _, n := range m.nodes() {
		list := m.do(n, "ACL", "LIST").([]any)
		slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		fmt.Fprintln(&b, n.Address(), list, m.do(n, "CONFIG", "GET", "master*"))
	}
	return b.String()
}

// asBefore sees that nothing of it is left, at nodes that have joined either.
func (m *moving) asBefore() {
	m.t.Helper()
	after := m.state()
	if !strings.HasPrefix(after, m.before) || strings.Contains(after, "godwit") || strings.Contains(after, "-@write") {
		m.t.Errorf("before:\n%s\nafter:\n%s", m.before, after)
	}
}

// fenced waits until no node takes writes of its users, and primaries, which are told right
// after, connect by a user of their own.
func (m *moving) fenced() {
	m.t.Helper()
	for _, n := range m.nodes() {
		eventually(m.t, n.Address()+" is fenced", func() bool {
			user, _, err := connect(m.t, n).ConfigGet(m.t.Context(), "masteruser")
			if err != nil {
				m.t.Fatal(err)
			}
			primary := info(m.t, connect(m.t, n), "replication")["role"] == "master"
			return refuses(m.t, n) && strings.HasPrefix(user, "godwit:") == primary
		})
	}
}

// there moves the first slots of the first shard, and the last of the second, to the third;
// back is the other direction. No client may write meanwhile.
func (m *moving) there() {
	m.t.Helper()
	m.move(2, sandbox.SlotRange{First: 0, Last: 700})
	m.move(2, sandbox.SlotRange{First: 9000, Last: 10922})
	m.refuses()
}

func (m *moving) back() {
	m.t.Helper()
	m.move(0, sandbox.SlotRange{First: 0, Last: 700})
	m.move(1, sandbox.SlotRange{First: 9000, Last: 10922})
	m.refuses()
}

// move is tried again where it is ended by a copy that begins: that empties the shards.
func (m *moving) move(to int, slots sandbox.SlotRange) {
	m.t.Helper()
	for again := 5; ; again-- {
		err := m.cluster.MoveAtomically(m.t.Context(), slots, to)
		if err == nil {
			m.moved++
			return
		}
		flushed := strings.Contains(err.Error(), "Data was flushed") || strings.Contains(err.Error(), "Connection lost to target") // as the two ends call it
		if again == 0 || !flushed {
			m.t.Fatal(err)
		}
		m.t.Log(err)
	}
}

// changes has nodes join, die, and start again, which are told then.
func (m *moving) changes() {
	m.t.Helper()
	added, err := m.cluster.AddShard(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	m.fenced()
	m.move(added, sandbox.SlotRange{First: 3000, Last: 3300})
	dead, err := m.cluster.Crash(m.t.Context(), 0)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.cluster.Restart(m.t.Context(), dead, false); err != nil {
		m.t.Fatal(err)
	}
	m.fenced()
	m.move(0, sandbox.SlotRange{First: 3000, Last: 3300})
	m.there()
	m.back()
}

// refuses sees that the default user may not write anywhere.
func (m *moving) refuses() {
	m.t.Helper()
	for _, e := range m.primaries() {
		c, err := server.Dial(m.t.Context(), e, "")
		if err != nil {
			m.t.Fatal(err)
		}
		if _, err := c.Do(m.t.Context(), "SET", "early", "1"); !server.IsCode(err, "NOPERM") {
			m.t.Errorf("%s: a write of a client: %v", e.Address, err)
		}
		_ = c.Close()
	}
}

// handsOver switches as soon as it is not refused any more: what slots that have moved take,
// comes and goes.
func (r *running) handsOver(do func(context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error)) {
	r.t.Helper()
	eventually(r.t, "a switch", func() bool {
		result, err := do(r.t.Context(), migrate.SwitchOptions{})
		if err != nil {
			r.t.Log(err)
		}
		return result.Done
	})
}

// bareCluster has no replicas.
func bareCluster(t *testing.T, version string, shards int) *deployed {
	t.Helper()
	return &deployed{t: t, cluster: sandboxtest.Cluster(t, version, sandbox.ClusterOptions{Shards: shards, Args: backlog})}
}

// Slots of a Valkey 9 cluster are moved at once, to and fro, while it is copied into and
// while it follows: no write is lost or doubled, both sides are equal, and the cluster is
// left as it was.
func TestSlotsMoveAtOnce(t *testing.T) {
	t.Parallel()
	for _, tt := range some(1, []struct {
		from  string
		shape string
	}{{"redis-7.0", "standalone"}, {"valkey-8.1", "standalone"}, {"valkey-9.1", "cluster"}, {"redis-7.0", "cluster"}}) {
		t.Run(tt.from+" "+tt.shape, func(t *testing.T) {
			t.Parallel()
			source := servers(t, tt.from, 1)
			if tt.shape == "cluster" {
				source = aCluster(t, tt.from, 3)
			}
			target := aCluster
			if !long {
				target = bareCluster
			}
			p := newJointPair(t, tt.from, source, target(t, "valkey-9.1", 3))
			b := newMoving(p.b)
			p.load()
			run := startChild(t, p.config, "")
			b.fenced()
			b.there()
			b.back()
			if a := run.must("status"); a.Status.Copy.FullResyncs > 0 {
				t.Logf("moved %d times by phase %s, copy %d", b.moved, a.Status.Phase, a.Status.Copy.FullResyncs)
			}
			run.must("ready")
			b.there()
			run.kill()
			b.back() // without godwit
			m := start(t, p.config)
			m.ready()
			for range 2 {
				b.there()
				b.back()
			}
			if long {
				b.changes()
			}
			m.ready()
			m.handsOver(m.Cutover)
			m.ready()
			if tt.from+tt.shape == "valkey-9.1cluster" { // it is the one that does not serve now
				a := &moving{deployed: p.a}
				a.fenced()
				a.there()
				m.ready()
				a.back()
				m.ready()
			}
			m.handsOver(m.Rollback)
			b.fenced()
			b.there()
			m.ready()
			m.handsOver(m.Cutover)
			p.settled(m, p.b)
			t.Logf("slots were moved %d times", b.moved)
			m.completed()
			b.asBefore()
			if tt.shape == "cluster" {
				p.a.clean(true)
			}
		})
	}
}

// Killed while the target is fenced, and aborted by the next process, the nodes connect as
// they did.
func TestMovesAreForgottenByAnAbort(t *testing.T) {
	t.Parallel()
	p := newJointPair(t, "redis-7.0", servers(t, "redis-7.0", 1), aCluster(t, "valkey-9.1", 2))
	b := newMoving(p.b)
	run := startChild(t, p.config, "")
	b.fenced()
	run.kill()
	if !strings.Contains(b.state(), "godwit:") {
		t.Fatal("nothing was left to take back")
	}
	later, err := migrate.Begin(t.Context(), p.config, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	_, err = later.Abort(t.Context(), false)
	if err := errors.Join(err, later.Close()); err != nil {
		t.Fatal(err)
	}
	b.asBefore()
	p.b.clean(false)
}
