package migrate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/server"
)

// A run that goes on from a checkpoint is sent no SELECT for the db that the
// stream is in there: COPY, which is said with its db for 6.0, must not go to db 0.
func TestGoesOnInTheSameDB(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-6.0")
	config := p.config()
	conn := connect(t, p.source).Redis().Conn()
	t.Cleanup(func() { _ = conn.Close() })
	do := func(args ...any) {
		t.Helper()
		if err := conn.Do(t.Context(), args...).Err(); err != nil {
			t.Fatal(err)
		}
	}
	run := startChild(t, config, "")
	run.must("ready")
	do("SELECT", 11)
	do("SET", "first", "1", "EX", 1000)
	run.must("ready")
	time.Sleep(2500 * time.Millisecond) // for a checkpoint after it
	run.kill()
	m := start(t, config)
	if s := m.ready(); s.Phase != migrate.Following || s.Copy.FullResyncs != 0 {
		t.Fatalf("phase %s with %d full resyncs", s.Phase, s.Copy.FullResyncs)
	}
	do("COPY", "first", "second")
	do("COPY", "first", "third", "DB", 12)
	p.equal(p.source)
}

// Killed between demotion and promotion, and the target with it: that comes back
// as a primary, from a snapshot of before the last writes. Where commands have
// become longer, its offset alone does not tell that it lacks them.
func TestTargetComesBackOlderWithinASwitch(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-6.0", "redis-7.0")
	p.ttlTolerance = 10 * time.Second
	source, target := connect(t, p.source), connect(t, p.target)
	do := func(c *server.Client, args ...any) any {
		t.Helper()
		reply, err := c.Do(t.Context(), args...)
		if err != nil {
			t.Fatal(err)
		}
		return reply
	}
	config := p.config()
	run := startChild(t, config, migrate.DirectionCutover+"-demote-after")
	run.must("ready")
	for i := range 300 {
		do(source, "SETEX", fmt.Sprint("longer:", i), 1000, "v")
	}
	eventually(t, "the target has them", func() bool { return do(target, "EXISTS", "longer:299") == int64(1) })
	do(target, "SAVE")
	do(source, "SET", "last before", "1")
	eventually(t, "the target has it", func() bool { return do(target, "EXISTS", "last before") == int64(1) })
	if a, ok := run.ask("cutover"); ok {
		t.Fatalf("not killed: %+v", a)
	}
	run.killedItself()
	kill(t, p.target)
	restart(t, p.target)
	m := start(t, config)
	if s := m.ready(); s.Phase != migrate.Following {
		t.Errorf("phase %s", s.Phase)
	}
	if do(source, "EXISTS", "last before") != int64(1) {
		t.Error("a write is lost")
	}
	p.equal(p.source)
}

// Killed right after the commit: the new primary takes writes, saves them, and is
// restarted before the next run. It is not one that was never promoted.
func TestNewPrimaryRestartedBeforeTheSwitchIsFinished(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"redis-6.0", "redis-7.0", "valkey-8.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, version, version)
			config := p.config()
			run := startChild(t, config, migrate.DirectionCutover+"-promote-after")
			run.must("ready")
			if a, ok := run.ask("cutover"); ok {
				t.Fatalf("not killed: %+v", a)
			}
			run.killedItself()
			c := connect(t, p.target)
			for _, args := range [][]any{{"SET", "after", "1"}, {"SAVE"}} {
				if _, err := c.Do(t.Context(), args...); err != nil {
					t.Fatal(err)
				}
			}
			kill(t, p.target)
			restart(t, p.target)
			m := start(t, config)
			eventually(t, "decided, or not", func() bool {
				s := m.Status()
				return s.Ready || s.Phase == migrate.Failed
			})
			if n, err := connect(t, p.target).Do(t.Context(), "EXISTS", "after"); err != nil || n != int64(1) {
				t.Errorf("a write is lost: %v, %v", n, err)
			}
			if s := m.Status(); s.Phase != migrate.Failed || !strings.Contains(s.Hint, "decide which server") {
				t.Errorf("it went on in phase %s: %s; hint: %s", s.Phase, s.Error, s.Hint)
			}
		})
	}
}
