package topology_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/topology"
)

func rdbVersions() map[string]int {
	return map[string]int{
		"redis-6.0": 9, "redis-7.0": 10, "redis-8.0": 12, "redis-8.6": 13,
		"valkey-8.0": 11, "valkey-8.1": 11, "valkey-9.1": 80, "redict-7.3": 12,
	}
}

// TestProbe has every server load what it is asked about, and sees that nothing is
// left of it: with keyspace notifications, a backlog, an AOF and a save point on.
func TestProbe(t *testing.T) {
	for name, version := range rdbVersions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, name, sandbox.Options{Args: []string{"--notify-keyspace-events KEA", "--appendonly yes"}})
			c := sandboxtest.Client(t, s)
			replica := sandboxtest.Start(t, name, sandbox.Options{Args: []string{"--repl-ping-replica-period 3600"}})
			do(t, sandboxtest.Client(t, replica), "REPLICAOF", "127.0.0.1", s.Port())
			do(t, c, "CONFIG", "SET", "repl-ping-replica-period", "3600")
			do(t, c, "SET", "a", "1")
			waitFor(t, "replica online", func() bool {
				r := inspect(t, s.Endpoint()).Replication
				return len(r.Replicas) == 1 && r.Replicas[0].State == "online" && r.Replicas[0].Offset == r.Offset
			})
			subscriber := c.Redis().PSubscribe(t.Context(), "__key*__:*")
			defer func() { _ = subscriber.Close() }()
			if _, err := subscriber.Receive(t.Context()); err != nil {
				t.Fatal(err)
			}
			state := func() string {
				info, err := c.Info(t.Context(), "replication", "keyspace", "persistence", "stats")
				if err != nil {
					t.Fatal(err)
				}
				return fmt.Sprint(info["master_repl_offset"], info["db0"], info["rdb_changes_since_last_save"], info["aof_current_size"])
			}
			before, calls := state(), restores(t, c)
			n := inspect(t, s.Endpoint())
			if after := state(); after != before {
				t.Errorf("before %s, after %s", before, after)
			}
			if restores(t, c) == calls {
				t.Error("RESTORE was not asked")
			}
			if n.RDBJudge != topology.ByRestore || n.RDBVersion != version || n.Refused != (rdb.Set{}) {
				t.Errorf("RDB version %d by %s, refuses %v", n.RDBVersion, n.RDBJudge, n.Refused.Types())
			}
			if message, err := subscriber.ReceiveTimeout(t.Context(), 100*time.Millisecond); err == nil {
				t.Errorf("notified of %v", message)
			}
		})
	}
}

// restores is how many times RESTORE was called.
func restores(t *testing.T, c *server.Client) string {
	t.Helper()
	info, err := c.Info(t.Context(), "commandstats")
	if err != nil {
		t.Fatal(err)
	}
	return info["cmdstat_restore"]
}

