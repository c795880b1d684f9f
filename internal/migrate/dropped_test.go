package migrate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

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

// What --drop leaves out of a cluster's copy and stream, and of the way back, is counted
// and told of as between two servers, over a restart of godwit, too.
func TestDroppedOfACluster(t *testing.T) {
	t.Parallel()
	expiring := func(c *server.Client, names ...string) {
		t.Helper()
		for _, name := range names {
			do(t, c, "HSET "+name+" field 1 other 2", "HPEXPIRE "+name+" 1000000 FIELDS 1 field")
		}
	}
	counted := func(s migrate.Status, want migrate.DroppedStatus) bool { return slices.Contains(s.Dropped, want) }
	for _, back := range some(1, []bool{false, true}) {
		from, to := "redis-8.0", "redis-7.0"
		if back {
			from, to = to, from
		}
		t.Run(fmt.Sprintf("%s to %s", from, to), func(t *testing.T) {
			t.Parallel()
			c := newToCluster(t, from, to)
			l := c.load()
			config := c.config()
			config.MaxPause, config.Drop = 10*time.Second, []rdb.Feature{rdb.FeatureHashFieldTTL}
			want := migrate.DroppedStatus{Feature: string(rdb.FeatureHashFieldTTL), Server: c.target.Endpoints()[0].Address, Count: 5, Copy: 3, Stream: 2}
			source := connect(t, c.source)
			if !back {
				expiring(source, "a", "b", "c")
			}
			m := start(t, config)
			m.ready()
			switch {
			case back:
				want.Server, want.Count, want.Copy = c.source.Address(), 2, 0
				m.cutover()
				m.ready()
				for _, e := range c.primaries() { // each takes the one that is its own
					shard, err := server.New(e, "")
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = shard.Close() }()
					for _, name := range []string{"d", "e"} {
						if _, err := shard.Do(t.Context(), "HSET", name, "field", 1, "other", 2); err == nil {
							expiring(shard, name)
						}
					}
				}
			default:
				expiring(source, "d", "e")
			}
			s := m.until("all were counted", func(s migrate.Status) bool { return counted(s, want) })
			if !slices.ContainsFunc(s.Events, func(e migrate.Event) bool {
				return strings.Contains(e.Text, "hash-field-ttl is left out of") && strings.Contains(e.Text, "first at key")
			}) {
				t.Errorf("nobody was told: %+v", s.Events)
			}
			if err := m.stop(); err == nil {
				t.Fatal("the run ended by itself")
			}
			m = start(t, config)
			// What was read last may be read again, and counted again.
			if s := m.ready(); len(s.Dropped) != 1 || s.Dropped[0].Copy != want.Copy || s.Dropped[0].Stream < want.Stream || s.Dropped[0].Stream > 2*want.Stream {
				t.Errorf("after a restart: %+v, not %+v", s.Dropped, want)
			}
			if !back {
				do(t, source, "DEL a b c d e")
				m.cutover()
			} else {
				for _, e := range c.primaries() {
					shard, err := server.New(e, "")
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = shard.Close() }()
					for _, name := range []string{"d", "e"} {
						_, _ = shard.Do(t.Context(), "DEL", name) // another shard's, perhaps
					}
				}
				m.rollback()
			}
			l.Stop()
			serves := c.primaries()
			if back {
				serves = []server.Endpoint{c.source.Endpoint()}
			}
			report, err := l.Audit(t.Context(), serves...)
			if err != nil || report.Acked == 0 || !report.Clean() {
				t.Fatalf("audit: %v, %v: %q", report, err, report.Samples)
			}
			m.ready()
			m.until("drained", func(s migrate.Status) bool {
				return !slices.ContainsFunc(s.Links, func(l migrate.LinkStatus) bool { return l.LagBytes != 0 })
			})
			c.equal()
		})
	}
}
