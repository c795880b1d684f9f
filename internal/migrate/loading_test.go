package migrate_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// An abort that fails leaves a loading that goes on.
func TestLoadingAfterAnAbortThatFailed(t *testing.T) {
	t.Parallel()
	written, path := mortals(t, "redis-7.0", 2000, 0, 3)
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--maxmemory 1mb"}})
	c := config(t, server.Endpoint{}, target.Endpoint())
	c.File = path
	m := start(t, c)
	m.until("refused", func(s migrate.Status) bool { return len(s.Links) == 1 && strings.Contains(s.Links[0].Reason, "OOM") })
	client := connect(t, target)
	do(t, client, "ACL SETUSER default -scan")
	if end, err := m.Abort(t.Context(), false); !server.IsCode(err, "NOPERM") {
		t.Fatalf("an abort without the right to scan: %+v, %v", end, err)
	}
	do(t, client, "ACL SETUSER default +scan")
	setConfig(t, target, "maxmemory", "0")
	if err := <-m.done; err != nil {
		t.Fatal(err)
	}
	m.done <- nil
	restart(t, written)
	eventually(t, "both are equal", func() bool {
		r, err := audit.Compare(t.Context(), written.Endpoint(), target.Endpoint(), audit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return r.Equal() && r.Keys > 2000
	})
}

// mortals is a server, killed, with a file of so many keys in each of some dbs, all with a
// TTL, and a few commands, and the path of that file. Of every ten keys one expires within
// moments.
func mortals(t *testing.T, version string, keys int, dbs ...int) (s *sandbox.Server, path string) {
	t.Helper()
	s = sandboxtest.Start(t, version, sandbox.Options{Args: []string{"--appendonly yes", "--auto-aof-rewrite-percentage 0", "--appendfsync no"}})
	fill := func(from, to int) {
		t.Helper()
		for _, db := range dbs {
			pipe := connect(t, s).Redis().Pipeline()
			pipe.Do(t.Context(), "SELECT", db)
			for i := from; i < to; i++ {
				at := time.Now().Add(time.Hour + time.Duration(i)*time.Second).UnixMilli()
				if i%10 == 0 {
					at = time.Now().Add(2 * time.Second).UnixMilli()
				}
				pipe.Do(t.Context(), "SET", fmt.Sprint("k:", i), i, "PXAT", at)
			}
			if _, err := pipe.Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill(0, keys-100)
	if _, err := connect(t, s).Do(t.Context(), "BGREWRITEAOF"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file is rewritten", func() bool {
		i := info(t, connect(t, s), "persistence")
		return i["aof_rewrite_in_progress"] == "0" && i["aof_rewrite_scheduled"] == "0"
	})
	fill(keys-100, keys)
	kill(t, s)
	path = filepath.Join(t.TempDir(), "appendonlydir")
	if err := os.CopyFS(path, os.DirFS(filepath.Join(s.Dir(), "appendonlydir"))); err != nil {
		t.Fatal(err)
	}
	return s, path
}
