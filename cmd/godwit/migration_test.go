package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/status"
	"godwit/internal/status/live"
)

// pair are two servers, the first of them with keys.
func pair(t *testing.T, o sandbox.Options) (source, target *sandbox.Server) {
	t.Helper()
	source = sandboxtest.Start(t, "redis-7.0", o)
	target = sandboxtest.Start(t, "valkey-8.1", o)
	err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 3000, Seed: 1, NoFieldTTLs: true})
	if err != nil {
		t.Fatal(err)
	}
	return source, target
}

// background is a verb that runs in the test's own process.
type background struct {
	out, err buffer
	stop     context.CancelFunc
	ended    chan int
}

// start runs a verb until it ends or the test does.
func start(t *testing.T, env []string, args ...string) *background {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	b := &background{stop: cancel, ended: make(chan int, 1)}
	go func() {
		b.ended <- execute(ctx, args, streams{in: strings.NewReader(""), out: &b.out, err: &b.err, env: environment(env...)})
		close(b.ended)
	}()
	t.Cleanup(func() {
		cancel()
		<-b.ended
	})
	return b
}

// wait returns the exit code of the verb.
func (b *background) wait(t *testing.T) int {
	t.Helper()
	select {
	case code := <-b.ended:
		return code
	case <-time.After(30 * time.Second):
		t.Fatalf("still running:\n%s%s", &b.out, &b.err)
		return 0
	}
}

// await asks `godwit status --json` until it is as wanted.
func await(t *testing.T, dir string, wanted func(migrate.Status) bool) migrate.Status {
	t.Helper()
	var s migrate.Status
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		got := godwit(t, nil, "status", "--json", "--state-dir", dir)
		if got.code != 0 {
			continue // it has not begun
		}
		if err := json.Unmarshal([]byte(got.out), &s); err != nil {
			t.Fatalf("%v: %s", err, got.out)
		}
		if wanted(s) {
			return s
		}
	}
	t.Fatalf("not as wanted: %+v", s)
	return s
}

func ready(s migrate.Status) bool { return s.Ready }

// verb runs a verb on a state directory; it must succeed and print every part.
func verb(t *testing.T, dir, line string, parts ...string) {
	t.Helper()
	got := godwit(t, nil, append(strings.Fields(line), "--state-dir", dir)...)
	if got.code != 0 || got.err != "" {
		t.Fatalf("%s: exit code %d: %s", line, got.code, got.err)
	}
	mustContain(t, line, got.out, parts...)
}

func TestAWholeMigration(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	dir := t.TempDir()
	run := start(t, nil, "run", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir, "--listen", "127.0.0.1:0")
	s := await(t, dir, ready)
	if s.Phase != migrate.Following || !s.Running || s.Engine != "relay" || s.Target.Keys < 3000 || s.Links[0].State != "streaming" {
		t.Errorf("status: %+v", s)
	}
	verb(t, dir, "status", "default: following, ready\n", source.Address(), "Redis 7.0", "Valkey 8.1", "\nnext:\n", "godwit cutover")
	verb(t, dir, "cutover --dry-run", "FAILOVER TO", "REPLICAOF NO ONE", "planned", "nothing was changed", "gone for good:\n", "\n  redis-cli -h ")
	if s := await(t, dir, ready); s.Phase != migrate.Following {
		t.Errorf("a dry run led to phase %s", s.Phase)
	}
	verb(t, dir, "cutover default", "promote", "done", "cutover done, writes stalled for ")
	await(t, dir, func(s migrate.Status) bool {
		return s.Phase == migrate.Switched && s.Ready && s.Target.Role == "primary"
	})
	verb(t, dir, "rollback --json", `"direction":"rollback","done":true`)
	await(t, dir, func(s migrate.Status) bool { return s.Phase == migrate.RolledBack && s.Ready })
	verb(t, dir, "cutover --no-kill --max-pause 2s", "cutover done")
	await(t, dir, ready)
	verb(t, dir, "complete --dry-run", "nothing was changed")
	verb(t, dir, "complete", "REPLICAOF NO ONE")
	if code := run.wait(t); code != 0 {
		t.Errorf("run: exit code %d: %s", code, &run.err)
	}
	mustContain(t, "run", run.out.String(), "cutover done", "rollback done", "default: completed\n")
	verb(t, dir, "status", "default: completed\n")
}

