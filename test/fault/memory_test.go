//go:build fault

package fault

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// rssLimit is what godwit may take besides its spool's memory.
const rssLimit = 64 << 20

// A target that is held for 20 seconds under load costs the source no more than
// it keeps for a replica, and godwit no more memory than it was allowed.
func TestHeldTarget(t *testing.T) {
	o := sandbox.Options{Args: []string{"--client-output-buffer-limit replica 16mb 16mb 0", "--repl-backlog-size 1mb"}}
	source, target := sandboxtest.Start(t, "redis-7.0", o), sandboxtest.Start(t, "redis-7.0", o)
	l := startLoad(t, source, target)
	p := newProgram(t, source, target)
	run := p.start("", "--spool-memory", "16mb")
	p.ready()
	if err := target.Pause(); err != nil {
		t.Fatal(err)
	}
	c := sandboxtest.Client(t, source)
	value := strings.Repeat("0123456789", 10_000)
	written := 0
	for began := time.Now(); time.Since(began) < 20*time.Second; {
		pipe := c.Redis().Pipeline()
		for range 20 {
			pipe.Set(t.Context(), fmt.Sprint("held:", written%1000), value, 0)
			written++
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(40 * time.Millisecond)
	}
	s := p.status().Spool
	t.Logf("%d MB later: %+v", written/10, s)
	if s.MemoryBytes > 16<<20 || s.DiskBytes < int64(written)*80_000 {
		t.Errorf("the spool holds %d bytes in memory and %d on disk", s.MemoryBytes, s.DiskBytes)
	}
	if err := target.Resume(); err != nil {
		t.Fatal(err)
	}
	p.until("drained", func(s migrate.Status) bool { return s.Ready && s.Spool.DiskBytes == 0 })
	if i := info(t, c, "stats"); i.Int("sync_full") != 1 || i.Int("sync_partial_ok") != 0 {
		t.Errorf("the source has cut the link: sync_full %s, sync_partial_ok %s", i["sync_full"], i["sync_partial_ok"])
	}
	if rss := run.peakRSS(); rss > rssLimit+16<<20 {
		t.Errorf("godwit took %d MB", rss>>20)
	} else {
		t.Logf("godwit took %d MB", rss>>20)
	}
	p.must("cutover")
	p.ready()
	settled(t, l, target, source)
}

// Values of 512 MB, the largest there are, are copied and followed in the
// memory that is allowed.
func TestLargestValue(t *testing.T) {
	const size, piece = 512 << 20, 16 << 20
	o := sandbox.Options{Args: []string{"--client-output-buffer-limit replica 0 0 0"}}
	source, target := sandboxtest.Start(t, "redis-7.0", o), sandboxtest.Start(t, "redis-7.0", o)
	c := sandboxtest.Client(t, source)
	text := strings.Repeat("0123456789abcdef", piece/16)
	grow := func(key string) {
		t.Helper()
		for n := 0; n < size; n += piece {
			if _, err := c.Do(t.Context(), "APPEND", key, text); err != nil {
				t.Fatal(err)
			}
		}
	}
	grow("copied")
	p := newProgram(t, source, target)
	run := p.start("", "--spool-memory", "16mb")
	p.ready()
	t.Logf("after the copy godwit took %d MB", run.peakRSS()>>20)
	grow("in pieces")
	if _, err := c.Do(t.Context(), "SET", "at once", strings.Repeat(text, size/piece-1)); err != nil {
		t.Fatal(err)
	}
	p.until("followed", func(s migrate.Status) bool { return s.Ready && len(s.Links) == 1 && s.Links[0].LagBytes == 0 })
	if rss := run.peakRSS(); rss > rssLimit+16<<20 {
		t.Errorf("godwit took %d MB", rss>>20)
	} else {
		t.Logf("godwit took %d MB", rss>>20)
	}
	equal(t, source, target)
	p.must("cutover")
	p.ready()
	p.must("rollback")
	p.ready()
	equal(t, source, target)
}

// peakRSS is the most memory that the process has had in RAM, in bytes.
func (r *process) peakRSS() int64 {
	r.t.Helper()
	data, err := os.ReadFile("/proc/" + strconv.Itoa(r.cmd.Process.Pid) + "/status")
	if err != nil {
		r.t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if rest, found := strings.CutPrefix(line, "VmHWM:"); found {
			kilobytes, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			if err != nil {
				r.t.Fatal(err)
			}
			return kilobytes << 10
		}
	}
	r.t.Fatal("no VmHWM in /proc/PID/status")
	return 0
}