// TestProbeSaysNothing sees that what cannot be asked is known as before, and
// that nothing is left behind where it might be.
func TestProbeSaysNothing(t *testing.T) {
	all := []string{"redis-6.0", "redis-8.6", "valkey-9.1"}
	for _, test := range []struct {
		name    string
		servers []string
		set     func(t *testing.T, s *sandbox.Server, c *server.Client) server.Endpoint
		calls   bool // RESTORE is executed, and answered
	}{
		{name: "no permission", servers: all, set: func(t *testing.T, s *sandbox.Server, c *server.Client) server.Endpoint {
			do(t, c, "ACL", "SETUSER", "mover", "on", ">secret", "~*", "+@all", "-restore")
			return as(s, "mover", "secret")
		}},
		{name: "no permission to the key", servers: all, set: func(t *testing.T, s *sandbox.Server, c *server.Client) server.Endpoint {
			do(t, c, "ACL", "SETUSER", "mover", "on", ">secret", "~app:*", "+@all")
			return as(s, "mover", "secret")
		}},
		{name: "a replica that can be written to", servers: all, set: func(t *testing.T, s *sandbox.Server, c *server.Client) server.Endpoint {
			do(t, c, "CONFIG", "SET", "replica-read-only", "no")
			do(t, c, "REPLICAOF", "127.0.0.1", "1")
			return s.Endpoint()
		}},
		{name: "import mode", servers: []string{"valkey-8.1", "valkey-9.1"}, set: func(t *testing.T, s *sandbox.Server, c *server.Client) server.Endpoint {
			do(t, c, "CONFIG", "SET", "import-mode", "yes")
			return s.Endpoint()
		}},
		{name: "perhaps import mode", servers: []string{"valkey-8.1", "valkey-9.1"}, set: func(t *testing.T, s *sandbox.Server, c *server.Client) server.Endpoint {
			do(t, c, "CONFIG", "SET", "import-mode", "yes")
			do(t, c, "ACL", "SETUSER", "mover", "on", ">secret", "~*", "+@all", "-config")
			return as(s, "mover", "secret")
		}},
		{name: "writes are paused", servers: []string{"redis-7.0", "valkey-9.1"}, set: func(t *testing.T, s *sandbox.Server, c *server.Client) server.Endpoint {
			do(t, c, "CLIENT", "PAUSE", "60000", "WRITE")
			return s.Endpoint()
		}},
		{name: "writes are fenced", servers: all, set: func(t *testing.T, s *sandbox.Server, c *server.Client) server.Endpoint {
			do(t, c, "CONFIG", "SET", "min-replicas-to-write", "1073741824")
			return s.Endpoint()
		}},
		{name: "out of memory", servers: all, set: func(t *testing.T, s *sandbox.Server, c *server.Client) server.Endpoint {
			do(t, c, "CONFIG", "SET", "maxmemory", "1")
			return s.Endpoint()
		}},
		{name: "any version is taken", servers: []string{"valkey-8.1", "valkey-9.1"}, calls: true, set: func(t *testing.T, s *sandbox.Server, c *server.Client) server.Endpoint {
			do(t, c, "CONFIG", "SET", "rdb-version-check", "relaxed")
			return s.Endpoint()
		}},
		{name: "another server's slots", servers: []string{"redis-7.0", "valkey-9.1"}, set: func(t *testing.T, _ *sandbox.Server, _ *server.Client) server.Endpoint {
			return sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--cluster-enabled yes"}}).Endpoint()
		}},
	} {
		for _, name := range test.servers {
			t.Run(test.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := sandboxtest.Start(t, name, sandbox.Options{})
				c := sandboxtest.Client(t, s)
				want := rdbVersions()[name]
				e := test.set(t, s, c)
				if e.Address != s.Address() {
					want = rdbVersions()["redis-7.0"]
				}
				began := time.Now()
				n := inspect(t, e)
				if n.RDBJudge == topology.ByRestore || n.RDBVersion != want || n.Refused != (rdb.Set{}) {
					t.Errorf("RDB version %d by %s, refuses %v", n.RDBVersion, n.RDBJudge, n.Refused.Types())
				}
				if took := time.Since(began); took > 4*time.Second {
					t.Errorf("it took %v", took)
				}
				if calls := restores(t, c); strings.HasPrefix(calls, "calls=") && !strings.HasPrefix(calls, "calls=0,") != test.calls {
					t.Errorf("RESTORE was called: %s", calls)
				}
				if size, err := c.Do(t.Context(), "DBSIZE"); err != nil || size != int64(0) {
					t.Errorf("%v keys, %v", size, err)
				}
				if log, err := c.Do(t.Context(), "ACL", "LOG"); name != "redis-6.0" && (err != nil || strings.Contains(fmt.Sprint(log), "restore")) {
					t.Errorf("ACL LOG %v, %v", log, err)
				}
			})
		}
	}
}