func TestRunAsJSON(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	dir := t.TempDir()
	run := start(t, nil, "run", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir, "--output", "json", "--cutover", "auto", "--rollback-window", "0")
	if code := run.wait(t); code != 0 {
		t.Fatalf("exit code %d: %s", code, &run.err)
	}
	lines := strings.Split(strings.TrimSpace(run.out.String()), "\n")
	seen := map[string]int{}
	var last struct {
		Type   string
		Result live.Result
	}
	for _, line := range lines {
		last.Type = ""
		if err := json.Unmarshal([]byte(line), &last); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		seen[last.Type]++
	}
	if last.Type != "result" || seen["result"] != 1 || seen["event"] == 0 || seen["status"] == 0 {
		t.Errorf("lines by type %v, the last a %s", seen, last.Type)
	}
	if last.Result.ExitCode != 0 || last.Result.Status.Phase != migrate.Completed || last.Result.Status.Cutover.Switches != 1 {
		t.Errorf("result: %+v", last.Result)
	}
}

// Interrupted, run leaves what the next one needs; abort works without a
// process, with the password from the environment.
func TestInterruptThenGoOnThenAbort(t *testing.T) {
	const password = "a secret of the servers"
	source, target := pair(t, sandbox.Options{Password: password})
	env := []string{"GODWIT_FROM_PASSWORD=" + password, "GODWIT_TO_PASSWORD=" + password}
	dir := t.TempDir()
	args := []string{"run", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir, "--name", "sessions"}
	run := start(t, env, args...)
	await(t, dir, ready)

	second := godwit(t, env, args...)
	if second.code != status.ExitUsage || !strings.Contains(second.err, "migration sessions is already being run, by process ") {
		t.Errorf("a second run: exit code %d: %s", second.code, second.err)
	}
	run.stop()
	if code := run.wait(t); code != status.ExitInterrupted {
		t.Errorf("exit code %d", code)
	}
	mustContain(t, "error", run.err.String(), "error: interrupted\nhint: the same `godwit run` goes on from here")
	if s := await(t, dir, func(migrate.Status) bool { return true }); s.Running || s.Phase != migrate.Following {
		t.Errorf("status of a dead run: %+v", s)
	}
	verb(t, dir, "status", "sessions: following, but no process runs it", "next:\n")

	again := start(t, env, args...)
	if s := await(t, dir, ready); s.Copy.FullResyncs > 0 {
		t.Errorf("going on took %d full resyncs", s.Copy.FullResyncs)
	}
	again.stop()
	again.wait(t)
	for _, env := range [][]string{nil, {env[0], "GODWIT_TO_PASSWORD=wrong"}} {
		if got := godwit(t, env, "abort", "--state-dir", dir); got.code != status.ExitFailed || strings.Contains(got.err, password) {
			t.Errorf("abort with a bad password: exit code %d: %s", got.code, got.err)
		}
	}
	if got := godwit(t, env, "abort", "sessions", "--state-dir", dir); got.code != 0 {
		t.Fatalf("abort: exit code %d: %s", got.code, got.err)
	}
	role, err := sandboxtest.Client(t, target).Info(t.Context(), "replication")
	if err != nil || role["role"] != "master" {
		t.Errorf("the target is a %s after the abort (%v)", role["role"], err)
	}
	for _, text := range []string{run.out.String(), run.err.String(), again.out.String(), second.err} {
		if strings.Contains(text, password) {
			t.Errorf("a password is printed: %s", text)
		}
	}
}

