package topology_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// inSlot100 is a hash tag of slot 100.
const inSlot100 = "{48063}"

func readCluster(t *testing.T, e server.Endpoint) *topology.ClusterMap {
	t.Helper()
	c, err := topology.ReadCluster(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func watchCluster(t *testing.T, e server.Endpoint) *topology.ClusterWatcher {
	t.Helper()
	w, err := topology.WatchCluster(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// refreshUntil refreshes as an engine does until all that it is waited for has been
// in a diff.
func refreshUntil(t *testing.T, w *topology.ClusterWatcher, what string, is func(topology.ClusterDiff) bool) {
	t.Helper()
	waitFor(t, what, func() bool {
		_, d, err := w.Refresh(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return is(d)
	})
}

// A cluster of 6.0, which knows neither shard IDs nor hostnames, and no replicas.
func TestReadClusterOld(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t, "redis-6.0", sandbox.ClusterOptions{Password: "hush-hush"})
	checkMap(t, cluster, 0)
	wrong := cluster.Endpoints()[0]
	wrong.Password = "wrong"
	var conn *server.ConnError
	if _, err := topology.ReadCluster(t.Context(), wrong); !errors.As(err, &conn) || conn.Op != "auth" {
		t.Errorf("a wrong password: %v", err)
	}
}

// checkMap sees that a new cluster of three shards is found, whichever node is asked.
func checkMap(t *testing.T, cluster *sandbox.Cluster, replicas int) {
	t.Helper()
	nodes := cluster.Nodes()
	for i, asked := range cluster.Endpoints() {
		c := readCluster(t, asked)
		shards := c.Shards()
		if len(shards) != 3 || len(c.Nodes) != len(nodes) || !c.OK || c.Served() != nil || len(c.Moves) != 0 {
			t.Fatalf("asked %d: %+v", i, c)
		}
		for k, want := range []string{"0-5461", "5462-10923", "10924-16383"} {
			p := shards[k].Primary
			if got := topology.FormatSlots(p.Slots, 80); !near(got, want) || !p.Answered || !p.LinkUp || p.Health != topology.Healthy || len(p.ID) != 40 {
				t.Errorf("asked %d, shard %d: %s, %+v", i, k, got, p)
			}
			at := k * (1 + replicas)
			if p.Endpoint.Password != asked.Password || p.Address != nodes[at].Address() {
				t.Errorf("asked %d, shard %d is at %s", i, k, p.Address)
			}
			if len(shards[k].Replicas) != replicas || replicas > 0 && shards[k].Replicas[0].Address != nodes[at+1].Address() {
				t.Errorf("asked %d, shard %d has replicas %+v", i, k, shards[k].Replicas)
			}
			knows := !slices.Contains([]string{"redis-6.0", "redis-7.0"}, nodes[0].Binary().Name)
			if (p.ShardID != "") != knows {
				t.Errorf("shard ID %q", p.ShardID)
			}
			if owner, ok := c.Owner(p.Slots[0].First); !ok || owner.ID != p.ID {
				t.Errorf("slot %d is %s's", p.Slots[0].First, owner.ID)
			}
		}
	}
}

// near compares two ranges up to one slot, as clusters are divided by rounding.
func near(got, want string) bool {
	return len(got) == len(want) && got[:2] == want[:2]
}

func TestReadClusterErrors(t *testing.T) {
	t.Parallel()
	alone := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	if _, err := topology.ReadCluster(t.Context(), alone.Endpoint()); !server.IsCode(err, "ERR") {
		t.Errorf("a standalone server: %v", err)
	}
	node := sandboxtest.ClusterNode(t, "valkey-9.1")
	c := readCluster(t, node.Endpoint())
	var unserved *topology.UnservedError
	if err := c.Served(); !errors.As(err, &unserved) || topology.CountSlots(unserved.Slots) != 16384 || c.OK {
		t.Errorf("no slots: %v, %+v", err, c)
	}
	if n := c.Nodes[0]; len(c.Nodes) != 1 || n.Address != node.Address() || !n.Answered {
		t.Errorf("a node that was met by none: %+v", c.Nodes)
	}
	nowhere := node.Endpoint()
	nowhere.Address = "127.0.0.1:1"
	var conn *server.ConnError
	if _, err := topology.ReadCluster(t.Context(), nowhere); !errors.As(err, &conn) || conn.Op != "dial" {
		t.Errorf("nothing listens: %v", err)
	}
}

// On each server the map is the same whichever node is asked, and a watcher sees slots go, a failover, and a primary that dies.
func TestClusterWatcher(t *testing.T) {
	for _, name := range []string{"redis-7.0", "redis-8.6", "valkey-8.1", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cluster := sandboxtest.Cluster(t, name, sandbox.ClusterOptions{Replicas: 1, NodeTimeout: time.Second})
			checkMap(t, cluster, 1)
			w := watchCluster(t, cluster.Endpoints()[3]) // a replica
			first := w.Cluster()
			if _, d, err := w.Refresh(t.Context()); err != nil || !d.Empty() || w.Cluster() != first {
				t.Fatalf("nothing has happened: %v, %v", d, err)
			}
			watchMove(t, cluster, w)
			if name == "valkey-9.1" {
				watchAtomicMove(t, cluster, w)
			}
			watchFailover(t, cluster, w)
			watchCrash(t, cluster, w)
		})
	}
}

func watchMove(t *testing.T, cluster *sandbox.Cluster, w *topology.ClusterWatcher) {
	t.Helper()
	shards := w.Cluster().Shards()
	c := sandboxtest.Client(t, cluster.Nodes()[0])
	do(t, c, "SET", inSlot100+"a", "1")
	do(t, c, "SET", inSlot100+"b", "1")
	steps := 0
	err := cluster.Move(t.Context(), sandbox.SlotRange{First: 100, Last: 100}, 1, sandbox.MoveOptions{Batch: 1, Step: func(_ uint16, moved int) error {
		if steps++; moved != 1 {
			return nil
		}
		now, d, err := w.Reread(t.Context())
		if err != nil {
			return err
		}
		m, ok := now.Moving(100)
		if !ok || !d.Moves || len(d.Moved) != 0 || m.Kind != topology.MoveByKeys || m.State != "" || m.From != shards[0].Primary.ID || m.To != shards[1].Primary.ID {
			t.Errorf("half moved: %+v, %v, %v", m, ok, d)
		}
		_, err = c.Do(t.Context(), "GET", inSlot100+"c")
		if r, ok := topology.ParseRedirection(err); !ok || r.Kind != topology.Ask || r.Slot != 100 || r.Address != shards[1].Primary.Address {
			t.Errorf("%v is read as %+v, %v", err, r, ok)
		}
		return nil
	}})
	if err != nil || steps != 3 {
		t.Fatalf("%v after %d steps", err, steps)
	}
	_, err = c.Do(t.Context(), "GET", inSlot100+"a")
	r, ok := topology.ParseRedirection(err)
	if node, found := w.Cluster().At(r.Endpoint(cluster.Endpoints()[0]).Address); !ok || r.Kind != topology.Moved || !found || node.ID != shards[1].Primary.ID {
		t.Errorf("%v is read as %+v, %v", err, r, ok)
	}
	refreshUntil(t, w, "the slot has moved", func(d topology.ClusterDiff) bool {
		return len(d.Moved) == 1 && topology.FormatSlots(d.Moved[0].Slots, 80) == "100" && d.Moved[0].From.ID == shards[0].Primary.ID && d.Moved[0].To.ID == shards[1].Primary.ID && len(d.Promotions) == 0
	})
	waitFor(t, "no slot on the move", func() bool {
		now, _, err := w.Refresh(t.Context())
		return err == nil && len(now.Moves) == 0
	})
}

func watchAtomicMove(t *testing.T, cluster *sandbox.Cluster, w *topology.ClusterWatcher) {
	t.Helper()
	source, target := sandboxtest.Client(t, cluster.Nodes()[2]), w.Cluster().Shards()[0].Primary // shard 1's
	// A key takes 20 ms in the snapshot, so the move lasts for a while.
	do(t, source, "CONFIG", "SET", "rdb-key-save-delay", 20000)
	for _, key := range []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j"} {
		do(t, source, "SET", inSlot100+key, strings.Repeat("x", 100))
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cluster.MoveAtomically(context.WithoutCancel(t.Context()), sandbox.SlotRange{First: 100, Last: 100}, 0)
	}()
	var seen topology.Move
	waitFor(t, "the job is seen", func() bool {
		now, _, err := w.Reread(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		m, ok := now.Moving(100)
		if ok {
			seen = m
		}
		return ok
	})
	if seen.Kind != topology.MoveAtomic || seen.To != target.ID || len(seen.Job) != 40 || seen.State == "" {
		t.Errorf("%+v", seen)
	}
	refreshUntil(t, w, "the slot has moved", func(d topology.ClusterDiff) bool { return len(d.Moved) == 1 && d.Moved[0].To.ID == target.ID })
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}

func watchFailover(t *testing.T, cluster *sandbox.Cluster, w *topology.ClusterWatcher) {
	t.Helper()
	shard := w.Cluster().Shards()[1]
	if _, err := cluster.Failover(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	refreshUntil(t, w, "the failover", func(d topology.ClusterDiff) bool {
		return len(d.Promotions) == 1 && d.Promotions[0].Old.ID == shard.Primary.ID && d.Promotions[0].New.ID == shard.Replicas[0].ID && len(d.Moved)+len(d.Joined)+len(d.Gone) == 0
	})
	waitFor(t, "the old primary is a replica", func() bool {
		now, d, err := w.Refresh(t.Context())
		if err != nil || len(d.Gone)+len(d.Joined) != 0 {
			t.Fatalf("%v, %v", d, err)
		}
		old, _ := now.Node(shard.Primary.ID)
		return old.Role == topology.Replica && old.Primary == shard.Replicas[0].ID
	})
}

func watchCrash(t *testing.T, cluster *sandbox.Cluster, w *topology.ClusterWatcher) {
	t.Helper()
	shard := w.Cluster().Shards()[2]
	crashed := make(chan error, 1)
	go func() {
		_, err := cluster.Crash(context.WithoutCancel(t.Context()), 2)
		crashed <- err
	}()
	var health []topology.Health
	refreshUntil(t, w, "the replica is promoted", func(d topology.ClusterDiff) bool {
		old, _ := w.Cluster().Node(shard.Primary.ID)
		if !slices.Contains(health, old.Health) {
			health = append(health, old.Health)
		}
		return len(d.Promotions) == 1 && d.Promotions[0].New.ID == shard.Replicas[0].ID
	})
	if err := <-crashed; err != nil {
		t.Fatal(err)
	}
	if old, _ := w.Cluster().Node(shard.Primary.ID); old.Health != topology.Failed || old.Answered || !slices.Contains(health, topology.Healthy) {
		t.Errorf("%+v after %v", old, health)
	}
	now, _, err := w.Reread(t.Context())
	if err != nil || now.Served() != nil {
		t.Errorf("%v, %v", now.Served(), err)
	}
}

// Where no primary that is known answers a replica does, and where nobody does the map
// stays.
func TestClusterWatcherWithoutNodes(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t, "valkey-8.1", sandbox.ClusterOptions{Replicas: 1, NodeTimeout: 5 * time.Second})
	w := watchCluster(t, cluster.Endpoints()[0])
	before := w.Cluster()
	for i := 0; i < 6; i += 2 {
		if err := cluster.Nodes()[i].Kill(); err != nil {
			t.Fatal(err)
		}
	}
	now, d, err := w.Refresh(t.Context())
	if err != nil || len(d.Promotions)+len(d.Moved) != 0 {
		t.Errorf("the replicas: %v, %v", d, err)
	}
	if n, _ := now.Node(before.Nodes[1].ID); !n.Answered || now.Nodes[0].Answered {
		t.Errorf("%+v", now.Nodes)
	}
	for i := 1; i < 6; i += 2 {
		if err := cluster.Nodes()[i].Kill(); err != nil {
			t.Fatal(err)
		}
	}
	var none *topology.NoNodeError
	last, _, err := w.Refresh(t.Context())
	if !errors.As(err, &none) || none.Asked != 6 || none.HintText() == "" || last != now || w.Cluster() != now {
		t.Errorf("nobody: %v", err)
	}
}

// A node that hangs does not keep the others from being read.
func TestReadClusterHangs(t *testing.T) {
	t.Parallel()
	cluster := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{NodeTimeout: 15 * time.Second})
	if err := cluster.Nodes()[1].Pause(); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	c := readCluster(t, cluster.Endpoints()[0])
	if took := time.Since(began); took > 4*time.Second || c.Nodes[1].Answered || !c.Nodes[2].Answered || c.Served() != nil {
		t.Errorf("in %v: %+v", took, c.Nodes)
	}
	if err := cluster.Nodes()[1].Resume(); err != nil {
		t.Fatal(err)
	}
}

func TestInspectAll(t *testing.T) {
	t.Parallel()
	var endpoints []server.Endpoint
	for range 3 {
		endpoints = append(endpoints, sandboxtest.ClusterNode(t, "redis-8.0").Endpoint())
	}
	nowhere := endpoints[0]
	nowhere.Address = "127.0.0.1:1"
	endpoints = slices.Insert(endpoints, 1, nowhere)
	for i, found := range topology.InspectAll(t.Context(), endpoints, "godwit-test", 2) {
		if wrong := i == 1; (found.Err != nil) != wrong || !wrong && (found.Node.Endpoint != endpoints[i] || found.Node.Mode != topology.Cluster) {
			t.Errorf("%d: %+v, %v", i, found.Node.URL, found.Err)
		}
	}
}
