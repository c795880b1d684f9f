package verify_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/verify"
)

// repairing is the pair's configuration for a repair.
func (p *pair) repairing(t *testing.T, deleteExtra bool) verify.Config {
	cfg := p.config(t)
	cfg.Options.Repair, cfg.Options.DeleteExtra = true, deleteExtra
	cfg.Unlock = func(ctx context.Context) (func(context.Context) error, error) {
		// The rig plants at a replica that takes writes, before and after.
		writable := func(ctx context.Context) error { return p.to.ConfigSet(ctx, "replica-read-only", "no") }
		return writable, writable(ctx)
	}
	return cfg
}

// outcomes are what became of the differences in the journal, by that.
func outcomes(t *testing.T, dir string) map[string][]string {
	t.Helper()
	all := make(map[string][]string)
	err := verify.EachDifference(dir, func(d verify.Difference) error {
		what, why, _ := strings.Cut(d.Repair, ":")
		if why != "" {
			t.Logf("%s: %s", found(d), d.Repair)
		}
		all[what] = append(all[what], found(d))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// Differences of every kind and type are repaired while 5,000 writes a second go
// on, and nothing else is changed: in the end both sides are the same.
func TestRepairUnderLoad(t *testing.T) {
	for _, o := range some(2, []options{
		{source: "redis-7.0", target: "valkey-8.1", targetArgs: otherLimits().Args},
		{source: "redis-6.0", target: "redis-6.0"},
		{source: "redis-8.6", target: "redis-8.6"},
		{source: "valkey-9.1", target: "valkey-9.1"},
	}) {
		t.Run(o.source+" "+o.target, func(t *testing.T) {
			p := newPair(t, o)
			old := strings.HasPrefix(o.source, "redis-6")
			fill(t, p.source, dataset.Options{Keys: 3000, DBs: []int{0, 3}, Now: time.Now(), NoFunctions: old})
			p.follow(t)
			load := startLoad(t, p.source, 5000, true)
			all := slices.DeleteFunc(plants(), func(p plant) bool { return p.want == "" }) // these stay as they are
			if o.source == o.target && !strings.HasPrefix(o.source, "redis-6") {
				all = append(all, fieldTTLPlants()...)
			}
			do(t, p.from, "SET", "other db", "v")
			want := append(sowFollowing(t, p.from, p.to, all), "db 0>5 other db")
			do(t, p.to, "MOVE", "other db", 5)
			if !old {
				do(t, p.to, "FUNCTION", "LOAD", "#!lua name=extra\nredis.register_function('extra', function() return 1 end)")
				want = append(want, "extra -1 extra")
			}

			cfg := p.repairing(t, false)
			report := compare(t, cfg)
			got := outcomes(t, cfg.Options.Dir)
			var kept, others []string
			for _, d := range want {
				if strings.HasPrefix(d, "extra") || strings.HasPrefix(d, "db") {
					kept = append(kept, d)
				} else {
					others = append(others, d)
				}
			}
			same(t, "repaired", got[verify.Repaired], others)
			same(t, "kept", got[verify.Kept], kept)
			if report.Result != verify.Different || report.Repaired[verify.Kept] != int64(len(kept)) {
				t.Errorf("%+v", report)
			}
			t.Logf("held for %v at most, %d written", report.Held, load.writes.Load())

			// What was restored in its db is still in the other one.
			for i, d := range kept {
				kept[i] = strings.Replace(d, "db 0>5", "extra 5", 1)
			}
			cfg = p.repairing(t, true)
			report = compare(t, cfg)
			same(t, "deleted", outcomes(t, cfg.Options.Dir)[verify.Deleted], kept)
			if report.Result != verify.Equal || report.Repaired[verify.Deleted] != int64(len(kept)) {
				t.Errorf("%+v", report)
			}

			cfg = p.repairing(t, true)
			mustFind(t, compare(t, cfg), cfg.Options.Dir)
			load.stop()
			if old {
				time.Sleep(2500 * time.Millisecond) // all that expires has expired, a little later at the target
			}
			do(t, p.from, "WAIT", 1, 10_000)
			sameData(t, p.source, p.target, old)
		})
	}
}

func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	got, want = slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		t.Errorf("%s:\n%s\nwant:\n%s", what, strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// sameData compares two servers by other means. Before 7.0 TTLs are sent as what is
// left of them, which the way makes longer.
func sameData(t *testing.T, a, b *sandbox.Server, old bool) {
	t.Helper()
	o := audit.Options{NoEntriesRead: true}
	if old {
		o.TTLTolerance = time.Second
	}
	report, err := audit.Compare(t.Context(), a.Endpoint(), b.Endpoint(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range report.Differences {
		t.Error(d)
	}
}

// Two servers that do not know of each other.
func TestRepairWithoutAFeed(t *testing.T) {
	for _, tt := range some(1, []struct {
		source, target string
		method         verify.Method
	}{
		{"redis-7.0", "valkey-8.1", verify.Scan},
		{"redis-6.0", "redis-6.0", verify.Scan},
		{"redis-8.6", "redis-7.0", verify.Snapshot},
		{"valkey-9.1", "redis-8.6", verify.Snapshot},
	}) {
		t.Run(tt.source+" "+tt.target, func(t *testing.T) {
			a, b := sandboxtest.Start(t, tt.source, sandbox.Options{}), sandboxtest.Start(t, tt.target, sandbox.Options{})
			from, to := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
			o := dataset.Options{Keys: 2000, DBs: []int{0, 3}, Now: time.Now(), NoFieldTTLs: true, NoFunctions: strings.HasPrefix(tt.source, "redis-6")}
			fill(t, a, o)
			fill(t, b, o)
			do(t, from, "SET", "other db", "v")
			do(t, to, "SET", "other db", "v")
			do(t, to, "MOVE", "other db", 5)
			sow(t, from, to, slices.DeleteFunc(plants(), func(p plant) bool { return p.want == "" }))
			if !o.NoFunctions {
				do(t, to, "FUNCTION", "FLUSH")
			}
			cfg := verify.Config{Source: sideOf(a), Target: sideOf(b)}
			cfg.Options = verify.Options{Method: tt.method, Dir: t.TempDir(), Repair: true, DeleteExtra: true, Samples: 3}
			report := compare(t, cfg)
			got := outcomes(t, cfg.Options.Dir)
			if report.Result != verify.Equal || len(got[verify.Deleted]) < 2 || len(got[verify.Repaired]) < 30 || len(got) != 2 {
				t.Errorf("%+v: %v", report, got)
			}
			sameData(t, a, b, o.NoFunctions)
		})
	}
}

func replicaOf(s *sandbox.Server) sandbox.Options {
	return sandbox.Options{Args: []string{fmt.Sprintf("--replicaof 127.0.0.1 %d", s.Port())}}
}

// What must not be written to is not.
func TestRepairRefuses(t *testing.T) {
	source, primary := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	replica := sandboxtest.Start(t, "redis-7.0", replicaOf(primary))
	below := sandboxtest.Start(t, "redis-7.0", replicaOf(replica))
	p, r := sandboxtest.Client(t, primary), sandboxtest.Client(t, replica)
	do(t, sandboxtest.Client(t, source), "SET", "k", "v")
	do(t, p, "SET", "k", "w")
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		info, err := r.Info(t.Context(), "replication")
		if err == nil && info["connected_slaves"] == "1" && info["master_link_status"] == "up" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("no replicas: %v", info)
		}
	}
	cfg := verify.Config{Source: sideOf(source), Target: sideOf(replica)}
	for _, tt := range []struct {
		name, want, hint string
		change           func(*verify.Config)
	}{
		{"a replica of another", fmt.Sprintf("is a replica of 127.0.0.1:%d", primary.Port()), "name the replica's primary", func(*verify.Config) {}},
		{"one that takes no writes", "takes no writes", "", func(cfg *verify.Config) { cfg.Feeds = feedOf(t, replica) }},
		{"one with replicas of its own", fmt.Sprintf("replicas of its own (%s)", below.Address()), "full resync", func(cfg *verify.Config) {
			cfg.Feeds = feedOf(t, replica)
			cfg.Unlock = func(context.Context) (func(context.Context) error, error) { return nil, errors.New("unlocked") }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := cfg
			cfg.Options = verify.Options{Method: verify.Scan, Dir: t.TempDir(), Repair: true, DeleteExtra: true}
			tt.change(&cfg)
			report := run(t, cfg)
			if report.Result != verify.Different || !strings.Contains(report.Error, "nothing was repaired: ") ||
				!strings.Contains(report.Error, tt.want) || !strings.Contains(report.Hint, tt.hint) {
				t.Errorf("%s: %s (%s)", report.Result, report.Error, report.Hint)
			}
			if v := do(t, p, "GET", "k"); v != "w" {
				t.Errorf("the primary has %v", v)
			}
			if v := do(t, r, "GET", "k"); v != "w" {
				t.Errorf("the replica has %v", v)
			}
		})
	}
}

// What a server has from the target, as an old primary has after a switch, is not
// written back to it.
func TestRepairFromAReplicaOfTheTarget(t *testing.T) {
	primary := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	replica := sandboxtest.Start(t, "redis-7.0", replicaOf(primary))
	p, r := sandboxtest.Client(t, primary), sandboxtest.Client(t, replica)
	do(t, p, "SET", "k", "v")
	for deadline := time.Now().Add(20 * time.Second); do(t, r, "EXISTS", "k") != int64(1); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not follow")
		}
	}
	do(t, r, "CONFIG", "SET", "replica-read-only", "no")
	do(t, r, "SET", "k", "old")
	report := run(t, verify.Config{Source: sideOf(replica), Target: sideOf(primary), Options: verify.Options{Repair: true, Dir: t.TempDir()}})
	if report.Result != verify.Different || !strings.Contains(report.Error, "nothing was repaired: ") || !strings.Contains(report.Hint, "--from") {
		t.Errorf("%s: %s (%s)", report.Result, report.Error, report.Hint)
	}
	if v := do(t, p, "GET", "k"); v != "v" {
		t.Errorf("the primary has %v", v)
	}
}
