//go:build fault

package migrate_test

import (
	"godwit/internal/migrate"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/sandbox"
)

// drained waits until everything has been carried.
func (r *running) drained() {
	r.t.Helper()
	r.until("drained", func(s migrate.Status) bool { return s.Ready && streamingLinks(s) })
}

// On the way back to several servers slots move, one of the servers is started again, and the
// program that knows the rule breaks for a while: each server has what is its in the end.
func TestBackToSeveralServersThroughChanges(t *testing.T) {
	t.Parallel()
	d := divide(t, "redis-7.0", "a program", 2, aCluster(t, "redis-7.0", 3))
	broken := filepath.Join(t.TempDir(), "broken")
	d.config.ShardBy += " " + broken
	breaks := func() {
		t.Helper()
		if err := os.WriteFile(broken, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	mends := func() {
		t.Helper()
		if err := os.Remove(broken); err != nil {
			t.Fatal(err)
		}
	}
	breaks()
	if _, err := migrate.MakePlan(t.Context(), d.config); err == nil || !strings.Contains(err.Error(), "it is broken") {
		t.Errorf("planned: %v", err)
	}
	mends()
	if p, err := migrate.MakePlan(t.Context(), d.config); err != nil || !p.WayBack {
		t.Errorf("planned: %+v, %v", p, err)
	}
	d.load()
	m := start(t, d.config)
	m.ready()
	m.cutover()
	m.ready()
	for _, to := range []int{2, 0} {
		if err := d.b.cluster.Move(t.Context(), sandbox.SlotRange{First: 0, Last: 200}, to, sandbox.MoveOptions{}); err != nil {
			t.Fatal(err)
		}
		d.wide(200 * time.Millisecond)
	}
	if _, err := d.b.cluster.Failover(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	d.wide(200 * time.Millisecond)
	m.ready()
	breaks()
	s := m.until("broken", func(s migrate.Status) bool {
		return !s.Ready && strings.Contains(s.NotReady, "it is broken")
	})
	if !strings.Contains(s.NotReady, "which server has key") || !strings.Contains(s.NotReady, shardByWord) {
		t.Errorf("%s", s.NotReady)
	}
	mends()
	m.ready()
	m.rollback()
	m.ready()
	d.settled(m, d.a)
	d.placed()
	if _, err := m.Abort(t.Context(), false); err != nil {
		t.Fatal(err)
	}
}

// What changes all of a cluster, or concerns keys of several servers, has its effect at each
// of them on its own keys.
func TestBackToSeveralServersByValue(t *testing.T) {
	t.Parallel()
	d := divide(t, "redis-7.0", "crc32", 3, aCluster(t, "redis-7.0", 3))
	m := start(t, d.config)
	m.ready()
	m.cutover()
	m.ready()
	do := func(key string, args ...any) {
		t.Helper()
		if _, err := d.b.at(key).Do(t.Context(), args...); err != nil {
			t.Fatal(err)
		}
	}
	key := func(n string) string { return "{tag}" + n }
	servers := map[int]bool{}
	for _, n := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		servers[d.of(key(n))] = true
	}
	if len(servers) != 3 {
		t.Fatalf("the keys are of servers %v", servers)
	}
	do(key(""), "MSET", key("a"), 1, key("b"), 2, key("c"), 3, key("d"), 4, key("e"), 5, key("f"), 6, key("g"), 7)
	do(key(""), "DEL", key("a"), key("b"), key("nobody"))
	do(key(""), "RENAME", key("c"), key("b"))
	do(key(""), "COPY", key("d"), key("h"))
	do(key(""), "SADD", key("s1"), 1, 2, 3)
	do(key(""), "SADD", key("s2"), 3, 4)
	do(key(""), "SUNIONSTORE", key("s3"), key("s1"), key("s2"))
	do(key(""), "SMOVE", key("s1"), key("s2"), 1)
	do(key(""), "RPUSH", key("l1"), 1, 2, 3)
	for range 2 {
		do(key(""), "LMOVE", key("l1"), key("l2"), "LEFT", "RIGHT")
	}
	do(key(""), "EVAL", "for i, k in ipairs(KEYS) do redis.call('INCRBY', k, i) end redis.call('RENAME', KEYS[1], KEYS[2])", 3, key("e"), key("f"), key("g"))
	do(key(""), "SET", key("short"), 1, "PX", 50)
	do(key(""), "UNLINK", key("h"), key("nobody"))
	for _, n := range d.b.cluster.Nodes() {
		if info(t, connect(t, n), "replication")["role"] == "master" {
			d.b.do(n, "FUNCTION", "LOAD", "REPLACE", "#!lua name=late\nredis.register_function('late', function() return 1 end)")
		}
	}
	for _, s := range d.a.servers {
		eventually(t, "the functions are there", func() bool {
			list, _ := d.a.do(s, "FUNCTION", "LIST").([]any)
			return len(list) == 1
		})
	}
	m.drained()
	d.equal()
	d.placed()
	// One shard is emptied, with all that is of any server.
	emptied := d.b.at(key(""))
	if _, err := emptied.Do(t.Context(), "FLUSHALL"); err != nil {
		t.Fatal(err)
	}
	do(key(""), "SET", key("after"), 1)
	m.ready()
	m.drained()
	d.equal()
	m.rollback()
	m.ready()
	d.equal()
	d.placed()
}
