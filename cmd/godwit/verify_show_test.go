package main

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/status"
	"godwit/internal/verify"
)

// keep leaves a comparison in a directory, as verify.Run does.
func keep(t *testing.T, dir string, r *verify.Report, differences ...verify.Difference) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	report, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var lines []byte
	for _, d := range differences {
		line, err := json.Marshal(d)
		if err != nil {
			t.Fatal(err)
		}
		lines = append(append(lines, line...), '\n')
	}
	for name, data := range map[string][]byte{"report.json": report, "differences.jsonl": lines} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// keptComparison leaves a comparison of --from with --to that found n keys missing
// in db 0 and a binary one extra in db 3.
func keptComparison(t *testing.T, stateDir, id string, started time.Time, n int) {
	t.Helper()
	differences := []verify.Difference{{Kind: verify.Extra, DB: 3, TargetDB: 3, Key: verify.Binary("\xff\r\n\x00"), Target: &verify.Found{Type: "list", ExpireAt: -1}}}
	for i := range n {
		differences = append(differences, verify.Difference{Kind: verify.Missing, Key: fmt.Appendf(nil, "key:%03d", i), Source: &verify.Found{Type: "string", ExpireAt: -1}})
	}
	keep(t, filepath.Join(stateDir, comparisonsDir, id), &verify.Report{
		ID: id, Result: verify.Different, Method: verify.Snapshot, Source: "redis://a:6379", Target: "redis://b:6379",
		Started: started, Took: time.Second, Counts: map[verify.Kind]int64{verify.Missing: int64(n), verify.Extra: 1},
		ByDB: map[int]verify.DBCounts{0: {verify.Missing: int64(n)}, 3: {verify.Extra: 1}},
	}, differences...)
}

func TestVerifyShow(t *testing.T) {
	dir := t.TempDir()
	begin := time.Date(2026, 3, 4, 12, 30, 5, 0, time.UTC)
	keptComparison(t, dir, "20260304-123005-aaaa", begin, 120)
	keptComparison(t, dir, "20260304-113005-bbbb", begin.Add(-time.Hour), 1)
	show := func(line string) string {
		t.Helper()
		got := godwit(t, nil, append(append([]string{"verify", "show"}, strings.Fields(line)...), "--state-dir", dir)...)
		if got.code != 0 || got.err != "" {
			t.Fatalf("%s: exit code %d: %s", line, got.code, got.err)
		}
		return got.out
	}
	all := show("")
	mustContain(t, "show", all, "DIFFERENT: 121 differences", "20260304-123005-aaaa", `missing  db 0  "key:000"       string`, `extra    db 3  "\xff\r\n\x00"  list`)
	if n := strings.Count(all, "\nmissing "); n != 120 {
		t.Errorf("%d of 120 missing keys are shown", n)
	}
	page := show("--offset 10 --limit 5")
	mustContain(t, "a page", page, `"key:009"`, `"key:013"`, "11 to 15; the next ones: godwit verify show 20260304-123005-aaaa --offset 15 --limit 5\n")
	if strings.Contains(page, "key:008") || strings.Contains(page, "key:014") {
		t.Errorf("a page: %s", page)
	}
	if last := show("--offset 118 --limit 5"); strings.Contains(last, "the next ones") || !strings.Contains(last, "key:119") {
		t.Errorf("the last page: %s", last)
	}
	if one := show("--kind extra"); strings.Contains(one, "key:") || !strings.Contains(one, `"\xff`) {
		t.Errorf("--kind extra: %s", one)
	}
	if one := show("--db 0 --kind missing,extra"); strings.Contains(one, `"\xff`) || !strings.Contains(one, "key:000") {
		t.Errorf("--db 0: %s", one)
	}
	mustContain(t, "an ID", show("20260304-113005-bbbb"), "DIFFERENT: 2 differences")
	list := show("--list")
	if !strings.HasPrefix(list, "20260304-123005-aaaa  2026-03-04 12:30:05 UTC  redis://a:6379 with redis://b:6379  DIFFERENT: 121 differences") || strings.Count(list, "\n") != 2 {
		t.Errorf("--list: %s", list)
	}
	var report verify.Report
	if err := json.Unmarshal([]byte(show("--json")), &report); err != nil || report.Counts[verify.Missing] != 120 {
		t.Errorf("--json: %+v, %v", report, err)
	}
}

func TestVerifyShowExports(t *testing.T) {
	dir := t.TempDir()
	keptComparison(t, dir, "one", time.Now(), 70)
	export := func(args ...string) string {
		t.Helper()
		got := godwit(t, nil, append([]string{"verify", "show", "one", "--state-dir", dir}, args...)...)
		if got.code != 0 || got.err != "" {
			t.Fatalf("%v: exit code %d: %s", args, got.code, got.err)
		}
		return got.out
	}
	rows, err := csv.NewReader(strings.NewReader(export("--format", "csv"))).ReadAll()
	if err != nil || len(rows) != 72 {
		t.Fatalf("%d rows, %v", len(rows), err)
	}
	if extra := rows[1]; extra[0] != "extra" || extra[1] != "3" || extra[3] != "/w0KAA==" || extra[4] != "base64" {
		t.Errorf("CSV: %v", extra)
	}
	lines := strings.Split(strings.TrimSpace(export("--format", "jsonl", "--limit", "3")), "\n")
	var d verify.Difference
	if err := json.Unmarshal([]byte(lines[0]), &d); err != nil || len(lines) != 3 || string(d.Key) != "\xff\r\n\x00" {
		t.Errorf("JSON lines: %d, %q, %v", len(lines), d.Key, err)
	}
}

func TestVerifyShowOnNothing(t *testing.T) {
	dir := t.TempDir()
	for args, want := range map[string]string{
		"":              "error: no comparison in " + dir + "\nhint: make one with `godwit verify`",
		"orders":        "error: no comparison of a migration orders, nor one with that ID, in " + dir + "\nhint: ",
		"--name orders": "error: no comparison of a migration orders, nor one with that ID, in " + dir + "\nhint: ",
	} {
		got := godwit(t, nil, append(append([]string{"verify", "show"}, strings.Fields(args)...), "--state-dir", dir)...)
		if got.code != status.ExitFailed || !strings.HasPrefix(got.err, want) {
			t.Errorf("%q: exit code %d: %s", args, got.code, got.err)
		}
	}
}
