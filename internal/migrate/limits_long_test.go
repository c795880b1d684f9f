//go:build fault

package migrate_test

import (
	"testing"
	"time"

	"godwit/internal/migrate"
)

// A target that is held for seconds, under far more load than the source would
// keep for a replica, costs the source nothing: what it has not taken waits in
// the spool, in memory up to its limit.
func TestHeldTargetDoesNotFillTheSource(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0", "--client-output-buffer-limit replica 16mb 16mb 0", "--repl-backlog-size 1mb")
	l := p.load()
	config := p.config()
	config.SpoolMemory = 8 << 20
	m := start(t, config)
	m.ready()
	if err := p.target.Pause(); err != nil {
		t.Fatal(err)
	}
	held := time.After(5 * time.Second)
	flood(t, p.source, "flood", 1200, 300)
	<-held
	s := m.Status().Spool
	t.Logf("120 MB later: %+v", s)
	if s.MemoryBytes > config.SpoolMemory || s.DiskBytes < 50<<20 {
		t.Errorf("the spool holds %d bytes in memory and %d on disk", s.MemoryBytes, s.DiskBytes)
	}
	if err := p.target.Resume(); err != nil {
		t.Fatal(err)
	}
	m.until("drained", func(s migrate.Status) bool { return s.Ready && s.Spool.DiskBytes == 0 })
	if i := info(t, connect(t, p.source), "stats"); i.Int("sync_full") != 1 || i.Int("sync_partial_ok") != 0 {
		t.Errorf("the source has cut the link: sync_full %s, sync_partial_ok %s", i["sync_full"], i["sync_partial_ok"])
	}
	m.cutover()
	m.ready()
	p.settled(l, p.target)
}
