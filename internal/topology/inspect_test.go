package topology_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/topology"
)

func TestInspectEveryServer(t *testing.T) {
	rdbVersions := map[string]int{
		"redis-6.0": 9, "redis-7.0": 10, "redis-8.0": 12, "redis-8.6": 13,
		"valkey-8.0": 11, "valkey-8.1": 11, "valkey-9.1": 80, "redict-7.3": 12,
	}
	for _, name := range sandboxtest.Catalog(t).Names() {
		if name == sandbox.PathName {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, name, sandbox.Options{Args: []string{
				"--maxmemory 64mb", "--maxmemory-policy allkeys-lru", "--databases 20", "--masterauth", "hush-hush",
				"--client-output-buffer-limit replica 32mb 16mb 30",
			}})
			c := sandboxtest.Client(t, s)
			do(t, c, "SET", "a", "1")
			do(t, c, "SET", "b", "1", "EX", 1000)
			if _, err := c.Transaction(t.Context(), []any{"SELECT", 17}, []any{"SET", "c", "1"}, []any{"SELECT", 0}); err != nil {
				t.Fatal(err)
			}
			n := inspect(t, s.Endpoint())

			want, err := s.Binary().Version(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if n.Version != want || n.Mode != topology.Standalone || n.Replication.Role != topology.Primary {
				t.Errorf("found %v, %s, %s", n.Version, n.Mode, n.Replication.Role)
			}
			if len(n.RunID) != 40 || len(n.Replication.ReplID) != 40 {
				t.Errorf("run_id %q, replid %q", n.RunID, n.Replication.ReplID)
			}
			if dbs := []topology.DB{{Number: 0, Keys: 2, Expires: 1}, {Number: 17, Keys: 1}}; !slices.Equal(n.DBs, dbs) {
				t.Errorf("dbs %+v, want %+v", n.DBs, dbs)
			}
			if n.Keys() != 3 || n.HighestDB() != 17 {
				t.Errorf("%d keys up to db %d", n.Keys(), n.HighestDB())
			}
			if n.Memory.Max != 64<<20 || !n.Memory.Evicts() || n.Memory.Used == 0 || n.Memory.System == 0 {
				t.Errorf("memory %+v", n.Memory)
			}
			if n.RDBVersion != rdbVersions[name] {
				t.Errorf("RDB version %d, want %d", n.RDBVersion, rdbVersions[name])
			}
			for setting, value := range map[string]string{
				"databases": "20", "save": "", "appendonly": "no", "replica-read-only": "yes", "repl-diskless-sync-delay": "0", "min-replicas-to-write": "0",
			} {
				if got, ok := n.Settings[setting]; !ok || got != value {
					t.Errorf("%s is %q (%v), want %q", setting, got, ok, value)
				}
			}
			if limit, ok := n.Settings.ReplicaBuffer(); !ok || limit != (topology.BufferLimit{Hard: 32 << 20, Soft: 16 << 20, SoftSeconds: 30}) {
				t.Errorf("replica buffer %+v, %v", limit, ok)
			}
			for command, permission := range n.Permissions {
				want := topology.Allowed
				old := !n.Version.AtLeast(6, 2)
				if old && command == topology.Failover {
					want = topology.Missing
				}
				if permission != want {
					t.Errorf("%s is %s, want %s", command, permission, want)
				}
			}
			if loopback := netip.MustParseAddr("127.0.0.1"); n.Route != loopback || n.SeenFrom.Addr() != loopback {
				t.Errorf("route %v, seen from %v", n.Route, n.SeenFrom)
			}
			checkNoSecret(t, n, "hush-hush")
			if string(n.Masterauth) != "hush-hush" || !n.MasterauthSet {
				t.Error("masterauth was not found")
			}
		})
	}
}

// checkNoSecret sees that however a node is printed, the password is not there.
func checkNoSecret(t *testing.T, n topology.Node, password string) {
	t.Helper()
	text, err := json.Marshal(n)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "null") {
		t.Errorf("null in %s", text)
	}
	for _, printed := range []string{string(text), fmt.Sprintf("%v", n), fmt.Sprintf("%+v", n), fmt.Sprintf("%#v", n), fmt.Sprintf("%q %x", n.Masterauth, n.Masterauth)} {
		if strings.Contains(printed, password) || strings.Contains(printed, fmt.Sprintf("%x", password)) {
			t.Errorf("printed with its password: %s", printed)
		}
	}
}

