package verify_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// The same differences that snapshots find, found by a scan.
func TestScanFindsPlantedDifferences(t *testing.T) {
	t.Parallel()
	tests := []struct {
		source, target string
		atTarget       sandbox.Options
		fieldTTLs      bool
	}{
		{source: "redis-7.0", target: "valkey-8.1", atTarget: otherLimits()},
		{source: "redis-6.0", target: "redis-6.0", atTarget: otherLimits()},
		{source: "redis-8.0", target: "valkey-9.1", fieldTTLs: true},
	}
	for _, tt := range some(2, tests) {
		t.Run(tt.source+" "+tt.target, func(t *testing.T) {
			a, b := sandboxtest.Start(t, tt.source, sandbox.Options{}), sandboxtest.Start(t, tt.target, tt.atTarget)
			from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
			o := dataset.Options{Keys: 4000, DBs: []int{0, 3}, Now: time.Now(), NoFieldTTLs: !tt.fieldTTLs, NoFunctions: strings.HasPrefix(tt.source, "redis-6")}
			fill(t, a, o)
			fill(t, b, o)
			cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Options: verify.Options{Method: verify.Scan, Dir: t.TempDir()}}
			mustFind(t, compare(t, cfg), cfg.Options.Dir)

			all := plants()
			if tt.fieldTTLs {
				all = append(all, fieldTTLPlants()...)
			}
			do(t, from, "SET", "other db", "v")
			do(t, to, "SET", "other db", "v")
			want := append(sow(t, from, to, all), "db 0>5 other db")
			do(t, to, "MOVE", "other db", 5)
			if !o.NoFunctions {
				do(t, to, "FUNCTION", "LOAD", "#!lua name=extra\nredis.register_function('extra', function() return 1 end)")
				want = append(want, "extra -1 extra")
			}
			report := compare(t, cfg)
			mustFind(t, report, cfg.Options.Dir, want...)
			t.Logf("%+v", report)
		})
	}
}

// Nothing is found where nothing was planted, and what was planted is, whichever way
// keys settle, among keys that are written to all the time.
func TestScanUnderLoad(t *testing.T) {
	tests := []struct {
		name string
		options
		prepare func(*testing.T, *pair) verify.Config
	}{
		{"replica", options{source: "redis-7.0", target: "redis-7.0"}, replicates},
		{"fed", options{source: "redis-7.0", target: "valkey-8.1", targetArgs: otherLimits().Args}, isFed},
		{"old replica", options{source: "redis-6.0", target: "redis-6.0"}, replicates},
		{"replica under another name", options{source: "redis-7.0", target: "valkey-8.1"}, replicatesUnseen},
	}
	for _, tt := range some(2, tests) {
		t.Run(tt.name, func(t *testing.T) {
			p := newPair(t, tt.options)
			old := strings.HasPrefix(tt.source, "redis-6")
			fill(t, p.source, dataset.Options{Keys: 20_000, DBs: []int{0, 3}, Now: time.Now(), NoFunctions: old})
			cfg := tt.prepare(t, p)
			cfg.Options.Method = verify.Scan
			load := startLoad(t, p.source, 7_000, true)
			look := func(want ...string) {
				t.Helper()
				cfg.Options.Dir = t.TempDir()
				before := load.writes.Load()
				report := compare(t, cfg)
				mustFind(t, report, cfg.Options.Dir, want...)
				t.Logf("%v, %d keys, %d settled, held for %v, %d written", report.Took, report.SourceRead.Keys, report.Settled, report.Held, load.writes.Load()-before)
			}
			look()
			look()
			do(t, p.from, "SET", "other db", "v")
			want := append(sowFollowing(t, p.from, p.to, plants()), "db 0>5 other db")
			do(t, p.to, "MOVE", "other db", 5)
			look(want...)
		})
	}
}

// replicates has the target be a replica of the source, by itself.
func replicates(t *testing.T, p *pair) verify.Config {
	t.Helper()
	host, port, err := net.SplitHostPort(p.source.Address())
	if err != nil {
		t.Fatal(err)
	}
	do(t, p.to, "REPLICAOF", host, port)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if info, err := p.to.Info(t.Context(), "replication"); err == nil && info["master_link_status"] == "up" {
			return verify.Config{Source: sideOf(p.source), Target: sideOf(p.target)}
		}
		if time.Now().After(deadline) {
			t.Fatal("the target does not follow")
		}
	}
}

