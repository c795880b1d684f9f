package migrate_test

import (
	"testing"
	"time"

	"godwit/internal/migrate"
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
