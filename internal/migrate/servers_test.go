package migrate_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
)

// durable has a server write every command to its AOF before it acknowledges
// it: killed, it has lost nothing. (With everysec a write waits up to 2 s for an fsync that
// is under way, and is acknowledged meanwhile: aof.c flushAppendOnlyFile.)
const durable = "--appendonly yes --appendfsync always"

// kill is kill -9; restart brings the server back with what it has saved.
func kill(t *testing.T, s *sandbox.Server) {
	t.Helper()
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
}

func restart(t *testing.T, s *sandbox.Server) {
	t.Helper()
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func keys(t *testing.T, s *sandbox.Server) int64 {
	t.Helper()
	n, err := connect(t, s).Do(t.Context(), "DBSIZE")
	if err != nil {
		t.Fatal(err)
	}
	return n.(int64)
}

// A server that is killed in the copy or while it follows, and keeps what it
// has acknowledged, is found again by itself.
func TestServerKilledBeforeTheSwitch(t *testing.T) {
	t.Parallel()
	for _, version := range some(1, versions()) {
		for _, side := range []migrate.Side{migrate.Source, migrate.Target} {
			t.Run(version+" "+string(side), func(t *testing.T) {
				t.Parallel()
				p := newPair(t, version, version, durable)
				l := p.load()
				if err := connect(t, p.source).ConfigSet(t.Context(), "rdb-key-save-delay", "200"); err != nil {
					t.Fatal(err)
				}
				victim := p.source
				if side == migrate.Target {
					victim = p.target
				}
				m := start(t, p.config())
				m.until("copying", func(s migrate.Status) bool {
					return s.Phase == migrate.Copying && len(s.Links) == 1 && s.Links[0].State == "copying"
				})
				for _, phase := range []migrate.Phase{migrate.Copying, migrate.Following} {
					kill(t, victim)
					if phase == migrate.Following {
						m.until("noticed", func(s migrate.Status) bool { return !s.Ready && s.Phase == migrate.Following })
					}
					restart(t, victim)
					s := m.ready()
					t.Logf("killed in phase %s: %d full resyncs", phase, s.Copy.FullResyncs)
				}
				m.cutover()
				m.ready()
				p.settled(l, p.target)
			})
		}
	}
}

// A target without persistence comes back empty, and is copied to again.
func TestTargetComesBackEmpty(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	l := p.load()
	m := start(t, p.config())
	m.ready()
	kill(t, p.target)
	restart(t, p.target)
	m.until("copied again", func(s migrate.Status) bool { return s.Copy.FullResyncs == 2 })
	m.ready()
	m.cutover()
	m.ready()
	p.settled(l, p.target)
}

// A primary that comes back empty must not empty the last copy of the data,
// whether clients have written to it since or not.
func TestPrimaryComesBackEmpty(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ switched, written bool }{
		"source":                {false, false},
		"source, written to":    {false, true},
		"target after a switch": {true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "redis-7.0", "redis-7.0")
			m := start(t, p.config())
			m.ready()
			primary, replica := p.source, p.target
			if c.switched {
				m.cutover()
				m.ready()
				primary, replica = replica, primary
			}
			p.equal(primary)
			before := keys(t, replica)
			kill(t, primary)
			_ = os.Remove(filepath.Join(primary.Dir(), "dump.rdb")) // a former replica keeps the snapshot it has loaded
			restart(t, primary)
			if c.written {
				for _, key := range []string{"a", "b", "c"} {
					if _, err := connect(t, primary).Do(t.Context(), "SET", key, "new"); err != nil {
						t.Fatal(err)
					}
				}
			}
			err := m.ended()
			var hint interface{ HintText() string }
			if err == nil || !errors.As(err, &hint) || !strings.Contains(hint.HintText(), replica.Address()) {
				t.Fatalf("it ended by %v", err)
			}
			t.Logf("%v; hint: %s", err, hint.HintText())
			if after := keys(t, replica); after != before {
				t.Fatalf("of %d keys %d are left at %s", before, after, replica.Address())
			}
		})
	}
}

// The old primary that is killed after the switch comes back as a primary by
// its configuration, and is a replica again at once; then the way back is open.
func TestOldPrimaryKilledAfterTheSwitch(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{"with persistence": {durable}, "without": nil} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, "redis-7.0", "redis-7.0", args...)
			l := p.load()
			m := start(t, p.config())
			m.ready()
			m.cutover()
			m.ready()
			before := m.Status().Copy.Bytes
			kill(t, p.source)
			restart(t, p.source)
			// Another copy, of more keys: what was ready before it may still be said to be.
			m.until("copied to again", func(s migrate.Status) bool { return s.Copy.Bytes > before && s.Ready })
			m.rollback()
			m.ready()
			p.settled(l, p.source)
		})
	}
}

// The new primary that is killed and keeps its data goes on as the primary.
func TestNewPrimaryKilledAfterTheSwitch(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0", durable)
	m := start(t, p.config())
	m.ready()
	m.cutover()
	m.ready()
	l := startLoad(t, writing(p.target)) // another would take the old one's READONLY for an answer
	time.Sleep(100 * time.Millisecond)
	kill(t, p.target)
	restart(t, p.target)
	m.until("followed again", func(s migrate.Status) bool { return s.Copy.FullResyncs > 0 && s.Ready })
	p.settled(l, p.target)
	m.rollback()
	m.ready()
	p.equal(p.source)
}
