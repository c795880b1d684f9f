//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/status"
)

// written is a server with a file of a snapshot and commands, counting ones among them,
// that was killed, and the path of a copy of that file.
func written(t *testing.T, name string, keys, commands int) (s *sandbox.Server, path string) {
	t.Helper()
	s = sandboxtest.Start(t, name, sandbox.Options{Args: []string{"--appendonly", "yes", "--auto-aof-rewrite-percentage", "0", "--appendfsync", "no"}})
	if err := dataset.Fill(t.Context(), s.Endpoint(), dataset.Options{Keys: keys, Seed: 1, NoFieldTTLs: true}); err != nil {
		t.Fatal(err)
	}
	client := sandboxtest.Client(t, s)
	if _, err := client.Do(t.Context(), "BGREWRITEAOF"); err != nil {
		t.Fatal(err)
	}
	for rewriting := true; rewriting; time.Sleep(5 * time.Millisecond) {
		info, err := client.Info(t.Context(), "persistence")
		if err != nil {
			t.Fatal(err)
		}
		rewriting = info.Int("aof_rewrite_in_progress")+info.Int("aof_rewrite_scheduled") > 0
	}
	pipe := client.Redis().Pipeline()
	rng := rand.New(rand.NewPCG(5, 6))
	for range commands {
		key := fmt.Sprintf("%d", rng.IntN(500))
		switch rng.IntN(4) {
		case 0:
			pipe.RPush(t.Context(), "list:"+key, "x")
		case 1:
			pipe.Append(t.Context(), "text:"+key, "y")
		case 2:
			pipe.Incr(t.Context(), "mortal:"+key)
			pipe.PExpire(t.Context(), "mortal:"+key, 100*time.Millisecond)
		default:
			pipe.Incr(t.Context(), "n:"+key)
		}
	}
	if _, err := pipe.Exec(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "appendonlydir")
	if err := os.CopyFS(path, os.DirFS(filepath.Join(s.Dir(), "appendonlydir"))); err != nil {
		t.Fatal(err)
	}
	return s, path
}