// TestPatchedServer asks servers whose version is not what it says, and one that
// lacks a type of its version.
func TestPatchedServer(t *testing.T) {
	new, old := sandboxtest.Start(t, "redis-8.6", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	posing := func(s *sandbox.Server, from, to string, asks ...sandboxtest.Replacement) topology.Node {
		said := []sandboxtest.Replacement{{Old: []byte("redis_version:" + from), New: []byte("redis_version:" + to)}}
		return inspect(t, sandboxtest.Impostor(t, s, asks, said))
	}
	asNew, asOld := posing(old, "7.0.15", "8.6.15"), posing(new, "8.6.", "7.0.")
	if !asNew.Version.AtLeast(8, 6) || asNew.RDBVersion != 10 || asNew.RDBJudge != topology.ByRestore {
		t.Errorf("7.0 as %v: RDB version %d by %s", asNew.Version, asNew.RDBVersion, asNew.RDBJudge)
	}
	if asOld.Version.AtLeast(7, 2) || asOld.RDBVersion != 13 || asOld.RDBJudge != topology.ByRestore {
		t.Errorf("8.6 as %v: RDB version %d by %s", asOld.Version, asOld.RDBVersion, asOld.RDBJudge)
	}
	if isNew, isOld := inspect(t, new.Endpoint()), inspect(t, old.Endpoint()); !asOld.Understands(isNew) || asNew.Understands(isNew) ||
		!asOld.Understands(isOld) || !asNew.Understands(isOld) || !isNew.Understands(asOld) || isOld.Understands(asOld) {
		t.Errorf("8.6 as 7.0 lacks %q, 7.0 as 8.6 lacks %q", asOld.Lacking(isNew), asNew.Lacking(isNew))
	}
	if lacking := asNew.Lacking(asOld); !slices.Contains(lacking, "DELEX") || !slices.Contains(lacking, "SET IFEQ") {
		t.Errorf("7.0 as 8.6 lacks only %q of 8.6 as 7.0", lacking)
	}

	f := rdb.Format{Version: 13}
	var unknown sandboxtest.Replacement
	for _, s := range f.Samples() {
		if s.Type == rdb.TypeStreamListpacks4 {
			unknown.Old = s.Dump(f, rdb.NewCRC64())
			s.Type = 100
			unknown.New = s.Dump(f, rdb.NewCRC64())
		}
	}
	lacks := posing(new, "8.6.", "8.6.", unknown)
	if got := lacks.Refused.Types(); !slices.Equal(got, []rdb.Type{rdb.TypeStreamListpacks4}) {
		t.Errorf("refuses %v", got)
	}
	if got := fmt.Sprint(lacks.RDBFormat().Lacks(f)); got != "[stream-idmp]" {
		t.Errorf("lacks %s", got)
	}
}

// TestUnderstands sees where commands need not be looked at, between the servers
// as they are.
func TestUnderstands(t *testing.T) {
	found := make(map[string]topology.Node)
	for name := range rdbVersions() {
		found[name] = inspect(t, sandboxtest.Start(t, name, sandbox.Options{}).Endpoint())
	}
	older := map[string]string{ // as of the server on the left
		"redis-6.0": "redis-6.0", "redis-7.0": "redis-6.0 redis-7.0", "redis-8.0": "redis-6.0 redis-7.0 redis-8.0",
		"redis-8.6":  "redis-6.0 redis-7.0 redis-8.0 redis-8.6",
		"valkey-8.0": "redis-6.0 redis-7.0 valkey-8.0", "valkey-8.1": "redis-6.0 redis-7.0 valkey-8.0 valkey-8.1",
		"valkey-9.1": "redis-6.0 redis-7.0 valkey-8.0 valkey-8.1 valkey-9.1", "redict-7.3": "redis-6.0 redis-7.0 redict-7.3",
	}
	for to, target := range found {
		for from, source := range found {
			want := slices.Contains(strings.Fields(older[to]), from)
			if got := target.Understands(source); got != want {
				t.Errorf("%s understands %s: %v, lacks %q", to, from, got, target.Lacking(source))
			}
		}
	}
	for _, name := range []string{"redis-6.0", "redis-7.0", "valkey-9.1"} {
		for _, as := range []string{"hidden", `""`} {
			renamed := inspect(t, sandboxtest.Start(t, name, sandbox.Options{Args: []string{"--rename-command FLUSHALL " + as, "--rename-command CONFIG concealed"}}).Endpoint())
			if got := fmt.Sprint(renamed.Lacking(found[name])); renamed.Understands(found[name]) || got != "[FLUSHALL]" {
				t.Errorf("%s with FLUSHALL as %s lacks %s", name, as, got)
			}
			if got := found[name].Understands(renamed); got != (as == `""`) {
				t.Errorf("%s understands one with FLUSHALL as %s: %v", name, as, got)
			}
		}
	}
}

// TestRecall sees that an answer outlives the asking, in a journal too, as long as
// the process that gave it does.
func TestRecall(t *testing.T) {
	n := topology.Node{RunID: "a", RDBVersion: 13, RDBJudge: topology.ByRestore}
	n.Refused.AddType(rdb.TypeStreamListpacks4, rdb.TypeHashMetadata)
	data, err := json.Marshal(n.Probed())
	if err != nil {
		t.Fatal(err)
	}
	var p topology.Probe
	if err := json.Unmarshal(data, &p); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		runID string
		judge topology.Judge
		want  int
	}{{"a", topology.ByVersion, 13}, {"a", topology.ByFunctionDump, 13}, {"a", topology.ByRestore, 10}, {"b", topology.ByVersion, 10}, {"", topology.ByVersion, 10}} {
		again := topology.Node{RunID: test.runID, RDBVersion: 10, RDBJudge: test.judge}
		again.Recall(p)
		if again.RDBVersion != test.want || (again.Refused == n.Refused) != (test.want == 13) {
			t.Errorf("process %s by %s: RDB version %d, refuses %v", test.runID, test.judge, again.RDBVersion, again.Refused.Types())
		}
		again.Recall(topology.Probe{})
	}
	if data, err = json.Marshal(n); err != nil || !strings.Contains(string(data), `"refused_types":["hash-metadata","stream-listpacks-4"]`) {
		t.Errorf("%s, %v", data, err)
	}
}