// What --drop leaves out is counted where a user looks.
func TestDroppedIsShown(t *testing.T) {
	source := sandboxtest.Start(t, "redis-8.0", sandbox.Options{})
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	client := sandboxtest.Client(t, source)
	expire := func(key string) {
		for _, args := range [][]any{{"HSET", key, "f", 1}, {"HEXPIRE", key, 1000, "FIELDS", 1, "f"}} {
			if _, err := client.Do(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	expire("before")
	dir := t.TempDir()
	run := start(t, nil, "run", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir, "--drop", "hash-field-ttl")
	await(t, dir, ready)
	expire("after")
	expire("after that")
	want := migrate.DroppedStatus{Feature: "hash-field-ttl", Server: target.Address(), Count: 3, Copy: 1, Stream: 2}
	await(t, dir, func(s migrate.Status) bool { return len(s.Dropped) == 1 && s.Dropped[0] == want })
	verb(t, dir, "status --json", `"dropped":[{"feature":"hash-field-ttl","server":"`+target.Address()+`","count":3,"copy":1,"stream":2}]`)
	text := "dropped hash-field-ttl: 3 left out, 1 in the copy and 2 in the stream; " + target.Address() + " does not have it"
	verb(t, dir, "status", text)
	verb(t, dir, "abort", "")
	if code := run.wait(t); code != 0 {
		t.Errorf("exit code %d: %s", code, run.err.String())
	}
	mustContain(t, "run", run.out.String(), `hash-field-ttl is left out of the copy and counted, first at key "before" of db 0`,
		`hash-field-ttl is left out of the stream and counted, first at key "after" of db 0`, text)
	verb(t, dir, "status", text)
}

// A switch that gives up is exit code 5, from the process that asked for it.
func TestASwitchThatGivesUp(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	dir := t.TempDir()
	start(t, nil, "run", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir)
	await(t, dir, ready)
	if err := target.Pause(); err != nil {
		t.Fatal(err)
	}
	// Something must be missing at the target, or there is nothing to wait for.
	if _, err := sandboxtest.Client(t, source).Do(t.Context(), "SET", "after", "the pause"); err != nil {
		t.Fatal(err)
	}
	got := godwit(t, nil, "cutover", "--max-pause", "300ms", "--state-dir", dir)
	if err := target.Resume(); err != nil {
		t.Fatal(err)
	}
	if got.code != status.ExitGaveUp || !strings.HasPrefix(got.err, "error: ") || !strings.Contains(got.err, "\nhint: ") {
		t.Errorf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	if _, err := sandboxtest.Client(t, source).Do(t.Context(), "SET", "after", "the cutover"); err != nil {
		t.Errorf("the source does not serve as before: %v", err)
	}
}

func TestListenServesReadOnly(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	dir := t.TempDir()
	port, err := sandbox.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	start(t, nil, "run", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir, "--listen", address)
	await(t, dir, ready)
	for path, text := range map[string]string{"/": "<title>following · default · godwit</title>", "/status": `"phase":"following"`, "/metrics": "\ngodwit_ready 1\n"} {
		mustContain(t, path, get(t, "http://"+address+path), text)
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }() // read to its end
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestInspect(t *testing.T) {
	source, _ := pair(t, sandbox.Options{Password: "hidden"})
	env := []string{"GODWIT_PASSWORD=hidden"}
	got := godwit(t, env, "inspect", source.Address())
	if got.code != 0 {
		t.Fatal(got.err)
	}
	mustContain(t, "inspect", got.out, "redis://"+source.Address(), "Redis 7.0", "standalone", "primary", "db 0:")
	got = godwit(t, env, "inspect", source.Address(), "--json")
	if got.code != 0 || !json.Valid([]byte(got.out)) || strings.Contains(got.out, "hidden") {
		t.Errorf("--json: exit code %d: %s%s", got.code, got.out, got.err)
	}
	got = godwit(t, nil, "inspect", source.Address())
	if got.code != status.ExitFailed || !strings.Contains(got.err, "NOAUTH") || !strings.Contains(got.err, "hint: give the right user and password") {
		t.Errorf("without a password: exit code %d: %s", got.code, got.err)
	}
}

func TestDemo(t *testing.T) {
	servers := sandboxtest.Binary(t, "redis-7.0").Path
	dir := servers[:strings.Index(servers, "/redis-7.0/")]
	got := godwit(t, nil, "demo", "--servers", dir, "--keys", "5000", "--writers", "4")
	if got.code != 0 {
		t.Fatalf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	mustContain(t, "demo", got.out, "second cutover", "seen by a writer", "writes acknowledged", "keys compared", "Nothing was lost, nothing was doubled, and both servers hold the same.")
	got = godwit(t, nil, "demo", "--servers", t.TempDir())
	if got.code != status.ExitFailed || !strings.Contains(got.err, "hint: run scripts/get-servers.sh redis-7.0") {
		t.Errorf("without servers: exit code %d: %s", got.code, got.err)
	}
}
