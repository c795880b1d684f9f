package migrate_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"godwit/internal/cutover"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
)

// A user that may not send FAILOVER switches with the fence, as the plan says.
func TestFailoverDenied(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	c := connect(t, p.source)
	for _, rules := range [][]any{{"mover", "on", ">pw", "~*", "&*", "+@all"}, {"mover", "-failover"}} {
		if _, err := c.Do(t.Context(), append([]any{"ACL", "SETUSER"}, rules...)...); err != nil {
			t.Fatal(err)
		}
	}
	l := p.load()
	config := p.config()
	config.From.Username, config.From.Password = "mover", "pw"
	m := start(t, config)
	m.ready()
	r, err := m.Cutover(t.Context(), migrate.SwitchOptions{DryRun: true})
	if err != nil || !hasStep(r, cutover.Unfence) {
		t.Fatalf("dry run: %+v: %v", r, err)
	}
	if r := m.cutover(); !hasStep(r, cutover.Unfence) {
		t.Errorf("cutover by %+v", r.Steps)
	}
	m.ready()
	if r := m.rollback(); hasStep(r, cutover.Unfence) { // the target's user may send it
		t.Errorf("rollback by %+v", r.Steps)
	}
	m.ready()
	p.settled(l, p.source)
	noSettings(t, p.source)
}

func hasStep(r migrate.SwitchResult, name cutover.Name) bool {
	for _, s := range r.Steps {
		if s.Name == string(name) {
			return true
		}
	}
	return false
}

// promote makes a replica a primary behind godwit's back; with a write, if it is
// to have one, in the same breath.
func (p *pair) promote(side migrate.Side, write bool) {
	p.t.Helper()
	s := p.target
	if side == migrate.Source {
		s = p.source
	}
	pipe := connect(p.t, s).Redis().Pipeline()
	pipe.Do(p.t.Context(), "REPLICAOF", "NO", "ONE")
	if write {
		pipe.Set(p.t.Context(), "behind-its-back", "1", 0)
	}
	if _, err := pipe.Exec(p.t.Context()); err != nil {
		p.t.Fatal(err)
	}
}

// A replica that somebody promoted, and that has written nothing, is attached
// again; what it has applied of the stream is not taken for its own.
func TestPromotedBySomebodyElse(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	m := start(t, p.config())
	m.ready()
	flood(t, p.source, "applied", 20, 1000)
	p.equal(p.source)
	p.promote(migrate.Target, false)
	s := m.until("attached again", func(s migrate.Status) bool {
		return s.Ready && slices.ContainsFunc(s.Events, func(e migrate.Event) bool { return strings.Contains(e.Text, "was attached") })
	})
	for _, e := range s.Events {
		if e.Level == "error" || strings.Contains(e.Text, "lost") {
			t.Errorf("a false alarm: %s", e.Text)
		}
	}
	p.equal(p.source)
}

// One that has written ends the run, and the hint says what helps.
func TestPromotedBySomebodyElseAndWritten(t *testing.T) {
	t.Parallel()
	for _, side := range []migrate.Side{migrate.Target, migrate.Source} {
		t.Run(string(side), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "redis-7.0", "redis-7.0")
			config := p.config()
			m := start(t, config)
			m.ready()
			end, verb := (*migrate.Migration).Abort, "godwit abort"
			if side == migrate.Source {
				m.cutover()
				m.ready()
				end, verb = (*migrate.Migration).Complete, "godwit complete"
			}
			p.promote(side, true)
			err := m.ended()
			var hint interface{ HintText() string }
			if err == nil || !errors.As(err, &hint) || !strings.Contains(hint.HintText(), verb) {
				t.Fatalf("it ended by %v", err)
			}
			_ = m.stop()
			over := open(t, config)
			if r, err := end(over, t.Context(), false); err != nil || !r.Done {
				t.Fatalf("%s: %+v: %v", verb, r, err)
			}
			_ = over.Close()
			noSettings(t, p.source)
			noSettings(t, p.target)
			if side == migrate.Source {
				if role := info(t, connect(t, p.source), "replication")["role"]; role != "slave" {
					t.Errorf("the source is a %s", role)
				}
				if got, err := connect(t, p.source).Text(t.Context(), "GET", "behind-its-back"); err != nil || got != "1" {
					t.Errorf("what it has written is %q: %v", got, err)
				}
				return
			}
			config.Replace = true
			m = start(t, config)
			m.ready()
			p.equal(p.source)
		})
	}
}

// A target that somebody else makes a replica just when godwit does is left to
// him, not detached.
func TestTargetTakenBySomebodyElse(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	config := p.config()
	config.Announce, config.ListenPort = "127.0.0.1:1", freePort(t)
	m := start(t, config)
	m.until("attached", func(s migrate.Status) bool { return s.Target.Role != "" && s.Phase == migrate.Copying })
	c := connect(t, p.target)
	eventually(t, "sent to the listener", func() bool { return info(t, c, "replication")["master_port"] == "1" })
	if _, err := c.Do(t.Context(), "REPLICAOF", "127.0.0.1", p.source.Port()); err != nil {
		t.Fatal(err)
	}
	if err := m.ended(); err == nil || !strings.Contains(err.Error(), "by somebody else") {
		t.Fatalf("it ended by %v", err)
	}
	_ = m.stop()
	noSettings(t, p.target)
	p.equal(p.source)
	if r, err := open(t, config).Abort(t.Context(), false); err == nil {
		t.Errorf("there was something to abort: %+v", r)
	}
	p.equal(p.source)
}

func freePort(t *testing.T) int {
	t.Helper()
	port, err := sandbox.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return port
}