// replicatesUnseen hides that it is one.
func replicatesUnseen(t *testing.T, p *pair) verify.Config {
	t.Helper()
	cfg := replicates(t, p)
	info, err := p.to.Info(t.Context(), "replication")
	if err != nil {
		t.Fatal(err)
	}
	replid := info["master_replid"]
	disguise := []sandboxtest.Replacement{{Old: []byte(replid), New: []byte(strings.Repeat("f", len(replid)))}}
	cfg.Target.Shards[0] = sandboxtest.Impostor(t, p.target, nil, disguise)
	return cfg
}

// isFed has a link feed the target.
func isFed(t *testing.T, p *pair) verify.Config {
	t.Helper()
	p.follow(t)
	return p.config(t)
}

// Of what is not to be compared nothing is found, and nothing is read.
func TestScanOfSome(t *testing.T) {
	t.Parallel()
	a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	const each = 1000
	for _, db := range []int{0, 3} {
		for _, c := range []*server.Client{from, to} {
			kind := verify.Missing
			if c == to {
				kind = verify.Extra
			}
			conn := c.Redis().Conn()
			if err := conn.Select(t.Context(), db).Err(); err != nil {
				t.Fatal(err)
			}
			if err := conn.Eval(t.Context(), "for i = 1, ARGV[2] do redis.call('SET', ARGV[1] .. i, i) end return 1", nil, string(kind), each).Err(); err != nil {
				t.Fatal(err)
			}
			conn.Close()
		}
	}
	for _, tt := range []struct {
		name      string
		o         verify.Options
		low, high int64 // differences of each kind
	}{
		{"all", verify.Options{}, 2 * each, 2 * each},
		{"a db", verify.Options{DBs: []int{3}}, each, each},
		{"a sample", verify.Options{Sample: 0.1}, 120, 280},
		{"names", verify.Options{Keys: "*10"}, 2 * each / 100, 2 * each / 100},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Options: tt.o}
			cfg.Options.Method = verify.Scan
			report := compare(t, cfg)
			for _, kind := range []verify.Kind{verify.Missing, verify.Extra} {
				if n := report.Counts[kind]; n < tt.low || n > tt.high {
					t.Errorf("%d keys are %s, want %d to %d", n, kind, tt.low, tt.high)
				}
			}
			if n := report.SourceRead.Keys; n < tt.low || n > tt.high {
				t.Errorf("%d keys were read, want %d to %d", n, tt.low, tt.high)
			}
		})
	}
}

// A user who may not ask for what a key takes has the same found.
func TestScanWithoutMemoryUsage(t *testing.T) {
	t.Parallel()
	a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	want := sow(t, from, to, plants())
	cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Options: verify.Options{Method: verify.Scan, Dir: t.TempDir()}}
	for client, e := range map[*server.Client]*server.Endpoint{from: &cfg.Source.Shards[0], to: &cfg.Target.Shards[0]} {
		do(t, client, "ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@all", "-memory")
		e.Username, e.Password = "reader", "secret"
	}
	mustFind(t, compare(t, cfg), cfg.Options.Dir, want...)
	for _, c := range []*server.Client{from, to} {
		if n := calls(t, c, "memory|usage"); n != 0 {
			t.Errorf("MEMORY USAGE was called %d times", n)
		}
	}
}

// A server that gives no snapshot is scanned, where that was not known before it was
// asked for one, too.
func TestScanWhereSnapshotsAreRefused(t *testing.T) {
	t.Parallel()
	a, b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	want := sow(t, from, to, plants())
	for _, denied := range []string{"-psync", "-replconf"} {
		for _, side := range []string{"source", "target"} {
			t.Run(denied+" at the "+side, func(t *testing.T) {
				cfg := verify.Config{Source: sideOf(a), Target: sideOf(b), Options: verify.Options{Dir: t.TempDir()}}
				client, e := from, &cfg.Source.Shards[0]
				if side == "target" {
					client, e = to, &cfg.Target.Shards[0]
				}
				do(t, client, "ACL", "SETUSER", "reader", "reset", "on", ">secret", "~*", "+@all", "-acl", denied)
				e.Username, e.Password = "reader", "secret"
				report := compare(t, cfg)
				mustFind(t, report, cfg.Options.Dir, want...)
				if report.Method != verify.Scan || !strings.Contains(report.Why, "the "+side) {
					t.Errorf("by %s: %s", report.Method, report.Why)
				}
				cfg.Options.Method, cfg.Options.Dir = verify.Snapshot, t.TempDir()
				if report := run(t, cfg); report.Result != verify.Unknown || !strings.Contains(report.Hint, "+psync") {
					t.Errorf("%+v", report)
				}
			})
		}
	}
}
