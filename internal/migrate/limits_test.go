package migrate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
)

// flood writes values of 100 kB to a server, at most rate of them a second.
func flood(t *testing.T, s *sandbox.Server, prefix string, n, rate int) {
	t.Helper()
	c := connect(t, s)
	value := strings.Repeat("0123456789", 10_000)
	const batch = 20
	began := time.Now()
	for i := 0; i < n; i += batch {
		pipe := c.Redis().Pipeline()
		for j := range batch {
			pipe.Set(t.Context(), fmt.Sprintf("%s:%d", prefix, i+j), value, 0)
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Until(began.Add(time.Duration(i+batch) * time.Second / time.Duration(rate))))
	}
}

func setConfig(t *testing.T, s *sandbox.Server, name, value string) {
	t.Helper()
	if err := connect(t, s).ConfigSet(t.Context(), name, value); err != nil {
		t.Fatal(err)
	}
}

// With both limits of the spool reached the source is read no faster than the
// target takes; when the source's own limit cuts the link, it is taken up again.
func TestSpoolFull(t *testing.T) {
	t.Parallel()
	// The backlog's size, if larger, is the limit in place of the one that is set.
	p := newPair(t, "redis-7.0", "redis-7.0", "--repl-backlog-size 8mb")
	config := p.config()
	config.SpoolMemory, config.SpoolDisk = 1<<20, 1<<20
	m := start(t, config)
	m.ready()
	for i, limit := range []string{"replica 256mb 64mb 60", "replica 4mb 4mb 0"} {
		setConfig(t, p.source, "client-output-buffer-limit", limit)
		if err := p.target.Pause(); err != nil {
			t.Fatal(err)
		}
		flood(t, p.source, fmt.Sprint("flood", i), 300+500*i, 1000) // more than the sockets' buffers hold, too
		m.until("full", func(s migrate.Status) bool { return s.Spool.Full || i > 0 })
		if err := p.target.Resume(); err != nil {
			t.Fatal(err)
		}
		m.until("drained", func(s migrate.Status) bool { return s.Ready && s.Links[0].LagBytes == 0 && s.Spool.DiskBytes == 0 })
		stats := info(t, connect(t, p.source), "stats")
		if again := stats.Int("sync_full") - 1 + stats.Int("sync_partial_ok"); (again > 0) != (i > 0) {
			t.Errorf("limit %q: sync_full %s, sync_partial_ok %s", limit, stats["sync_full"], stats["sync_partial_ok"])
		}
		p.equal(p.source)
	}
}

// A target at its maxmemory follows all the same, as replicas do, and is no
// primary before it has room.
func TestTargetAtMaxmemory(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	l := p.load()
	m := start(t, p.config())
	m.ready()
	setConfig(t, p.target, "maxmemory", "8mb")
	flood(t, p.source, "flood", 100, 1000)
	m.until("seen", func(s migrate.Status) bool { return !s.Ready && strings.Contains(s.NotReady, "maxmemory") })
	if _, err := m.Cutover(t.Context(), migrate.SwitchOptions{}); err == nil || !strings.Contains(err.Error(), "maxmemory") {
		t.Fatalf("cutover to a target without room: %v", err)
	}
	setConfig(t, p.target, "maxmemory", "0")
	m.ready()
	m.cutover()
	m.ready()
	p.settled(l, p.target)
}

// A target that does not ignore its maxmemory refuses commands of the stream,
// and says so only in its counters: its data is no longer the source's.
func TestTargetThatRefusesTheStream(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	m := start(t, p.config())
	m.ready()
	setConfig(t, p.target, "maxmemory", "8mb")
	setConfig(t, p.target, "replica-ignore-maxmemory", "no")
	flood(t, p.source, "flood", 100, 1000)
	if err := m.ended(); err == nil || !strings.Contains(err.Error(), p.target.Address()) {
		t.Fatalf("it ended by %v", err)
	} else {
		t.Log(err)
	}
	untouched(t, p.source)
}
