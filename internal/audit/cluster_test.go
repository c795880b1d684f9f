package audit_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// copyKeys writes every key of a server's db 0 to where the route says.
func copyKeys(t *testing.T, from *sandbox.Server, to func(key string) *server.Client) {
	t.Helper()
	source := sandboxtest.Client(t, from)
	keys, _ := do(t, source, "KEYS", "*").([]any)
	pipes := make(map[*server.Client]redis.Pipeliner)
	for _, k := range keys {
		key := k.(string)
		target := to(key)
		if pipes[target] == nil {
			pipes[target] = target.Redis().Pipeline()
		}
		ttl := max(0, do(t, source, "PEXPIRETIME", key).(int64))
		pipes[target].Do(t.Context(), "RESTORE", key, ttl, do(t, source, "DUMP", key), "ABSTTL")
	}
	for _, pipe := range pipes {
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// clients are those of servers, in their order.
func clients(t *testing.T, servers []*sandbox.Server) []*server.Client {
	t.Helper()
	list := make([]*server.Client, len(servers))
	for i, s := range servers {
		list[i] = sandboxtest.Client(t, s)
	}
	return list
}

// owner of a key in a cluster as it was started.
func owner(t *testing.T, c *sandbox.Cluster, key string) int {
	t.Helper()
	shard, err := c.Owner(t.Context(), slot.Of([]byte(key)))
	if err != nil {
		t.Fatal(err)
	}
	return shard
}

func endpoints(servers ...*sandbox.Server) []server.Endpoint {
	var list []server.Endpoint
	for _, s := range servers {
		list = append(list, s.Endpoint())
	}
	return list
}

func compareSets(t *testing.T, a, b []server.Endpoint, o audit.Options) audit.Report {
	t.Helper()
	report, err := audit.CompareSets(t.Context(), a, b, o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// The same keys in a server, in three clusters and in two servers between which a
// client chooses.
func TestDeploymentsWithTheSameKeysAreEqual(t *testing.T) {
	t.Parallel()
	one := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	o := dataset.Options{Keys: 600, Seed: 8, NoFunctions: true, NoFieldTTLs: true}
	if err := dataset.Fill(t.Context(), one.Endpoint(), o); err != nil {
		t.Fatal(err)
	}
	three := sandboxtest.Cluster(t, "valkey-9.1", sandbox.ClusterOptions{Password: "secret", Replicas: 1})
	five := sandboxtest.Cluster(t, "redis-8.0", sandbox.ClusterOptions{Shards: 5})
	two := []*sandbox.Server{sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})}
	for _, c := range []*sandbox.Cluster{three, five} {
		var shards []*server.Client
		for i := range c.Shards() {
			s, err := c.Primary(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			shards = append(shards, sandboxtest.Client(t, s))
		}
		share := (slot.Count + len(shards) - 1) / len(shards)
		copyKeys(t, one, func(key string) *server.Client { return shards[int(slot.Of([]byte(key)))/share] })
	}
	pair := clients(t, two)
	copyKeys(t, one, func(key string) *server.Client { return pair[len(key)%2] })
	deployments := map[string][]server.Endpoint{
		"a server": endpoints(one), "two servers": endpoints(two...),
		"a cluster of 3": three.Endpoints()[1:2], // a replica of it
		"a cluster of 5": five.Endpoints(),
	}
	for nameA, a := range deployments {
		for nameB, b := range deployments {
			report := compareSets(t, a, b, audit.Options{LargeValue: 2000})
			if !report.Equal() || report.Keys != 600 {
				t.Errorf("%s and %s: %+v", nameA, nameB, report)
			}
		}
	}

	// What is planted in one of them is found from each of the others.
	do(t, pair[0], "SET", "extra", "1")
	do(t, pair[1], "SET", "extra:too", "1")
	victim := sandboxtest.Client(t, five.Nodes()[3])
	gone, _ := do(t, victim, "KEYS", "*").([]any)
	do(t, victim, "DEL", gone[0])
	for name, a := range deployments {
		found := kinds(compareSets(t, a, deployments["two servers"], audit.Options{}))
		if name != "two servers" && (found["extra"] != audit.Extra || found["extra:too"] != audit.Extra) {
			t.Errorf("%s and two servers: %v", name, found)
		}
		found = kinds(compareSets(t, a, deployments["a cluster of 5"], audit.Options{}))
		if name != "a cluster of 5" && found[gone[0].(string)] != audit.Missing {
			t.Errorf("%s and a cluster without %v: %v", name, gone[0], found)
		}
	}
}

// What is found between two servers is found in a cluster.
func TestPlantedDifferencesAreFoundInACluster(t *testing.T) {
	t.Parallel()
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	c := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	var some []plant
	for i, p := range plants() {
		if i%3 == 0 {
			some = append(some, p)
		}
	}
	runPlants(t, a, c.Nodes()[owner(t, c, "k")], some, func(t *testing.T, o audit.Options) audit.Report {
		return compareSets(t, endpoints(a), c.Endpoints(), o)
	})
}

func TestKeysInTwoShards(t *testing.T) {
	t.Parallel()
	c := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{Shards: 2})
	shards := clients(t, c.Nodes())
	one := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	all := append(shards, sandboxtest.Client(t, one))
	for i := range 100 {
		key := fmt.Sprint("key", i)
		for _, client := range []*server.Client{shards[owner(t, c, key)], all[2]} {
			do(t, client, "SET", key, i)
		}
	}
	mustBeEqual(t, compareSets(t, endpoints(one), c.Endpoints(), audit.Options{}), 100)

	// A slot that is being imported takes keys behind ASKING, and keeps them when
	// that is given up.
	strand := func(key string) {
		t.Helper()
		at, other := slot.Of([]byte(key)), shards[1-owner(t, c, key)]
		do(t, other, "CLUSTER", "SETSLOT", at, "IMPORTING", do(t, shards[owner(t, c, key)], "CLUSTER", "MYID"))
		pipe := other.Redis().Pipeline()
		pipe.Do(t.Context(), "ASKING")
		pipe.Do(t.Context(), "SET", key, "copy")
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
		do(t, other, "CLUSTER", "SETSLOT", at, "STABLE")
	}
	strand("key7")
	strand("nowhere else")
	want := map[string]audit.Kind{"key7": audit.Twice, "nowhere else": audit.Stray}
	for _, sides := range [][2][]server.Endpoint{{endpoints(one), c.Endpoints()}, {c.Endpoints(), endpoints(one)}} {
		report := compareSets(t, sides[0], sides[1], audit.Options{})
		if got := kinds(report); fmt.Sprint(got) != fmt.Sprint(want) || report.Keys != 100 {
			t.Errorf("got %v", report)
		}
		t.Log(report.Differences)
	}

	// The same among servers that a client chooses from.
	other := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	do(t, sandboxtest.Client(t, other), "SET", "key7", "7")
	report := compareSets(t, endpoints(one), endpoints(one, other), audit.Options{})
	if got := kinds(report); len(got) != 1 || got["key7"] != audit.Twice || report.Keys != 100 {
		t.Errorf("got %v", report)
	}
}

func TestIgnoredKeys(t *testing.T) {
	t.Parallel()
	c := sandboxtest.Cluster(t, "valkey-8.1", sandbox.ClusterOptions{})
	a := sandboxtest.Start(t, "redis-6.0", sandbox.Options{})
	for _, key := range []string{"godwit:{06S}", "godwit:{x}checkpoint", "godwit", "k"} {
		do(t, sandboxtest.Client(t, c.Nodes()[owner(t, c, key)]), "SET", key, "v")
	}
	do(t, sandboxtest.Client(t, a), "SET", "godwit:other", "v")
	do(t, sandboxtest.Client(t, a), "SET", "k", "v")
	report := compareSets(t, endpoints(a), c.Endpoints(), audit.Options{Ignore: "godwit:"})
	if got := kinds(report); len(got) != 1 || got["godwit"] != audit.Extra || report.Keys != 1 || report.Ignored != 3 {
		t.Errorf("got %+v", report)
	}
	if report := compareSets(t, endpoints(a), c.Endpoints(), audit.Options{}); report.Different != 4 || report.Ignored != 0 {
		t.Errorf("got %+v", report)
	}
}

func TestDBsThatAClusterLacks(t *testing.T) {
	t.Parallel()
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	for _, db := range []int{0, 3} {
		if err := dataset.Fill(t.Context(), a.Endpoint(), dataset.Options{Keys: 10, DBs: []int{db}, NoFunctions: true}); err != nil {
			t.Fatal(err)
		}
	}
	for name, dbs := range map[string]string{"redis-7.0": "", "valkey-9.1": "--cluster-databases 4"} {
		var args []string
		if dbs != "" {
			args = []string{dbs}
		}
		c := sandboxtest.Cluster(t, name, sandbox.ClusterOptions{Args: args})
		report := compareSets(t, endpoints(a), c.Endpoints(), audit.Options{})
		var named []string
		for _, d := range report.Differences {
			if d.Kind == audit.NoDB {
				named = append(named, d.String())
			}
		}
		switch {
		case dbs == "" && (!slices.Equal(named, []string{"db 3: 10 keys in a, and b has no such db"}) || report.Different != 11):
			t.Errorf("%s: %v", name, report)
		case dbs != "" && (len(named) > 0 || report.Different != 20):
			t.Errorf("%s: %v", name, report)
		}
	}
}

func TestLibrariesOfACluster(t *testing.T) {
	t.Parallel()
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	c := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	load := func(s *sandbox.Server, body string) {
		t.Helper()
		do(t, sandboxtest.Client(t, s), "FUNCTION", "LOAD", "REPLACE", "#!lua name=l\nredis.register_function('f', function() return "+body+" end)")
	}
	load(a, "1")
	for i, want := range []string{"missing", "missing", ""} {
		load(c.Nodes()[i], "1")
		got := compareSets(t, endpoints(a), c.Endpoints(), audit.Options{})
		if kind := string(kinds(got)["l"]); kind != want {
			t.Errorf("on %d of 3 primaries: %v", i+1, got)
		}
	}
	load(c.Nodes()[1], "2")
	if got := compareSets(t, endpoints(a), c.Endpoints(), audit.Options{}); kinds(got)["l"] != audit.Value {
		t.Errorf("not the same on all primaries: %v", got)
	}
}

func TestCompareSetsErrors(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	lone := sandboxtest.ClusterNode(t, "redis-7.0")
	nobody := server.Endpoint{Network: "tcp", Address: "127.0.0.1:1"}
	for name, test := range map[string]struct {
		b    []server.Endpoint
		want string
	}{
		"none":               {nil, "no server is named"},
		"unreachable":        {[]server.Endpoint{s.Endpoint(), nobody}, "127.0.0.1:1: dial"},
		"slots unserved":     {endpoints(lone), "no node of the cluster serves slot 0"},
		"cluster and server": {endpoints(s, lone), "is a node of a cluster"},
	} {
		begin := time.Now()
		_, err := audit.CompareSets(t.Context(), endpoints(s), test.b, audit.Options{})
		if err == nil || !strings.Contains(err.Error(), test.want) || time.Since(begin) > 5*time.Second {
			t.Errorf("%s: %v", name, err)
		}
	}
}
