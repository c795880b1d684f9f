package migrate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/rdb"
	"godwit/internal/server"
)

// What is left out is counted, of the copy and of the stream, exactly: over a run
// that is stopped, one that is killed, and both switches.
func TestDroppedIsCounted(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-8.0", "redis-7.0")
	source, target := connect(t, p.source), connect(t, p.target)
	var copied, streamed int64
	expire := func(c *server.Client, n int) {
		for range n {
			key := fmt.Sprint("visits:", copied+streamed)
			for _, args := range [][]any{{"HSET", key, "a", 1, "b", 2}, {"HEXPIRE", key, 1000, "FIELDS", 1, "a"}} {
				if _, err := c.Do(t.Context(), args...); err != nil {
					t.Fatal(err)
				}
			}
			streamed++
		}
	}
	expire(source, 30)
	copied, streamed = streamed, 0
	counted := func(s migrate.Status) bool {
		return slices.Equal(s.Dropped, []migrate.DroppedStatus{{
			Feature: string(rdb.FeatureHashFieldTTL), Server: p.target.Address(), Count: copied + streamed, Copy: copied, Stream: streamed,
		}})
	}
	config := p.config()
	config.Drop = []rdb.Feature{rdb.FeatureHashFieldTTL}

	m := start(t, config)
	m.ready()
	m.until("counted, of the copy", counted)
	expire(source, 20)
	m.until("counted", counted)
	if err := m.stop(); err == nil {
		t.Error("no error of a run that was stopped")
	}
	if s, err := migrate.ReadStatus(config.StateDir, config.Name); err != nil || !counted(s) {
		t.Errorf("the journal counts %+v, %v", s.Dropped, err)
	}
	expire(source, 5) // while nothing runs

	run := startChild(t, config, "")
	run.must("ready")
	expire(source, 20)
	eventually(t, "counted after a restart", func() bool { return counted(run.must("status").Status) })
	expire(source, 7)
	run.kill()

	m = start(t, config)
	m.ready()
	m.until("counted after a kill", counted)
	if s := m.Status(); s.Copy.FullResyncs > 0 {
		t.Errorf("%d full resyncs", s.Copy.FullResyncs)
	}
	told := 0
	for _, e := range m.Status().Events {
		if strings.Contains(e.Text, "hash-field-ttl is left out of the ") {
			told++
		}
	}
	if told != 2 {
		t.Errorf("told %d times, want once of the copy and once of the stream: %+v", told, m.Status().Events)
	}

	m.cutover()
	m.ready()
	m.until("counted after a cutover", counted)
	if _, err := target.Do(t.Context(), "SET", "after", "the cutover"); err != nil {
		t.Fatal(err)
	}
	m.rollback()
	m.ready()
	expire(source, 3)
	m.until("counted after a rollback", counted)
}
