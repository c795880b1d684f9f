//go:build fault

package migrate_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"errors"
	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"log/slog"
	"strings"

	"godwit/internal/apply"
	"godwit/internal/migrate"
	"godwit/internal/plan"
	"godwit/internal/route"
	"godwit/internal/server"
)

// withDBs is a server, killed, with a file of a snapshot with so many keys of every type,
// spread over some dbs, and commands on them after it, and the path of a copy of the file.
func withDBs(t *testing.T, version string, keys, commands int, dbs ...int) (s *sandbox.Server, path string) {
	t.Helper()
	s = sandboxtest.Start(t, version, sandbox.Options{Args: []string{"--appendonly yes", "--auto-aof-rewrite-percentage 0", "--appendfsync no"}})
	if err := dataset.Fill(t.Context(), s.Endpoint(), dataset.Options{Keys: keys, DBs: dbs, NoFunctions: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := connect(t, s).Do(t.Context(), "BGREWRITEAOF"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the file is rewritten", func() bool {
		i := info(t, connect(t, s), "persistence")
		return i["aof_rewrite_in_progress"] == "0" && i["aof_rewrite_scheduled"] == "0"
	})
	rng := rand.New(rand.NewPCG(9, 10))
	pipe := connect(t, s).Redis().Pipeline()
	for n := range commands {
		if n%20 == 0 {
			pipe.Do(t.Context(), "SELECT", dbs[rng.IntN(len(dbs))])
		}
		key := fmt.Sprint(rng.IntN(500))
		switch rng.IntN(6) {
		case 0:
			pipe.Do(t.Context(), "XADD", "stream:"+key, "*", "f", n)
		case 1:
			pipe.HSet(t.Context(), "hash:"+key, "f", n, "g", n)
			pipe.HPExpire(t.Context(), "hash:"+key, time.Duration(1+1000*rng.IntN(2))*time.Second, "f")
		case 2:
			pipe.Incr(t.Context(), "mortal:"+key)
			pipe.PExpire(t.Context(), "mortal:"+key, 100*time.Millisecond)
		default:
			pipe.Incr(t.Context(), "n:"+key)
		}
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	kill(t, s)
	path = filepath.Join(t.TempDir(), "appendonlydir")
	if err := os.CopyFS(path, os.DirFS(filepath.Join(s.Dir(), "appendonlydir"))); err != nil {
		t.Fatal(err)
	}
	return s, path
}

// A file with keys in several dbs is loaded into a cluster by a mapping, with godwit killed
// in between: in the end both are equal through it, by value and TTL. Without one the plan
// asks for it, and another one than the first is refused.
func TestDBMapOfAFile(t *testing.T) {
	t.Parallel()
	r, err := route.Parse([]string{"1:prefix=db1:", "3:drop"})
	if err != nil {
		t.Fatal(err)
	}
	written, path := withDBs(t, "redis-8.6", 12_000, 150_000, 0, 1, 3)
	sides := &toCluster{t: t, source: written, target: sandboxtest.Cluster(t, "redis-8.6", sandbox.ClusterOptions{Args: []string{"--maxmemory 3mb"}})}
	c := config(t, server.Endpoint{}, sides.target.Endpoints()[0])
	c.File = path

	p, err := migrate.MakePlan(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	var refused *plan.RefusedError
	m := start(t, c)
	if err := <-m.done; !errors.As(err, &refused) || !strings.Contains(refused.HintText(), "--db-map 1:prefix=db1: --db-map 3:prefix=db3:") || len(p.Blockers) != 1 || p.Blockers[0].Code != "cluster-dbs" {
		t.Errorf("without a mapping: %v; %+v", err, p.Blockers)
	}
	m.done <- nil
	_ = m.stop()

	c.Route = r
	if p, err = migrate.MakePlan(t.Context(), c); err != nil || p.Refused() || p.Sizes.Keys < 7000 || p.Sizes.Keys > 8000 || p.File.Left == 0 {
		t.Fatalf("%+v, %v", p, err)
	}
	killed := func(seen func(migrate.LinkStatus) bool) {
		t.Helper()
		run := startChild(t, c, "")
		var s migrate.Status
		eventually(t, "it is under way", func() bool {
			s = run.must("status").Status
			return len(s.Links) == 1 && seen(s.Links[0])
		})
		run.kill()
		t.Logf("killed: %+v", s.Links)
	}
	killed(func(l migrate.LinkStatus) bool { return strings.Contains(l.Reason, "OOM") }) // the snapshot does not fit
	for _, s := range sides.target.Nodes() {
		setConfig(t, s, "maxmemory", "0")
	}
	killed(func(l migrate.LinkStatus) bool { return l.State == string(apply.Streaming) && l.LagBytes > 0 })
	other := c
	other.Route = route.Route{}
	var changed *migrate.DBMapError
	if _, err := migrate.Begin(t.Context(), other, slog.New(slog.DiscardHandler)); !errors.As(err, &changed) {
		t.Fatalf("another mapping: %v", err)
	}
	m = start(t, c)
	if err := <-m.done; err != nil {
		t.Fatal(err)
	}
	m.done <- nil
	restart(t, written)
	sides.equalThrough(r, []int{0})
}