func TestInspectChangesNothing(t *testing.T) {
	for _, name := range []string{"redis-6.0", "redis-7.0", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			s := sandboxtest.Start(t, name, sandbox.Options{})
			c := sandboxtest.Client(t, s)
			do(t, c, "SET", "a", "1")
			state := func() string {
				config, err := c.Do(t.Context(), "CONFIG", "GET", "*")
				if err != nil {
					t.Fatal(err)
				}
				info, err := c.Info(t.Context(), "replication", "keyspace", "persistence")
				if err != nil {
					t.Fatal(err)
				}
				return fmt.Sprint(config, info)
			}
			before := state()
			inspect(t, s.Endpoint())
			if after := state(); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

func TestInspectReplicas(t *testing.T) {
	for _, name := range []string{"redis-6.0", "redis-8.0", "valkey-8.1"} {
		t.Run(name, func(t *testing.T) {
			primary, replica := sandboxtest.Start(t, name, sandbox.Options{}), sandboxtest.Start(t, name, sandbox.Options{})
			c := sandboxtest.Client(t, replica)
			do(t, c, "REPLICAOF", "127.0.0.1", primary.Port())
			waitFor(t, "link up", func() bool { return inspect(t, replica.Endpoint()).Replication.Upstream.Link == "up" })
			waitFor(t, "replica online", func() bool {
				replicas := inspect(t, primary.Endpoint()).Replication.Replicas
				return len(replicas) == 1 && replicas[0].State == "online"
			})
			up, down := inspect(t, primary.Endpoint()).Replication, inspect(t, replica.Endpoint()).Replication
			if up.Role != topology.Primary || down.Role != topology.Replica {
				t.Errorf("roles %s and %s", up.Role, down.Role)
			}
			if got := down.Upstream.Address(); got != primary.Address() {
				t.Errorf("replica of %s, want %s", got, primary.Address())
			}
			if got := up.Replicas[0].Address; got != replica.Address() {
				t.Errorf("has the replica %s, want %s", got, replica.Address())
			}
			if up.ReplID != down.ReplID || !up.Backlog.Active || up.Backlog.Size == 0 {
				t.Errorf("replids %s and %s, backlog %+v", up.ReplID, down.ReplID, up.Backlog)
			}
			if up.FailingOver() || down.FailingOver() {
				t.Errorf("failover states %q, %q", up.FailoverState, down.FailoverState)
			}
		})
	}
}

func TestInspectClients(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	connect := func(name string) *server.Client {
		c, err := server.Dial(t.Context(), s.Endpoint(), name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		return c
	}
	connect(topology.ClientPrefix + "orders")
	connect("sentinel-0123abcd-cmd")
	connect("sentinel-0123abcd-pubsub")
	connect(topology.ClientPrefix + "own") // another process, there before us
	c := connect(topology.ClientPrefix + "own")
	for range 2 {
		n, err := topology.Inspect(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if g := n.Clients.Godwit; len(g) != 2 || g[0].Migration != "orders" || g[1].Migration != "own" {
			t.Errorf("migrations connected: %+v", g)
		}
	}
	n := inspect(t, s.Endpoint())
	if n.Clients.Sentinels != 1 || n.Clients.Connected < 4 {
		t.Errorf("clients %+v", n.Clients)
	}
}

func TestInspectSpecialModes(t *testing.T) {
	primary := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	sentinel := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{
		"--sentinel", fmt.Sprintf("--sentinel monitor orders 127.0.0.1 %d 1", primary.Port()),
	}})
	n := inspect(t, sentinel.Endpoint())
	if n.Mode != topology.Sentinel {
		t.Errorf("mode %s", n.Mode)
	}
	if want := (topology.Monitor{Name: "orders", Address: primary.Address()}); len(n.Monitors) != 1 || n.Monitors[0] != want {
		t.Errorf("monitors %+v, want %+v", n.Monitors, want)
	}
	waitFor(t, "the Sentinel is seen by the server it watches", func() bool {
		return inspect(t, primary.Endpoint()).Clients.Sentinels == 1
	})
	for _, name := range []string{"redis-6.0", "valkey-8.1", "redict-7.3"} {
		s := sandboxtest.Start(t, name, sandbox.Options{Args: []string{"--cluster-enabled yes"}})
		if n := inspect(t, s.Endpoint()); n.Mode != topology.Cluster {
			t.Errorf("%s: mode %s", name, n.Mode)
		}
	}
}

func TestInspectModulesAndFunctions(t *testing.T) {
	s := sandboxtest.Start(t, "redis-8.0", sandbox.Options{})
	c := sandboxtest.Client(t, s)
	do(t, c, "FUNCTION", "LOAD", "#!lua name=mine\nredis.register_function('f', function() return 1 end)")
	do(t, c, "HSET", "h", "f", "v")
	do(t, c, "HEXPIRE", "h", 1000, "FIELDS", 1, "f")
	n := inspect(t, s.Endpoint())
	if !n.HasModule("vectorset") || n.Libraries != 1 || n.FieldExpires() != 1 || n.RDBVersion != 12 {
		t.Errorf("modules %v, %d libraries, %d hashes with field TTLs, RDB %d", n.Modules, n.Libraries, n.FieldExpires(), n.RDBVersion)
	}
}

func TestInspectUnreachable(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	c := sandboxtest.Client(t, s)
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	if _, err := topology.Inspect(t.Context(), c); err == nil {
		t.Error("a killed server was inspected")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := topology.LocalAddr(ctx, s.Endpoint()); err == nil {
		t.Error("a route was found with a cancelled context")
	}
}
