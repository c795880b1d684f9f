package verify_test

import (
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/verify"
)

// A db that one side does not have at all is empty there.
func TestDBsThatOneSideLacks(t *testing.T) {
	t.Parallel()
	many, few := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--databases 32"}}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--databases 8"}})
	cluster, _ := clusterOf(t, "redis-7.0", 2)
	from := sandboxtest.Client(t, many)
	do(t, from, "EVAL", "redis.call('SELECT', 20) redis.call('SET', KEYS[1], 'v')", 1, "elsewhere")
	for _, tt := range []struct {
		name           string
		source, target verify.Side
		want           string
	}{
		{"fewer dbs", sideOf(many), sideOf(few), "missing 20 elsewhere"},
		{"a cluster", sideOf(many), cluster, "missing 20 elsewhere"},
		{"fewer dbs at the source", sideOf(few), sideOf(many), "extra 20 elsewhere"},
		{"a cluster as the source", cluster, sideOf(many), "extra 20 elsewhere"},
	} {
		for _, method := range []verify.Method{verify.Snapshot, verify.Scan} {
			t.Run(tt.name+" by "+string(method), func(t *testing.T) {
				cfg := verify.Config{Source: tt.source, Target: tt.target, Options: verify.Options{Method: method, Samples: 3, Dir: t.TempDir()}}
				mustFind(t, compare(t, cfg), cfg.Options.Dir, tt.want)
			})
		}
	}
}

// Such differences are shown, and what can be is repaired.
func TestRepairOfDBsThatOneSideLacks(t *testing.T) {
	t.Parallel()
	many, few := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--databases 32"}}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--databases 8"}})
	from, to := sandboxtest.Client(t, many), sandboxtest.Client(t, few)
	do(t, from, "EVAL", "redis.call('SELECT', 20) redis.call('SET', KEYS[1], 'v')", 1, "elsewhere")
	do(t, from, "SET", "here", "v")
	do(t, from, "SET", "", "v")
	cfg := verify.Config{Source: sideOf(many), Target: sideOf(few), Options: verify.Options{Samples: 3, Repair: true, DeleteExtra: true}}
	report := compare(t, cfg)
	if got := report.Repaired; report.Result != verify.Different || got[verify.Repaired] != 2 || got[verify.Failed] != 1 {
		t.Errorf("missing at the target: got %+v", report)
	}
	for _, d := range report.Samples {
		if d.Detail != "only the source has it" || d.Source.Excerpt == "" {
			t.Errorf("got %+v", d)
		}
		if d.DB == 20 && d.Repair != "failed: the target has no db 20" {
			t.Errorf("got %q", d.Repair)
		}
	}
	cfg.Source, cfg.Target = cfg.Target, cfg.Source
	report = compare(t, cfg)
	if got := report.Repaired; report.Result != verify.Equal || got[verify.Deleted] != 1 {
		t.Errorf("missing at the source: got %+v", report)
	}
	if n := do(t, to, "DBSIZE"); n != int64(2) {
		t.Errorf("the other side has %v keys, want the two that were repaired", n)
	}
}
