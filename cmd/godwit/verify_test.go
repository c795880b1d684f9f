package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/status"
	"godwit/internal/verify"
)

// twins are two servers with the same keys: the one was a replica of the other.
func twins(t *testing.T, o sandbox.Options) (source, target *sandbox.Server) {
	t.Helper()
	source = sandboxtest.Start(t, "redis-7.0", o)
	target = sandboxtest.Start(t, "valkey-8.1", o)
	err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 3000, Seed: 1, NoFieldTTLs: true})
	if err != nil {
		t.Fatal(err)
	}
	if o.Password != "" {
		send(t, target, "CONFIG SET masterauth "+o.Password)
	}
	send(t, target, fmt.Sprintf("REPLICAOF 127.0.0.1 %d", source.Port()))
	client := sandboxtest.Client(t, target)
	for {
		info, err := client.Info(t.Context(), "replication")
		if err != nil {
			t.Fatal(err)
		}
		if info["master_link_status"] == "up" {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	send(t, target, "REPLICAOF NO ONE")
	return source, target
}

// send sends commands to a server, a line each.
func send(t *testing.T, s *sandbox.Server, lines ...string) {
	t.Helper()
	client := sandboxtest.Client(t, s)
	for _, line := range lines {
		var args []any
		for word := range strings.FieldsSeq(line) {
			args = append(args, word)
		}
		if _, err := client.Do(t.Context(), args...); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
	}
}

// between runs verify on two servers.
func between(t *testing.T, dir string, source, target *sandbox.Server, more ...string) outcome {
	t.Helper()
	args := []string{"verify", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir}
	return godwit(t, nil, append(args, more...)...)
}

func TestVerifyFindsEqual(t *testing.T) {
	source, target := twins(t, sandbox.Options{})
	dir := t.TempDir()
	got := between(t, dir, source, target)
	if got.code != 0 || !strings.HasPrefix(got.out, "EQUAL: ") || got.err != "" {
		t.Fatalf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	mustContain(t, "verify", got.out, "source  redis://"+source.Address(), "target  redis://"+target.Address(), "keys/s", "method    snapshot", "took ", "id ")
	got = between(t, dir, source, target, "--json", "--sample", "50%", "--db", "0")
	var r verify.Report
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != 0 || got.err != "" {
		t.Fatalf("--json: exit code %d, %v: %s%s", got.code, err, got.out, got.err)
	}
	if r.Result != verify.Equal || r.Scope.Sample != 0.5 || len(r.Scope.DBs) != 1 || r.SourceRead.Keys == 0 {
		t.Errorf("--json: %+v", r)
	}
	mustContain(t, "show", godwit(t, nil, "verify", "show", "--state-dir", dir).out, "EQUAL IN PART: ", "a sample of 50%, db 0", r.ID)
}

func TestVerifyFindsDifferencesAndRepairsThem(t *testing.T) {
	source, target := twins(t, sandbox.Options{})
	send(t, source, "SET missing 1", "SET changed one", "RPUSH type a", "SET ttl 1 PX 1000000000", "SELECT 0")
	send(t, target, "SET extra 1", "SET changed two", "SADD type a", "SET ttl 1")
	dir := t.TempDir()
	got := between(t, dir, source, target)
	if got.code != status.ExitDifferences || !strings.HasPrefix(got.out, "DIFFERENT: 5 differences, ") || got.err != "" {
		t.Fatalf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	command := fmt.Sprintf("godwit verify --from redis://%s --to redis://%s --state-dir %s", source.Address(), target.Address(), dir)
	mustContain(t, "verify", got.out, "missing  extra  type  value  ttl  total\n", "      1      1     1      1    1      5\n",
		`"one"`, `"two"`, "samples:", "next:\n  "+command+" --repair\n", command+" --repair=delete-extra ", "godwit verify show ")
	list := godwit(t, nil, "verify", "show", "--state-dir", dir)
	mustContain(t, "show", list.out, `missing  db 0  "missing"`, `extra    db 0  "extra"`, `type     db 0  "type"     list / set`)

	got = between(t, dir, source, target, "--repair")
	if got.code != status.ExitDifferences || !strings.HasPrefix(got.out, "DIFFERENT: 1 of 5 differences not repaired") {
		t.Fatalf("--repair: exit code %d: %s%s", got.code, got.out, got.err)
	}
	mustContain(t, "--repair", got.out, "4 written as the source has them", "1 extra at the target and kept", "next:\n  "+command+" --repair=delete-extra\n")
	got = between(t, dir, source, target, "--repair=delete-extra")
	if got.code != 0 || !strings.HasPrefix(got.out, "EQUAL after the repair of 1 key: ") {
		t.Fatalf("--repair=delete-extra: exit code %d: %s%s", got.code, got.out, got.err)
	}
	if got = between(t, dir, source, target); got.code != 0 {
		t.Errorf("after the repairs: exit code %d: %s", got.code, got.out)
	}
}

// docs/verify.md names what a user needs for a comparison, and what for a repair.
func TestVerifyPermissions(t *testing.T) {
	source, target := twins(t, sandbox.Options{})
	const (
		snapshots = "~* +psync +replconf +info +ping +time"
		keys      = "+multi +exec +watch +select +scan +exists +dump +pttl +pexpiretime +memory|usage +function|list +@read"
		asks      = "+acl|dryrun +acl|whoami"
		repairs   = "+restore +del +function|load +function|delete"
	)
	documented, err := os.ReadFile("../../docs/verify.md")
	if err != nil {
		t.Fatal(err)
	}
	rules := strings.ReplaceAll(string(documented), `\|`, "|")
	mustContain(t, "docs/verify.md", rules, "`"+snapshots+"`", "`"+keys+"`", "`"+repairs+"`", "`"+asks+"`")
	permit := func(s *sandbox.Server, rules string) {
		t.Helper()
		send(t, s, "ACL SETUSER eye on >secret "+rules)
	}
	permit(source, snapshots)
	permit(target, snapshots)
	dir := t.TempDir()
	compare := func(more ...string) outcome {
		t.Helper()
		args := []string{"verify", "--from", "redis://eye@" + source.Address(), "--to", "redis://eye@" + target.Address(), "--state-dir", dir}
		return godwit(t, []string{"GODWIT_FROM_PASSWORD=secret", "GODWIT_TO_PASSWORD=secret"}, append(args, more...)...)
	}
	if got := compare(); got.code != 0 {
		t.Errorf("equal: exit code %d: %s%s", got.code, got.out, got.err)
	}
	send(t, source, "SET missing 1", "RPUSH changed a b c", "ZADD scores 1 a", "XADD stream 1-1 f v")
	send(t, target, "SET extra 1", "RPUSH changed a c b", "ZADD scores 2 a", "XADD stream 1-1 f w")
	got := compare()
	if got.code != status.ExitFailed || !strings.Contains(got.err, "NOPERM") || !strings.Contains(got.err, "\nhint: allow the command to this ACL user") {
		t.Errorf("without the rules for keys: exit code %d: %s%s", got.code, got.out, got.err)
	}
	permit(source, keys)
	permit(target, keys)
	for _, method := range []string{"snapshot", "scan"} {
		if got := compare("--method", method); got.code != status.ExitDifferences || !strings.HasPrefix(got.out, "DIFFERENT: 5 differences, ") || strings.Contains(got.out, "NOPERM") {
			t.Errorf("%s: exit code %d: %s%s", method, got.code, got.out, got.err)
		}
	}
	permit(source, "-psync")
	if got := compare("--method", "snapshot"); got.code != status.ExitFailed || !strings.Contains(got.err, "NOPERM") || !strings.Contains(got.err, "\nhint: permit replication to this user (+psync +replconf), or use --method scan") {
		t.Errorf("without PSYNC: exit code %d: %s", got.code, got.err)
	}
	if got := compare(); got.code != status.ExitDifferences || !strings.Contains(got.out, "method    scan: SCAN and DUMP of each side; the source: "+source.Address()+": PSYNC: NOPERM") {
		t.Errorf("without PSYNC, by itself: exit code %d: %s%s", got.code, got.out, got.err)
	}
	permit(source, asks)
	if got := compare(); !strings.Contains(got.out, "method    scan: SCAN and DUMP of each side; the source "+source.Address()+": PSYNC is not permitted to user eye") {
		t.Errorf("without PSYNC: %s%s", got.out, got.err)
	}
	if got := compare("--method", "snapshot"); got.code != status.ExitFailed || !strings.Contains(got.err, "PSYNC is not permitted to user eye\nhint: use --method scan") {
		t.Errorf("without PSYNC: exit code %d: %s", got.code, got.err)
	}
	permit(target, repairs)
	if got := compare("--repair=delete-extra"); got.code != 0 {
		t.Errorf("repair: exit code %d: %s%s", got.code, got.out, got.err)
	}
}

// A standalone server and a cluster can hold the same.
func TestVerifyACluster(t *testing.T) {
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Cluster(t, "valkey-9.1", sandbox.ClusterOptions{}).Nodes()
	from := sandboxtest.Client(t, source)
	to := make([]*server.Client, len(target))
	for i, node := range target {
		to[i] = sandboxtest.Client(t, node)
	}
	for i := range 300 {
		key := fmt.Sprintf("key:%d", i)
		slot, err := to[0].Do(t.Context(), "CLUSTER", "KEYSLOT", key)
		if err != nil {
			t.Fatal(err)
		}
		for _, client := range []*server.Client{from, to[slot.(int64)/(16384/3+1)]} {
			if _, err := client.Do(t.Context(), "RPUSH", key, "a", i); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, method := range []string{"snapshot", "scan"} {
		dir := t.TempDir()
		got := between(t, dir, source, target[1], "--method", method)
		if got.code != 0 || !strings.HasPrefix(got.out, "EQUAL: 300 keys compared, ") {
			t.Errorf("%s: exit code %d: %s%s", method, got.code, got.out, got.err)
		}
	}
	send(t, source, "SET missing 1", "RPUSH key:7 more")
	if got := between(t, t.TempDir(), source, target[1]); got.code != status.ExitDifferences || !strings.HasPrefix(got.out, "DIFFERENT: 2 differences, ") {
		t.Errorf("exit code %d: %s%s", got.code, got.out, got.err)
	}
}

func TestVerifyThatCannotTell(t *testing.T) {
	source, target := twins(t, sandbox.Options{Password: "hidden"})
	dir := t.TempDir()
	env := []string{"GODWIT_FROM_PASSWORD=hidden", "GODWIT_TO_PASSWORD=hidden"}
	for name, test := range map[string]struct {
		args []string
		env  []string
		want string // of what is printed as the error
	}{
		"unreachable":  {[]string{"--from", source.Address(), "--to", "127.0.0.1:1"}, env, "error: target: 127.0.0.1:1: dial: "},
		"password":     {[]string{"--from", source.Address(), "--to", target.Address()}, env[:1], "error: target: "},
		"no such host": {[]string{"--from", "no-such-host.invalid", "--to", target.Address()}, env, "error: source: "},
		"too short":    {[]string{"--from", source.Address(), "--to", target.Address(), "--max-rate", "1kb", "--max-duration", "300ms"}, env, "error: not done within 300ms"},
	} {
		got := godwit(t, test.env, append(append([]string{"verify"}, test.args...), "--state-dir", dir)...)
		if got.code != status.ExitFailed || !strings.HasPrefix(got.err, test.want) || !strings.Contains(got.err, "\nhint: ") {
			t.Errorf("%s: exit code %d: %s%s", name, got.code, got.out, got.err)
		}
		if strings.Contains(got.out+got.err, "hidden") {
			t.Errorf("%s: a password is printed: %s%s", name, got.out, got.err)
		}
	}
}

func TestVerifyInterrupted(t *testing.T) {
	source, target := twins(t, sandbox.Options{})
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	ctx, interrupt := context.WithCancel(ctx)
	time.AfterFunc(300*time.Millisecond, interrupt)
	got := godwitContext(ctx, nil, "verify", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir, "--max-rate", "1kb")
	if got.code != status.ExitInterrupted || !strings.HasPrefix(got.out, "COULD NOT TELL: interrupted\n") || !strings.HasPrefix(got.err, "error: interrupted\n") {
		t.Errorf("exit code %d: %s%s", got.code, got.out, got.err)
	}
}

// A scan that was not done goes on where it was, by the same command.
func TestVerifyGoesOn(t *testing.T) {
	source, target := twins(t, sandbox.Options{})
	send(t, source, "SET missing 1")
	dir := t.TempDir()
	got := between(t, dir, source, target, "--method", "scan", "--max-rate", "300kb", "--max-duration", "2s")
	if got.code == 0 || !strings.Contains(got.out+got.err, "not done within 2s") {
		t.Fatalf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	got = between(t, dir, source, target, "--method", "scan", "--keys", "nothing*")
	if got.code != 0 || got.err != "" {
		t.Errorf("another comparison: exit code %d: %s%s", got.code, got.out, got.err)
	}
	got = between(t, dir, source, target, "--method", "scan")
	if got.code != status.ExitDifferences || !strings.HasPrefix(got.err, "going on with the comparison of ") || !strings.HasPrefix(got.out, "DIFFERENT: 1 difference, ") {
		t.Errorf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	got = between(t, dir, source, target, "--method", "scan")
	if got.code != status.ExitDifferences || got.err != "" {
		t.Errorf("a new one: exit code %d: %s%s", got.code, got.out, got.err)
	}
}

func TestVerifyARunningMigration(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	dir := t.TempDir()
	run := start(t, nil, "run", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir, "--name", "orders")
	await(t, dir, ready)
	got := godwit(t, nil, "verify", "--state-dir", dir) // the only one there is
	if got.code != 0 || !strings.HasPrefix(got.out, "EQUAL: ") || got.err != "" {
		t.Fatalf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	mustContain(t, "verify", got.out, "both at the same offset", "holds at  offset ", "held      the target's feed for ")
	s := await(t, dir, func(s migrate.Status) bool { return s.Verify.State == migrate.VerifyEqual })
	if !s.Verify.Verified || s.Verify.Partial || s.Verify.SourceKeys < 3000 || s.Verify.ReplID == "" {
		t.Errorf("status: %+v", s.Verify)
	}
	verb(t, dir, "status orders", "verify  equal: ")
	verb(t, dir, "verify show orders", "EQUAL: ", s.Verify.ID)
	verb(t, dir, "verify show "+s.Verify.ID, "EQUAL: ")
	verb(t, dir, "verify show --list", "migration orders  EQUAL: ")
	for _, test := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"users"}, status.ExitFailed, "error: no godwit process runs the migration users\nhint: start it"},
		{[]string{"orders", "--drop", "function"}, status.ExitUsage, "error: --drop is what the migration was told; it cannot be told again\nhint: leave it out\n"},
		{[]string{"orders", "--max-rate", "1kb", "--max-duration", "500ms"}, status.ExitFailed, "error: not done within 500ms"},
	} {
		got := godwit(t, nil, append(append([]string{"verify"}, test.args...), "--state-dir", dir)...)
		if got.code != test.code || !strings.HasPrefix(got.err, test.want) {
			t.Errorf("%v: exit code %d: %s%s", test.args, got.code, got.out, got.err)
		}
	}
	got = godwit(t, nil, "verify", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir)
	if got.code != 0 || !strings.HasPrefix(got.err, "the migration orders runs between the two: godwit verify orders ") {
		t.Errorf("apart: exit code %d: %s%s", got.code, got.out, got.err)
	}
	verb(t, dir, "cutover orders", "cutover done")
	await(t, dir, ready)
	got = godwit(t, nil, "verify", "orders", "--json", "--state-dir", dir)
	var r verify.Report
	if err := json.Unmarshal([]byte(got.out), &r); err != nil || got.code != 0 || r.Source != "redis://"+target.Address() || r.Target != "redis://"+source.Address() {
		t.Errorf("after the cutover: exit code %d, %v: %s%s", got.code, err, got.out, got.err)
	}
	verb(t, dir, "complete orders", "")
	if code := run.wait(t); code != 0 {
		t.Errorf("run: exit code %d: %s", code, run.err.String())
	}
	got = godwit(t, nil, "verify", "orders", "--state-dir", dir)
	if got.code != status.ExitFailed || !strings.HasPrefix(got.err, "error: no godwit process runs the migration orders\nhint: ") {
		t.Errorf("of a migration that does not run: exit code %d: %s", got.code, got.err)
	}
	verb(t, dir, "verify show orders", "EQUAL: ")
}

// Ctrl-C ends the comparison in the process that runs the migration, and no more.
func TestVerifyARunningMigrationInterrupted(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	dir := t.TempDir()
	start(t, nil, "run", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir)
	await(t, dir, ready)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan outcome, 1)
	go func() { ended <- godwitContext(ctx, nil, "verify", "--state-dir", dir, "--max-rate", "1kb") }()
	await(t, dir, func(s migrate.Status) bool {
		return s.Verify.State == migrate.VerifyRunning && s.Verify.SourceBytes > 0
	})
	interrupt()
	got := <-ended
	if got.code != status.ExitInterrupted || got.err != "error: interrupted\nhint: the comparison was cancelled; the migration default goes on\n" {
		t.Errorf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	s := await(t, dir, func(s migrate.Status) bool { return s.Verify.State != migrate.VerifyRunning && s.Ready })
	if s.Phase != migrate.Following || s.Verify.State != migrate.VerifyUnknown {
		t.Errorf("after it: %s, %+v", s.Phase, s.Verify)
	}
	verb(t, dir, "status", "verify  could not tell: it was cancelled")
}

func TestVerifyBeforeCutover(t *testing.T) {
	source, target := pair(t, sandbox.Options{})
	dir := t.TempDir()
	run := start(t, nil, "run", "--from", source.Address(), "--to", target.Address(), "--state-dir", dir, "--cutover", "auto", "--verify", "before-cutover")
	s := await(t, dir, func(s migrate.Status) bool { return s.Phase == migrate.Switched && s.Ready })
	if !s.Verify.Required || s.Verify.State != migrate.VerifyEqual {
		t.Errorf("switched, and %+v", s.Verify)
	}
	for end := (outcome{code: status.ExitFailed}); end.code != 0; { // the cutover may not have been left yet
		end = godwit(t, nil, "complete", "--state-dir", dir)
		if end.code != 0 && !strings.Contains(end.err, "another operation is under way") {
			t.Fatalf("complete: exit code %d: %s", end.code, end.err)
		}
	}
	if code := run.wait(t); code != 0 {
		t.Errorf("run: exit code %d: %s", code, run.err.String())
	}
	mustContain(t, "run", run.out.String(), "comparing "+target.Address()+" with "+source.Address())
}

// Servers among which clients have divided their keys are given one by one.
func TestVerifySeveralServers(t *testing.T) {
	one, target := twins(t, sandbox.Options{})
	other := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	send(t, other, "SET other 1", "SET missing 1", "SET both 1")
	send(t, one, "SET both 1")
	send(t, target, "SET other 1", "SET both 1")
	dir := t.TempDir()
	args := []string{"verify", "--from", one.Address(), "--from", other.Address(), "--to", target.Address(), "--state-dir", dir}
	got := godwit(t, nil, args...)
	if got.code != status.ExitDifferences || !strings.HasPrefix(got.out, "DIFFERENT: 2 differences, ") || got.err != "" {
		t.Fatalf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	both := one.Address() + ", " + other.Address() + " have it"
	mustContain(t, "verify", got.out, "missing  twice  total\n", `twice     db 0  "both"  `+both,
		fmt.Sprintf("source  redis://%s redis://%s  ", one.Address(), other.Address()),
		fmt.Sprintf("next:\n  godwit verify --from redis://%s --from redis://%s --to redis://%s --state-dir %s --repair\n", one.Address(), other.Address(), target.Address(), dir))
	got = godwit(t, nil, append(args, "--repair")...)
	if got.code != status.ExitDifferences {
		t.Fatalf("--repair: exit code %d: %s%s", got.code, got.out, got.err)
	}
	mustContain(t, "--repair", got.out, "DIFFERENT: 1 of 2 differences not repaired")
	mustContain(t, "show", godwit(t, nil, "verify", "show", "--state-dir", dir, "--format", "csv").out, "twice,0,0,both,text,", both)
	send(t, other, "DEL both")
	if got = godwit(t, nil, args...); got.code != 0 {
		t.Errorf("exit code %d: %s%s", got.code, got.out, got.err)
	}
}

// What has gone elsewhere by a mapping is compared by the same, as after the loading of a file.
func TestVerifyThroughAMapping(t *testing.T) {
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	target := sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	for db := range 3 {
		if _, err := sandboxtest.Client(t, source).Transaction(t.Context(), []any{"SELECT", db}, []any{"SET", "a", db}, []any{"SELECT", 0}); err != nil {
			t.Fatal(err)
		}
	}
	send(t, target, "SET a 0", "SET db1:a 1")
	dir := t.TempDir()
	through := []string{"--db-map", "1:prefix=db1:", "--db-map", "2:drop"}
	got := between(t, dir, source, target, through...)
	if got.code != 0 || !strings.HasPrefix(got.out, "EQUAL: 2 keys") {
		t.Fatalf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	if got = between(t, dir, source, target); got.code != status.ExitDifferences {
		t.Errorf("without it: exit code %d: %s%s", got.code, got.out, got.err)
	}
	send(t, target, "SET db1:a 7")
	got = between(t, dir, source, target, through...)
	if got.code != status.ExitDifferences {
		t.Fatalf("exit code %d: %s%s", got.code, got.out, got.err)
	}
	mustContain(t, "verify", got.out, `value     db 1  "a"`, " --db-map 0:0 --db-map 1:prefix=db1: --db-map 2:drop --state-dir "+dir+" --repair\n")
	if got = between(t, dir, source, target, append(through, "--repair")...); got.code != 0 {
		t.Errorf("--repair: exit code %d: %s%s", got.code, got.out, got.err)
	}
}
