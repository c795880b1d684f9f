package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/census"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/status"
)

// monitorFile writes lines of MONITOR: each is a client and its command.
func monitorFile(t *testing.T, lines ...string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("OK\n")
	for i, line := range lines {
		client, command, _ := strings.Cut(line, " ")
		fmt.Fprintf(&b, "%d.000000 [0 %s] \"%s\"\n", 1_700_000_000+i, client, strings.ReplaceAll(command, " ", `" "`))
	}
	path := filepath.Join(t.TempDir(), "monitor.txt")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestAuditOfAFile(t *testing.T) {
	path := monitorFile(t,
		"10.0.0.7:1 get user:1001:cart", "10.0.0.7:1 get user:1002:cart", "10.0.0.7:1 mget {t}a {t}b", "10.0.0.7:2 del session:1 session:2",
		"10.0.0.7:1 rename user:1001:cart user:1001:old", "10.0.0.8:1 client setname billing", "10.0.0.8:1 rename user:1002:cart user:1002:old",
		"10.0.0.8:1 dbsize", "10.0.0.8:1 auth geheim", "10.0.0.8:1 ping",
	)
	for _, args := range [][]string{{"--monitor-file", path}, {"file:" + path}} {
		got := godwit(t, nil, append([]string{"audit"}, args...)...)
		if got.code != status.ExitDifferences || got.err != "" {
			t.Fatalf("exit code %d: %s", got.code, got.err)
		}
		first, _, _ := strings.Cut(got.out, "\n")
		if want := "60.0 % of the calls work on a cluster as they are; 20.0 % break: 1 command of 2 clients; " +
			"10.0 % have to be split by the client; 10.0 % see or reach one shard only"; first != want {
			t.Errorf("got %s\nwant %s", first, want)
		}
		mustContain(t, "audit", got.out,
			"RENAME: keys of several hash slots: CROSSSLOT\n      2 calls (20.0 % of all, 100 % of this command's)\n",
			"by 10.0.0.7, 1 connection, 50.0 % of them", "by billing at 10.0.0.8, 1 connection, 50.0 % of them",
			"e.g. user:1001:cart user:1001:old",
			"user:*:cart  → {user:*}:cart\n    user:*:old   → {user:*}:old\n      mends 100 % of the calls that break; 2 tags seen; e.g. {user:1001}:cart {user:1001}:old",
			"watched  9 s · 10 calls", "several keys, one hash slot ")
		if strings.Contains(got.out, "geheim") {
			t.Error("a password is shown")
		}
	}
	got := godwit(t, nil, "audit", "--monitor-file", path, "--json")
	var r census.Report
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != status.ExitDifferences {
		t.Fatalf("exit code %d, %v: %s", got.code, err, got.out)
	}
	if r.Calls != 10 || r.Effects[census.Breaks].Calls != 2 || r.HashTags.Breaks != 1 || len(r.Findings) != 3 || r.Findings[0].Clients[1].Name != "billing" {
		t.Errorf("%+v", r)
	}
	if strings.Contains(got.out, "null") {
		t.Errorf("a list is null: %s", got.out)
	}

	got = godwit(t, nil, "audit", "--monitor-file", monitorFile(t, "a:1 get k", "a:1 mset {t}1 a {t}2 b", "a:1 ping"))
	if got.code != status.ExitDone || !strings.HasPrefix(got.out, "all calls work on a cluster as they are\n") {
		t.Errorf("exit code %d: %s", got.code, got.out)
	}
	for _, args := range [][]string{{"audit", "--monitor-file", "-"}, {"audit", "--monitor-file", "/nowhere/m"}} {
		if got := godwit(t, nil, args...); got.code != status.ExitFailed || !strings.Contains(got.err, "\nhint: redis-cli MONITOR") {
			t.Errorf("%v: exit code %d: %s", args, got.code, got.err)
		}
	}
}

func TestAuditOfAServer(t *testing.T) {
	s := sandboxtest.Start(t, "valkey-8.1", sandbox.Options{Password: "geheim"})
	client := sandboxtest.Client(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_, _ = client.Do(ctx, "SUNION", "a", "b") // cancelled at the end
			timer := time.NewTimer(10 * time.Millisecond)
			<-timer.C
		}
	}()
	got := godwit(t, []string{"GODWIT_PASSWORD=geheim"}, "audit", s.Address(), "--for", "2s")
	cancel()
	<-done
	if got.code != status.ExitDifferences || got.err != "" || strings.Contains(got.out, "geheim") {
		t.Errorf("exit code %d: %s%s", got.code, got.err, got.out)
	}
	mustContain(t, "audit", got.out, "SUNION: keys of several hash slots", "Valkey 8.1", "counted by the server", "e.g. a b")

	node := sandboxtest.ClusterNode(t, "valkey-8.1")
	got = godwit(t, nil, "audit", node.Address())
	if got.code != status.ExitFailed || !strings.Contains(got.err, "is a node of a cluster") || !strings.Contains(got.err, "hint: ") {
		t.Errorf("exit code %d: %s", got.code, got.err)
	}
}

func TestPercent(t *testing.T) {
	for share, want := range map[float64]string{
		0: "0 %", 1: "100 %", 0.5: "50.0 %", 0.00001: "< 0.01 %", 0.0005: "0.05 %", 0.99999: "> 99.99 %", 0.9995: "99.95 %", 0.982: "98.2 %",
	} {
		if got := percent(share); got != want {
			t.Errorf("%v: %s, want %s", share, got, want)
		}
	}
}