func TestModules(t *testing.T) {
	modules := func(list ...topology.Module) topology.Node { return topology.Node{Modules: list} }
	bf1, bf2, vectors, lua := topology.Module{Name: "bf", Version: 1}, topology.Module{Name: "bf", Version: 2},
		topology.Module{Name: "vectorset", Version: 1}, topology.Module{Name: "lua", Version: 1}
	const some, vector = rdb.ModuleID(1), rdb.ModuleID(0xbde72da2bb1eb400)
	for name, test := range map[string]struct {
		from, to            topology.Node
		accepted            []string
		missing, others     int
		loads, loadsVectors bool
	}{
		"the same":               {modules(bf1, vectors), modules(bf1, vectors), nil, 0, 0, true, true},
		"none":                   {modules(bf1, lua, vectors), modules(), nil, 1, 0, false, false},
		"another version":        {modules(bf1, vectors), modules(bf2, vectors), nil, 0, 1, false, true},
		"another, accepted":      {modules(bf1), modules(bf2), []string{"bf"}, 0, 1, true, false},
		"none, although allowed": {modules(bf1), modules(), []string{"bf"}, 1, 0, false, false},
	} {
		loads := test.to.LoadsModulesOf(test.from, test.accepted)
		if m, o := test.to.MissingModules(test.from), test.to.OtherModules(test.from); len(m) != test.missing || len(o) != test.others {
			t.Errorf("%s: missing %v, others %v", name, m, o)
		}
		if vector.Name() != "vectorset" || loads(some) != test.loads || loads(vector) != test.loadsVectors {
			t.Errorf("%s: loads a module's values: %v, vector sets: %v", name, loads(some), loads(vector))
		}
	}
	built := inspect(t, sandboxtest.Start(t, "redis-8.6", sandbox.Options{}).Endpoint())
	if m, ok := built.Module("vectorset"); !ok || m.Version == 0 || len(built.Modules) != 1 {
		t.Errorf("modules %v", built.Modules)
	}
}
