package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"godwit/internal/status"
)

func TestBadUsage(t *testing.T) {
	dir := t.TempDir()
	both := []string{"run", "--state-dir", dir, "--from", "redis://127.0.0.1:1", "--to", "redis://127.0.0.1:2"}
	with := func(more ...string) []string { return append(append([]string{}, both...), more...) }
	for _, test := range []struct {
		args  []string
		error string
		hint  string
	}{
		{[]string{"fly"}, `unknown command "fly" for "godwit"`, "see `godwit --help`"},
		{[]string{"run", "--fly"}, "unknown flag: --fly", "see `godwit run --help`"},
		{[]string{"run", "now"}, `unknown command "now" for "godwit run"`, "see `godwit run --help`"},
		{[]string{"cutover", "a", "b"}, "accepts at most 1 arg(s), received 2", "see `godwit cutover --help`"},
		{[]string{"run", "--state-dir", dir}, "--from is missing", "for example --from redis://127.0.0.1:6379"},
		{both[:5], "--to is missing", "for example --to redis://127.0.0.1:6379"},
		{[]string{"run", "--from", "redis://a", "--to", "redis://b"}, "no state directory: neither XDG_STATE_HOME nor HOME is set", "give --state-dir"},
		{with("--from", "http://u:secret@h"), `--from: http://u:***@h: unknown scheme "http": expected redis://, rediss:// or unix://`, ""},
		{with("--from", "redis://127.0.0.1:2"), "a source is given twice, or is the target, too", ""},
		{[]string{"verify", "--from", "redis://h", "--from", "redis://h:6379", "--to", "redis://g", "--state-dir", dir}, "h:6379 is given twice", "give each source once"},
		{with("--shard-by", "crc32"), `shard by "crc32": it says how clients have divided their keys among several sources, and there is one`, "leave it out, or give --from for each of the servers"},
		{with("--from", "redis://127.0.0.1:3", "--shard-by", " "), "shard by: use crc32, crc16, or a program", ""},
		{with("--from", "redis://127.0.0.1:3", "--shard-by", "crc16", "--db-map", "1:drop"), `shard by "crc16" and a mapping of dbs: the rule is asked for names, and the mapping changes these`, "leave --shard-by out, and there is no way back; or move the keys to db 0 first"},
		{with("--to", "redis://127.0.0.1:1"), "source and target are the same address, 127.0.0.1:1", ""},
		{with("--cutover", "soon"), `invalid argument "soon" for "--cutover" flag: use manual, auto, never`, "see `godwit run --help`"},
		{with("--max-pause", "1"), `invalid argument "1" for "--max-pause" flag: time: missing unit in duration "1"`, "see `godwit run --help`"},
		{with("--rollback-window", "-1h"), `invalid argument "-1h" for "--rollback-window" flag: use a duration such as 24h, 0 for none, or unlimited`, "see `godwit run --help`"},
		{with("--spool-memory", "lots"), `invalid argument "lots" for "--spool-memory" flag: "lots" is not a size such as 64mb or 16gb`, "see `godwit run --help`"},
		{with("--drop", "function,hashes"), `invalid argument "function,hashes" for "--drop" flag: "hashes": use hash-field-ttl, function, stream, stream-idmp, vector-set, module, key-metadata, slot-import, geo-store`, "see `godwit run --help`"},
		{with("--output", "xml"), `invalid argument "xml" for "--output" flag: use text, json`, "see `godwit run --help`"},
		{with("--name", "../x"), `name "../x": use letters, digits, '.', '_' and '-', 64 at most`, ""},
		{with("--from-tls-ca", "ca.pem"), "--from-tls-... is given, and redis://127.0.0.1:1 is not encrypted", "use rediss:// for TLS"},
		{[]string{"run", "--state-dir", dir, "--from", "redis://:x@a", "--from-password-file", "x", "--to", "redis://b"}, "--from-password-file is given, and the URL has a password too", ""},
		{with("--to-password-file", "/nowhere/x"), "--to-password-file: open /nowhere/x: no such file or directory", ""},
		{with("-f", "/nowhere/x.yaml"), "migration file: open /nowhere/x.yaml: no such file or directory", ""},
		{with("--verify", "sometimes"), `invalid argument "sometimes" for "--verify" flag: use before-cutover`, "see `godwit run --help`"},
		{with("--verify", "before-cutover", "--cutover", "never"), "verify before-cutover: with --cutover never there is no cutover; use `godwit verify`", ""},
		{[]string{"verify", "a", "b"}, "accepts at most 1 arg(s), received 2", "see `godwit verify --help`"},
		{[]string{"verify", "a", "--from", "redis://h", "--state-dir", dir}, "a migration is named, and --from or --to is given too", "for a running migration leave --from and --to out"},
		{[]string{"verify", "--from", "redis://h", "--state-dir", dir}, "--to is missing", "for example --to redis://127.0.0.1:6379"},
		{[]string{"verify", "--from", "redis://h", "--to", "redis://h:6379", "--state-dir", dir}, "source and target are the same address, h:6379", ""},
		{[]string{"verify", "--from", "redis://h/3", "--to", "redis://g", "--state-dir", dir}, "a db in a URL: every db is compared with the same of the other side; leave it out", "--db 3 compares one db"},
		{[]string{"verify", "--method", "guess"}, `invalid argument "guess" for "--method" flag: use snapshot, scan`, "see `godwit verify --help`"},
		{[]string{"verify", "--sample", "101%"}, `invalid argument "101%" for "--sample" flag: use a share such as 1% or 0.01`, "see `godwit verify --help`"},
		{[]string{"verify", "--db", "0,x"}, `invalid argument "0,x" for "--db" flag: "x" is not the number of a db`, "see `godwit verify --help`"},
		{[]string{"verify", "--max-rate", "fast"}, `invalid argument "fast" for "--max-rate" flag: "fast" is not a size such as 64mb or 16gb`, "see `godwit verify --help`"},
		{[]string{"verify", "--max-duration", "-1s", "--state-dir", dir}, "--max-duration -1s: use a duration such as 10m, or 0 for no limit", ""},
		{[]string{"verify", "--samples", "-1", "--state-dir", dir}, "--samples -1: use 0 or more", ""},
		{[]string{"verify", "--repair=all"}, `invalid argument "all" for "--repair" flag: use --repair or --repair=delete-extra`, "see `godwit verify --help`"},
		{[]string{"verify", "show", "--kind", "odd"}, `invalid argument "odd" for "--kind" flag: "odd": use missing, extra, db, type, value, ttl, twice, unstable`, "see `godwit verify show --help`"},
		{[]string{"verify", "show", "--format", "xml"}, `invalid argument "xml" for "--format" flag: use table, csv, jsonl`, "see `godwit verify show --help`"},
		{[]string{"verify", "show", "--offset", "-1", "--state-dir", dir}, "--offset, --limit and --samples must not be negative", ""},
		{[]string{"audit"}, "what to audit is missing: a URL or a file", "for example `godwit audit redis://127.0.0.1:6379 --for 60s`, or --monitor-file FILE"},
		{[]string{"audit", "redis://h", "--monitor-file", "x"}, "a URL is given, and --monitor-file too", "give one of the two"},
		{[]string{"audit", "--monitor-file", "x", "--for", "5s"}, "--for and --monitor-share are for a server, and a file is given", "leave it out"},
		{[]string{"audit", "redis://h", "--for", "1ms"}, "--for 1ms: use at least 1s", ""},
		{[]string{"audit", "redis://h", "--monitor-share", "2"}, `invalid argument "2" for "--monitor-share" flag: use a share such as 1% or 0.01`, "see `godwit audit --help`"},
		{[]string{"cluster", "create", "a:1", "b:1"}, "a cluster takes three servers at least", "give the host:port of each server"},
		{[]string{"cluster", "rebalance", "a:1"}, "godwit cluster rebalance is not known", "use create, check or fix"},
		{[]string{"cluster", "check", "a:1", "b:1"}, "godwit cluster check takes one host:port", "any node of the cluster will do"},
		{[]string{"inspect"}, "accepts 1 arg(s), received 0", "see `godwit inspect --help`"},
		{[]string{"inspect", "redis://h:99999"}, "URL: redis://h:99999: port 99999 is not between 1 and 65535", ""},
		{[]string{"cutover", "--state-dir", dir, "--max-pause", "-1s"}, "--max-pause -1s: use at least 1ms", ""},
		{[]string{"status", "one", "--name", "two", "--state-dir", dir}, "two names are given, one and two", ""},
		{[]string{"demo", "--keys", "0"}, "--keys and --writers must be at least 1", ""},
	} {
		got := godwit(t, nil, test.args...)
		want := "error: " + test.error + "\n"
		if test.hint != "" {
			want += "hint: " + test.hint + "\n"
		}
		if got.code != status.ExitUsage || got.err != want || got.out != "" {
			t.Errorf("godwit %s: exit code %d\n got: %s\nwant: %s", strings.Join(test.args, " "), got.code, got.err, want)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("bad usage left %v in the state directory (%v)", left, err)
	}
}

func TestErrorsAsJSON(t *testing.T) {
	for _, flag := range []string{"--json", "--output=json"} {
		got := godwit(t, nil, "status", flag, "--state-dir", t.TempDir())
		var body status.ErrorBody
		if err := json.Unmarshal([]byte(got.err), &body); err != nil {
			t.Fatalf("%v: %s", err, got.err)
		}
		if got.code != status.ExitFailed || body.ExitCode != got.code || !strings.HasPrefix(body.Error, "no migration default in ") || body.Hint == "" {
			t.Errorf("%s: exit code %d, %+v", flag, got.code, body)
		}
	}
}

func TestVerbsOnNothing(t *testing.T) {
	dir := t.TempDir()
	for verb, text := range map[string]string{
		"status":        "error: no migration default in " + dir,
		"status -w":     "error: no godwit process runs the migration default",
		"cutover":       "error: no godwit process runs the migration default",
		"rollback":      "error: no godwit process runs the migration default",
		"complete":      "error: no migration default in " + dir,
		"abort x":       "error: no migration x in " + dir,
		"cutover other": "error: no godwit process runs the migration other",
		"verify":        "error: no godwit process runs the migration default",
		"verify other":  "error: no godwit process runs the migration other",
	} {
		got := godwit(t, nil, append(strings.Fields(verb), "--state-dir", dir)...)
		if got.code != status.ExitFailed || !strings.HasPrefix(got.err, text+"\nhint: ") {
			t.Errorf("%s: exit code %d: %s", verb, got.code, got.err)
		}
	}
}

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{nil, {"--help"}, {"help"}, {"help", "run"}, {"run", "-h"}} {
		got := godwit(t, nil, args...)
		if got.code != 0 || got.err != "" || !strings.Contains(got.out, "Usage:") {
			t.Errorf("godwit %v: exit code %d: %s", args, got.code, got.err)
		}
	}
	mustContain(t, "version", godwit(t, nil, "version").out, "godwit ", "go1.")
	mustContain(t, "--version", godwit(t, nil, "--version").out, "godwit ")
	var v map[string]string
	if err := json.Unmarshal([]byte(godwit(t, nil, "version", "--json").out), &v); err != nil || v["go"] == "" {
		t.Errorf("version --json: %v, %v", v, err)
	}
}

func TestManPagesAndCompletion(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	if got := godwit(t, nil, "man", dir); got.code != 0 {
		t.Fatal(got.err)
	}
	for _, verb := range []string{"", "-plan", "-run", "-status", "-cutover", "-rollback", "-complete", "-abort", "-inspect", "-audit", "-verify", "-verify-show", "-demo"} {
		page, err := os.ReadFile(filepath.Join(dir, "godwit"+verb+".1"))
		if err != nil || !strings.Contains(string(page), ".SH SYNOPSIS") {
			t.Errorf("godwit%s.1: %v", verb, err)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := godwit(t, nil, "completion", shell); got.code != 0 || len(got.out) < 1000 {
			t.Errorf("%s: exit code %d, %d bytes", shell, got.code, len(got.out))
		}
	}
	mustContain(t, "completion of --kind", godwit(t, nil, "__complete", "verify", "show", "--kind", "").out, "missing\n", "ttl\n")
	mustContain(t, "completion of --cutover", godwit(t, nil, "__complete", "run", "--cutover", "").out, "manual\n", "auto\n", "never\n")
}