// mustEqual compares servers by value and TTL, and sees that godwit has left no key.
func mustEqual(t *testing.T, source *sandbox.Server, targets ...*sandbox.Server) {
	t.Helper()
	var endpoints []server.Endpoint
	for _, s := range targets {
		endpoints = append(endpoints, s.Endpoint())
		left, err := sandboxtest.Client(t, s).Do(t.Context(), "KEYS", "godwit:*")
		if list, ok := left.([]any); err != nil || !ok || len(list) > 0 {
			t.Errorf("%s: left %v (%v)", s.Address(), left, err)
		}
	}
	for again := 20; ; again-- {
		report, err := audit.CompareSets(t.Context(), []server.Endpoint{source.Endpoint()}, endpoints, audit.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if report.Equal() && report.Keys > 0 {
			return
		}
		if again == 0 {
			t.Fatalf("%d keys compared, %d differ: %v", report.Keys, report.Different, report.Differences[:min(5, len(report.Differences))])
		}
		time.Sleep(100 * time.Millisecond) // what expires does so in each server's own time
	}
}

func TestPlanOfAFile(t *testing.T) {
	_, path := written(t, "redis-7.0", 300, 50)
	target := sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	args := []string{"plan", "--from", "file:" + path, "--to", target.Address(), "--state-dir", t.TempDir()}
	got := godwit(t, nil, args...)
	if got.code != 0 {
		t.Fatalf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	mustContain(t, "plan", got.out, "append only file of several parts, written by Redis 7.0", ".base.rdb (snapshot, ", " keys (", " commands", "functions ", "ends      complete", "TTLs that end 1115 years late", "RESTORE", "Possible. Nothing was changed.")
	got = godwit(t, nil, append(args, "--json")...)
	var p struct {
		Engine string
		File   struct {
			Kind           string
			Keys, Commands int64
		}
	}
	if err := json.Unmarshal([]byte(got.out), &p); err != nil || p.Engine != "file" || p.File.Kind != "multi-part aof" || p.File.Keys != 300 || p.File.Commands < 50 {
		t.Errorf("--json: %+v, %v", p, err)
	}
	// What a server would cut is said; what no server loads is refused, with its place.
	parts, err := filepath.Glob(filepath.Join(path, "*.incr.aof"))
	if err != nil || len(parts) != 1 {
		t.Fatalf("%v, %v", parts, err)
	}
	text, err := os.ReadFile(parts[0])
	if err != nil {
		t.Fatal(err)
	}
	put := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(parts[0], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(text[:len(text)-3])
	mustContain(t, "plan", godwit(t, nil, args...).out, "ends      cut: ", "of its tail are left out", "aof-load-truncated", "Possible, with 1 warning")
	broken := append([]byte{}, text...)
	broken[len(text)/2] ^= 0xff
	put(broken)
	for _, verb := range []string{"plan", "run"} {
		args[0] = verb
		got = godwit(t, nil, args...)
		if got.code != status.ExitRefused {
			t.Errorf("%s: exit code %d", verb, got.code)
		}
		mustContain(t, verb, got.out+got.err, parts[0]+": byte ", "redis-check-aof")
	}
	if n, err := sandboxtest.Client(t, target).Do(t.Context(), "DBSIZE"); err != nil || n != int64(0) {
		t.Errorf("the target has %v keys (%v)", n, err)
	}
}

func TestFilesThatAreNoSource(t *testing.T) {
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	dir := t.TempDir()
	for _, row := range []struct {
		from string
		more []string
		code int
		text string
	}{
		{"file:" + filepath.Join(dir, "none.rdb"), nil, status.ExitFailed, "none.rdb: no such file or directory"},
		{"file:" + dir, nil, status.ExitFailed, "no file in this directory ends in .manifest"},
		{"file:", nil, status.ExitUsage, "no path after file:"},
		{"file://host/dump.rdb", nil, status.ExitUsage, "names a host"},
		{"file:dump.rdb", []string{"--cutover", "auto"}, status.ExitUsage, "a file takes no writes"},
		{"file:dump.rdb", []string{"--verify", "before-cutover"}, status.ExitUsage, "hint: leave it out; once it is loaded, load the file into a server of its own"},
		{"file:dump.rdb", []string{"--from-password-file", "x"}, status.ExitUsage, "the source is a file"},
	} {
		for _, verb := range []string{"plan", "run"} {
			got := godwit(t, nil, append([]string{verb, "--from", row.from, "--to", target.Address(), "--state-dir", t.TempDir()}, row.more...)...)
			if got.code != row.code || !strings.Contains(got.err, row.text) {
				t.Errorf("%s --from %s %v: exit code %d: %s", verb, row.from, row.more, got.code, got.err)
			}
		}
	}
}

// The run ends by itself. Other verbs say that there is nothing for them to do.
func TestRunOfAFile(t *testing.T) {
	source, path := written(t, "redis-7.0", 2000, 2000)
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--maxmemory", "2mb"}})
	dir := t.TempDir()
	run := start(t, nil, "run", "--from", "file:"+path, "--to", target.Address(), "--state-dir", dir)
	await(t, dir, func(s migrate.Status) bool {
		return s.Running && s.Phase == migrate.Copying && len(s.Links) == 1 && strings.Contains(s.Links[0].Reason, "OOM")
	})
	for _, verb := range []string{"cutover", "rollback", "complete", "verify"} {
		got := godwit(t, nil, verb, "--state-dir", dir)
		if got.code == 0 || !strings.Contains(got.err, "no "+verb+": the source of migration default is a file") || !strings.Contains(got.err, "\nhint: ") {
			t.Errorf("%s: exit code %d: %s%s", verb, got.code, got.out, got.err)
		}
	}
	if _, err := sandboxtest.Client(t, target).Do(t.Context(), "CONFIG", "SET", "maxmemory", "0"); err != nil {
		t.Fatal(err)
	}
	if code := run.wait(t); code != 0 {
		t.Fatalf("exit code %d: %s%s", code, &run.out, &run.err)
	}
	mustContain(t, "run", run.out.String(), "loading "+path, "completed: "+target.Address()+" was given ")
	if err := source.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustEqual(t, source, target)
	got := godwit(t, nil, "run", "--from", "file:"+path, "--to", target.Address(), "--state-dir", dir)
	if got.code != status.ExitRefused || !strings.Contains(got.err, "--replace") || !strings.Contains(got.err, "it was loaded already") {
		t.Errorf("a second time: exit code %d: %s", got.code, got.err)
	}
}

// An abort leaves what was loaded, with the TTLs that belong to it, whether somebody runs
// it or not, and the file is there or not.
func TestAbortOfAFile(t *testing.T) {
	_, path := written(t, "redis-7.0", 2000, 2000)
	for _, running := range []bool{true, false} {
		target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--maxmemory", "2mb"}})
		dir := t.TempDir()
		run := start(t, nil, "run", "--from", "file:"+path, "--to", target.Address(), "--state-dir", dir)
		await(t, dir, func(s migrate.Status) bool { return len(s.Links) == 1 && strings.Contains(s.Links[0].Reason, "OOM") })
		if !running {
			run.stop()
			if code := run.wait(t); code != status.ExitInterrupted {
				t.Errorf("exit code %d: %s", code, &run.err)
			}
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
		verb(t, dir, "abort", "keeps what it was given of the file: ", "keys of the snapshot")
		client := sandboxtest.Client(t, target)
		for _, key := range client.Redis().Keys(t.Context(), "*").Val() {
			if at := client.Redis().PExpireTime(t.Context(), key).Val(); at > 100*365*24*time.Hour || strings.HasPrefix(key, "godwit:") {
				t.Errorf("%s expires at %v", key, at)
			}
		}
	}
}

// However often it is killed, it goes on, and nothing is lost or doubled.
func TestKilledWhileItLoads(t *testing.T) {
	source, path := written(t, "redis-7.0", 8000, 30_000)
	targets := map[string][]*sandbox.Server{
		"a server":  {sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})},
		"a cluster": sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{}).Nodes()[:3],
	}
	if err := source.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(7, 8))
	for name, servers := range targets {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for kills := 0; ; kills++ {
				cmd, output := program(t, "run", "--from", "file:"+path, "--to", servers[0].Address(), "--state-dir", dir)
				// Ever later, for a slow machine to get to its end.
				timer := time.AfterFunc(time.Duration(100+150*kills+rng.IntN(300))*time.Millisecond, func() { _ = cmd.Process.Kill() })
				_ = cmd.Wait() // the exit code is looked at
				timer.Stop()
				code := cmd.ProcessState.ExitCode()
				if code == 0 || code == status.ExitRefused && strings.Contains(output.String(), "it was loaded already: migration default was completed at ") {
					t.Logf("killed %d times:\n%s", kills, output)
					break
				}
				if code != -1 || kills > 50 {
					t.Fatalf("after %d kills: exit code %d: %s", kills, code, output)
				}
			}
			mustEqual(t, source, servers...)
		})
	}
}
