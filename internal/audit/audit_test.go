package audit_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// inPieces makes every value a large one.
func inPieces() audit.Options { return audit.Options{LargeValue: 1} }

func compare(t *testing.T, a, b *sandbox.Server, o audit.Options) audit.Report {
	t.Helper()
	report, err := audit.Compare(t.Context(), a.Endpoint(), b.Endpoint(), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func mustBeEqual(t *testing.T, r audit.Report, keys int64) {
	t.Helper()
	if !r.Equal() || len(r.Differences) > 0 {
		t.Errorf("%d differences:", r.Different)
		for _, d := range r.Differences {
			t.Error(d)
		}
	}
	if r.Keys != keys {
		t.Errorf("%d keys compared, want %d", r.Keys, keys)
	}
}

func do(t *testing.T, c *server.Client, args ...any) any {
	t.Helper()
	reply, err := c.Do(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

// Filled in the same way, servers of any two versions are equal, though they
// encode values differently, print scores differently and, before 7.0, cannot
// say when a key expires.
func TestSameDataIsEqualAcrossVersions(t *testing.T) {
	o := dataset.Options{Keys: 3000, DBs: []int{0, 1, 15}, Seed: 3, Now: time.Now(), NoFieldTTLs: true, NoFunctions: true}
	reference := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	if err := dataset.Fill(t.Context(), reference.Endpoint(), o); err != nil {
		t.Fatal(err)
	}
	for _, name := range sandboxtest.Catalog(t).Names() {
		t.Run(name, func(t *testing.T) {
			s := sandboxtest.Start(t, name, sandbox.Options{})
			if err := dataset.Fill(t.Context(), s.Endpoint(), o); err != nil {
				t.Fatal(err)
			}
			mustBeEqual(t, compare(t, reference, s, audit.Options{}), 3000)
			mustBeEqual(t, compare(t, s, reference, inPieces()), 3000)
		})
	}
}

// With field TTLs, functions and vector sets.
func TestNativeReplicaIsEqual(t *testing.T) {
	for _, versions := range [][2]string{{"redis-6.0", "redis-6.0"}, {"redis-7.0", "valkey-8.1"}, {"redis-8.0", "redis-8.6"}, {"valkey-9.1", "valkey-9.1"}} {
		t.Run(versions[0]+" to "+versions[1], func(t *testing.T) {
			a := sandboxtest.Start(t, versions[0], sandbox.Options{})
			b := sandboxtest.Start(t, versions[1], sandbox.Options{})
			o := dataset.Options{Keys: 1500, DBs: []int{0, 9}, Seed: 4, VectorSets: true}
			if err := dataset.Fill(t.Context(), a.Endpoint(), o); err != nil {
				t.Fatal(err)
			}
			replica := sandboxtest.Client(t, b)
			do(t, replica, "REPLICAOF", "127.0.0.1", a.Port())
			for {
				info, err := replica.Info(t.Context(), "replication")
				if err != nil {
					t.Fatal(err)
				}
				if info["master_link_status"] == "up" {
					break
				}
				time.Sleep(5 * time.Millisecond)
			}
			// Written while the replica follows.
			o.Seed, o.Prefix = 5, "later:"
			if err := dataset.Fill(t.Context(), a.Endpoint(), o); err != nil {
				t.Fatal(err)
			}
			do(t, sandboxtest.Client(t, a), "WAIT", 1, 5000)
			// Up to 6.0 a primary sends PEXPIREAT on as it is.
			mustBeEqual(t, compare(t, a, b, audit.Options{}), 3000)
			mustBeEqual(t, compare(t, a, b, inPieces()), 3000)
		})
	}
}

const year2100 = 4102444800000 // in Unix milliseconds

// plant is one difference, made on b alone.
type plant struct {
	name  string
	setup [][]any // on both sides
	plant [][]any // on b
	want  audit.Kind
}

func plants() []plant {
	one := func(args ...any) [][]any { return [][]any{args} }
	expiring := [][]any{{"SET", "k", "v"}, {"PEXPIREAT", "k", year2100}}
	stream := [][]any{
		{"XADD", "k", "1-1", "f", "v"},
		{"XADD", "k", "2-1", "f", "v"},
		{"XADD", "k", "3-1", "f", "v"},
		{"XGROUP", "CREATE", "k", "g", "2-1"},
		{"XCLAIM", "k", "g", "c", 0, "1-1", "TIME", 1000, "RETRYCOUNT", 2, "FORCE"},
	}
	return []plant{
		{"missing", one("SET", "k", "v"), one("DEL", "k"), audit.Missing},
		{"extra", nil, one("SET", "k", "v"), audit.Extra},
		{"type", one("SET", "k", "v"), [][]any{{"DEL", "k"}, {"RPUSH", "k", "v"}}, audit.Type},
		{"ttl lost", expiring, one("PERSIST", "k"), audit.TTL},
		{"ttl gained", one("SET", "k", "v"), one("PEXPIREAT", "k", year2100), audit.TTL},
		{"ttl later", expiring, one("PEXPIREAT", "k", year2100+1000), audit.TTL},
		{"ttl earlier", expiring, one("PEXPIREAT", "k", year2100-1000), audit.TTL},
		{"string", one("SET", "k", "v"), one("SET", "k", "w"), audit.Value},
		{"string longer", one("SET", "k", "v"), one("APPEND", "k", "\x00"), audit.Value},
		{"string byte", one("SET", "k", strings.Repeat("x", 100_000)), one("SETRANGE", "k", 99_999, "y"), audit.Value},
		{"bit", one("SETBIT", "k", 77, 1), one("SETBIT", "k", 76, 1), audit.Value},
		{"list order", one("RPUSH", "k", "a", "b"), [][]any{{"DEL", "k"}, {"RPUSH", "k", "b", "a"}}, audit.Value},
		{"list doubled", one("RPUSH", "k", "a", "b"), one("RPUSH", "k", "a", "b"), audit.Value},
		{"list element", one("RPUSH", "k", "a", "b"), one("LSET", "k", 1, "c"), audit.Value},
		{"set member", one("SADD", "k", "a", "b"), [][]any{{"SREM", "k", "a"}, {"SADD", "k", "c"}}, audit.Value},
		{"set smaller", one("SADD", "k", 1, 2), one("SREM", "k", 1), audit.Value},
		{"hash value", one("HSET", "k", "f", "v", "g", "w"), one("HSET", "k", "g", "x"), audit.Value},
		{"hash field", one("HSET", "k", "f", "v"), one("HSET", "k", "g", "w"), audit.Value},
		{"hash field renamed", one("HSET", "k", "f", "v", "x", ""), [][]any{{"HDEL", "k", "x"}, {"HSET", "k", "y", ""}}, audit.Value},
		{"score", one("ZADD", "k", 0.1, "m"), one("ZADD", "k", "0.10000000000000002", "m"), audit.Value},
		{"zset member", one("ZADD", "k", 1, "m", 2, "n"), [][]any{{"ZREM", "k", "n"}, {"ZADD", "k", 2, "o"}}, audit.Value},
		{"hyperloglog", one("PFADD", "k", "a"), one("PFADD", "k", "b"), audit.Value},
		{"stream entry", stream, one("XDEL", "k", "2-1"), audit.Value},
		{"stream entry more", stream, one("XADD", "k", "4-1", "f", "v"), audit.Value},
		{"stream field", one("XADD", "k", "1-1", "f", "v"), [][]any{{"DEL", "k"}, {"XADD", "k", "1-1", "f", "w"}}, audit.Value},
		{"stream last ID", stream, one("XSETID", "k", "9-9"), audit.Value},
		{"stream group gone", stream, one("XGROUP", "DESTROY", "k", "g"), audit.Value},
		{"stream group position", stream, one("XGROUP", "SETID", "k", "g", "1-1"), audit.Value},
		{"stream pending acknowledged", stream, one("XACK", "k", "g", "1-1"), audit.Value},
		{"stream pending claimed", stream, one("XCLAIM", "k", "g", "d", 0, "1-1", "TIME", 1000, "RETRYCOUNT", 2), audit.Value},
		{"stream deliveries", stream, one("XCLAIM", "k", "g", "c", 0, "1-1", "TIME", 1000, "RETRYCOUNT", 3), audit.Value},
		{"stream consumer", stream, one("XREADGROUP", "GROUP", "g", "e", "STREAMS", "k", "0"), audit.Value},
	}
}

func TestPlantedDifferencesAreFound(t *testing.T) {
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	b := sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	runPlants(t, a, b, plants(), between(a, b))
}

func TestPlantedDifferencesAreFoundOnOldServers(t *testing.T) {
	a := sandboxtest.Start(t, "redis-6.0", sandbox.Options{})
	b := sandboxtest.Start(t, "redis-6.0", sandbox.Options{})
	runPlants(t, a, b, plants(), between(a, b))
}

func TestPlantedFieldTTLIsFound(t *testing.T) {
	newer := []plant{
		{"field ttl", [][]any{{"HSET", "k", "f", "v", "g", "w"}, {"HPEXPIREAT", "k", year2100, "FIELDS", 1, "f"}},
			[][]any{{"HPEXPIREAT", "k", year2100 + 1, "FIELDS", 1, "f"}}, audit.TTL},
		{"field ttl lost", [][]any{{"HSET", "k", "f", "v", "g", "w"}, {"HPEXPIREAT", "k", year2100, "FIELDS", 1, "g"}},
			[][]any{{"HPERSIST", "k", "FIELDS", 1, "g"}}, audit.TTL},
	}
	for _, versions := range [][2]string{{"redis-8.0", "redis-8.6"}, {"redis-8.0", "valkey-9.1"}} {
		t.Run(strings.Join(versions[:], " and "), func(t *testing.T) {
			a := sandboxtest.Start(t, versions[0], sandbox.Options{})
			b := sandboxtest.Start(t, versions[1], sandbox.Options{})
			runPlants(t, a, b, newer, between(a, b))
		})
	}
}

// A hash whose fields have all expired is there until the server's next cycle.
func TestExpiredFieldsAreNoFields(t *testing.T) {
	for _, version := range []string{"redis-8.0", "redis-8.6", "valkey-9.1"} {
		t.Run(version, func(t *testing.T) {
			o := sandbox.Options{Args: []string{"--enable-debug-command yes"}}
			a, b := sandboxtest.Start(t, version, o), sandboxtest.Start(t, version, o)
			for _, s := range []*sandbox.Server{a, b} {
				c := sandboxtest.Client(t, s)
				do(t, c, "DEBUG", "SET-ACTIVE-EXPIRE", 0)
				do(t, c, "HSET", "k", "f", "v")
				do(t, c, "HPEXPIRE", "k", 1, "FIELDS", 1, "f")
			}
			time.Sleep(10 * time.Millisecond)
			for _, o := range []audit.Options{{}, inPieces()} {
				if report := compare(t, a, b, o); !report.Equal() {
					t.Errorf("got %+v", report)
				}
			}
		})
	}
}

func TestPlantedVectorDifferencesAreFound(t *testing.T) {
	vectors := [][]any{
		{"VADD", "k", "VALUES", 2, 0.1, 0.9, "m"},
		{"VADD", "k", "VALUES", 2, 0.5, 0.5, "n", "SETATTR", `{"year":1999}`},
	}
	a := sandboxtest.Start(t, "redis-8.0", sandbox.Options{})
	b := sandboxtest.Start(t, "redis-8.6", sandbox.Options{})
	runPlants(t, a, b, []plant{
		{"member gone", vectors, [][]any{{"VREM", "k", "m"}}, audit.Value},
		{"member more", vectors, [][]any{{"VADD", "k", "VALUES", 2, 0.1, 0.9, "o"}}, audit.Value},
		{"vector", vectors, [][]any{{"VADD", "k", "VALUES", 2, 0.9, 0.1, "m"}}, audit.Value},
		{"attributes", vectors, [][]any{{"VSETATTR", "k", "n", `{"year":2000}`}}, audit.Value},
	}, between(a, b))
}

func TestFieldTTLIsMissedOnServerWithoutThem(t *testing.T) {
	a := sandboxtest.Start(t, "redis-8.0", sandbox.Options{})
	b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	for _, s := range []*sandbox.Server{a, b} {
		do(t, sandboxtest.Client(t, s), "HSET", "k", "f", "v")
	}
	mustBeEqual(t, compare(t, a, b, audit.Options{}), 1)
	do(t, sandboxtest.Client(t, a), "HPEXPIREAT", "k", year2100, "FIELDS", 1, "f")
	for _, o := range []audit.Options{{}, inPieces()} {
		report := compare(t, a, b, o)
		if report.Different != 1 || report.Differences[0].Kind != audit.TTL {
			t.Errorf("got %+v", report)
		}
	}
}

func between(a, b *sandbox.Server) func(*testing.T, audit.Options) audit.Report {
	return func(t *testing.T, o audit.Options) audit.Report {
		t.Helper()
		return compare(t, a, b, o)
	}
}

// runPlants plants differences of key k on b, and compares as it is told.
func runPlants(t *testing.T, a, b *sandbox.Server, plants []plant, compare func(*testing.T, audit.Options) audit.Report) {
	t.Helper()
	clientA, clientB := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	// Others around it, the same on both sides; with its hash tag they are in one slot.
	o := dataset.Options{Keys: 50, Prefix: "{k}other:", Now: time.Now(), NoFieldTTLs: true, NoFunctions: true}
	for _, s := range []*sandbox.Server{a, b} {
		if err := dataset.Fill(t.Context(), s.Endpoint(), o); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			do(t, clientA, "DEL", "k")
			do(t, clientB, "DEL", "k")
			for _, args := range p.setup {
				do(t, clientA, args...)
				do(t, clientB, args...)
			}
			for _, o := range []audit.Options{{}, inPieces()} {
				if report := compare(t, o); !report.Equal() {
					t.Fatalf("before the plant: %v", report.Differences)
				}
			}
			for _, args := range p.plant {
				do(t, clientB, args...)
			}
			for _, o := range []audit.Options{{}, inPieces()} {
				report := compare(t, o)
				if report.Different != 1 || report.Differences[0].Kind != p.want || report.Differences[0].Key != "k" {
					t.Errorf("options %+v: got %v, want one %s of key k", o, report.Differences, p.want)
					continue
				}
				t.Log(report.Differences[0])
			}
		})
	}
}

func TestMillisecondsOfTTL(t *testing.T) {
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	clientA, clientB := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	do(t, clientA, "SET", "k", "v", "PXAT", year2100)
	do(t, clientB, "SET", "k", "v", "PXAT", year2100+3)
	if report := compare(t, a, b, audit.Options{}); report.Different != 1 {
		t.Errorf("3 ms: %+v", report)
	}
	if report := compare(t, a, b, audit.Options{TTLTolerance: 2 * time.Millisecond}); report.Different != 1 {
		t.Errorf("3 ms with a tolerance of 2: %+v", report)
	}
	mustBeEqual(t, compare(t, a, b, audit.Options{TTLTolerance: 3 * time.Millisecond}), 1)
}

func TestLibraries(t *testing.T) {
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	b := sandboxtest.Start(t, "valkey-9.1", sandbox.Options{})
	old := sandboxtest.Start(t, "redis-6.0", sandbox.Options{})
	clientA, clientB := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	load := func(c *server.Client, name, body string) {
		do(t, c, "FUNCTION", "LOAD", "REPLACE", fmt.Sprintf("#!lua name=%s\nredis.register_function('%s_f', function() return %s end)", name, name, body))
	}
	load(clientA, "same", "1")
	load(clientB, "same", "1")
	mustBeEqual(t, compare(t, a, b, audit.Options{}), 0)
	load(clientA, "lost", "1")
	load(clientA, "changed", "1")
	load(clientB, "changed", "2")
	load(clientB, "new", "1")
	got := fmt.Sprint(kinds(compare(t, a, b, audit.Options{})))
	if want := "map[changed:value lost:missing new:extra]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	got = fmt.Sprint(kinds(compare(t, a, old, audit.Options{})))
	if want := "map[changed:missing lost:missing same:missing]"; got != want {
		t.Errorf("a server without functions: got %s, want %s", got, want)
	}
}

func kinds(r audit.Report) map[string]audit.Kind {
	found := make(map[string]audit.Kind)
	for _, d := range r.Differences {
		found[d.Key] = d.Kind
	}
	return found
}

// A long list of differences is cut, but counted to the end; those of the keys
// that only one side has in a db of its own too.
func TestManyDifferences(t *testing.T) {
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	for s, db := range map[*sandbox.Server]int{a: 2, b: 11} {
		if err := dataset.Fill(t.Context(), s.Endpoint(), dataset.Options{Keys: 2500, DBs: []int{db}}); err != nil {
			t.Fatal(err)
		}
	}
	report := compare(t, a, b, audit.Options{MaxDifferences: 30})
	if report.Different != 5000 || len(report.Differences) != 30 || report.Keys != 2500 {
		t.Errorf("%d keys, %d differences, %d listed", report.Keys, report.Different, len(report.Differences))
	}
}

// Keys that expire while they are compared are not differences.
func TestExpiringKeysAreNotDifferences(t *testing.T) {
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	b := sandboxtest.Start(t, "redis-6.0", sandbox.Options{})
	begin := time.Now()
	for _, s := range []*sandbox.Server{a, b} {
		pipe := sandboxtest.Client(t, s).Redis().Pipeline()
		for i := range 20_000 {
			key := fmt.Sprintf("k%d", i)
			pipe.Set(t.Context(), key, "v", 0)
			pipe.PExpireAt(t.Context(), key, begin.Add(500*time.Millisecond+time.Duration(i)*50*time.Microsecond))
		}
		if _, err := pipe.Exec(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	var looks int
	for time.Since(begin) < 1600*time.Millisecond {
		report := compare(t, a, b, audit.Options{})
		mustBeEqual(t, report, report.Keys)
		looks++
	}
	t.Log(looks, "comparisons")
}

func TestLargeValues(t *testing.T) {
	const size = 32 << 20
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	b := sandboxtest.Start(t, "redis-6.0", sandbox.Options{})
	clientA, clientB := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	for _, c := range []*server.Client{clientA, clientB} {
		do(t, c, "SETRANGE", "string", size-1, "x")
		do(t, c, "EVAL", "for i = 1, 100 do redis.call('RPUSH', KEYS[1], string.rep(i, 100000)) end", 1, "list")
		do(t, c, "EVAL", "for i = 1, 100000 do redis.call('HSET', KEYS[1], i, string.rep(i, 20)) end", 1, "hash")
		do(t, c, "EVAL", "for i = 1, 100000 do redis.call('ZADD', KEYS[1], i / 7, string.rep(i, 20)) end", 1, "zset")
		do(t, c, "EVAL", "for i = 1, 100000 do redis.call('SADD', KEYS[1], string.rep(i, 20)) end", 1, "set")
		do(t, c, "EVAL", "for i = 1, 50000 do redis.call('XADD', KEYS[1], i .. '-18446744073709551615', 'field', string.rep(i, 50)) end", 1, "stream")
	}
	mustBeEqual(t, compare(t, a, b, audit.Options{}), 6)
	do(t, clientB, "SETRANGE", "string", size/2, "y")
	do(t, clientB, "LSET", "list", 77, "z")
	do(t, clientB, "HSET", "hash", "50000", "z")
	do(t, clientB, "ZADD", "zset", "XX", "INCR", 1e-9, strings.Repeat("50000", 20))
	do(t, clientB, "EVAL", "redis.call('SREM', KEYS[1], ARGV[1]); redis.call('SADD', KEYS[1], 'z')", 1, "set", strings.Repeat("50000", 20))
	do(t, clientB, "EVAL", "redis.call('XDEL', KEYS[1], '40000-18446744073709551615'); redis.call('XADD', KEYS[1], '60000-0', 'field', 'v')", 1, "stream")
	report := compare(t, a, b, audit.Options{})
	if report.Different != 6 {
		t.Errorf("%d differences of 6: %v", report.Different, report.Differences)
	}
	for _, d := range report.Differences {
		t.Log(d)
	}
}

func TestCompareSaysWhichServerFailed(t *testing.T) {
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Password: "secret"})
	e := b.Endpoint()
	e.Password = "wrong"
	_, err := audit.Compare(t.Context(), a.Endpoint(), e, audit.Options{})
	if err == nil || !strings.Contains(err.Error(), b.Address()+": PING: WRONGPASS") || strings.Contains(err.Error(), "wrong ") {
		t.Errorf("got %v", err)
	}
}
