package verify

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"godwit/internal/server"
)

func testConfig(dir string) Config {
	one := func(address string) Side {
		return Side{Name: "redis://" + address, Shards: []server.Endpoint{{Network: "tcp", Address: address}}}
	}
	return Config{Source: one("127.0.0.1:1"), Target: one("127.0.0.1:2"), Options: Options{Dir: dir, Samples: 2}}
}

func openRun(t *testing.T, cfg Config) *run {
	t.Helper()
	r, err := newRun(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func foundKeys(t *testing.T, r *run, kind Kind, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if err := r.found(Difference{Kind: kind, DB: 1, TargetDB: 1, Key: Binary(key), Source: &Found{Type: "string", ExpireAt: -1}}); err != nil {
			t.Fatal(err)
		}
	}
}

// read lists the keys of a journal with what became of them.
func readKeys(t *testing.T, dir string) (all []string) {
	t.Helper()
	if err := EachDifference(dir, func(d Difference) error {
		all = append(all, strings.TrimSpace(string(d.Key)+" "+d.Repair))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestJournal(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "journal")
	if _, err := ReadReport(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("before the first one: %v", err)
	}
	if got := readKeys(t, dir); got != nil {
		t.Errorf("before the first one: %v", got)
	}
	r := openRun(t, testConfig(dir))
	if report, err := ReadReport(dir); err != nil || report.Result != Unknown || report.Error == "" || !report.Interrupted {
		t.Errorf("within: %+v, %v", report, err)
	}
	foundKeys(t, r, Missing, "a", "b\xff\nb", "c")
	foundKeys(t, r, TTL, "d")
	r.settled(3)
	r.holds("id", 42)
	report, err := r.finish(nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ReadReport(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range []*Report{report, again} {
		if got.Result != Different || fmt.Sprint(got.Counts) != "map[missing:3 ttl:1]" || fmt.Sprint(got.ByDB) != "map[1:map[missing:3 ttl:1]]" ||
			len(got.Samples) != 3 || got.Settled != 3 || got.Offset != 42 || got.Error != "" || got.Interrupted {
			t.Errorf("got %+v", got)
		}
	}
	if got := readKeys(t, dir); !slices.Equal(got, []string{"a", "b\xff\nb", "c", "d"}) {
		t.Errorf("got %q", got)
	}
	for _, name := range []string{reportFile, differencesFile} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	// The next one begins anew.
	openRun(t, testConfig(dir))
	if got := readKeys(t, dir); len(got) != 0 {
		t.Errorf("the next one has %q", got)
	}
}

func TestJournalIsTornByAKill(t *testing.T) {
	dir := t.TempDir()
	r := openRun(t, testConfig(dir))
	foundKeys(t, r, Missing, "a", "b")
	if _, err := r.finish(nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, differencesFile)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content[:len(content)-3], 0o600); err != nil {
		t.Fatal(err)
	}
	if got := readKeys(t, dir); !slices.Equal(got, []string{"a"}) {
		t.Errorf("got %q", got)
	}
	enough := errors.New("enough")
	if err := EachDifference(dir, func(Difference) error { return enough }); !errors.Is(err, enough) {
		t.Errorf("got %v", err)
	}
}

// A run goes on from the last checkpoint of one that did not come to its end.
func TestCheckpoint(t *testing.T) {
	dir := t.TempDir()
	type place struct{ Cursor int }
	var at place
	r := openRun(t, testConfig(dir))
	if resumed, err := r.resume(&at); resumed || err != nil {
		t.Fatalf("the first one: %v, %v", resumed, err)
	}
	seed := r.digest.Seed
	foundKeys(t, r, Missing, "a", "b")
	if err := r.checkpoint(place{7}); err != nil {
		t.Fatal(err)
	}
	foundKeys(t, r, Missing, "after it")
	if report, err := r.finish(errors.New("it ended")); err != nil || !report.Interrupted || report.Result != Different || report.Error != "it ended" {
		t.Errorf("got %+v, %v", report, err)
	}

	r = openRun(t, testConfig(dir))
	resumed, err := r.resume(&at)
	if err != nil || !resumed || at.Cursor != 7 || r.digest.Seed != seed || r.differences() != 2 {
		t.Errorf("resumed %v, %v: %+v, %d differences", resumed, err, at, r.differences())
	}
	foundKeys(t, r, Missing, "c")
	report, err := r.finish(nil)
	if err != nil || report.Counts[Missing] != 3 || report.Interrupted {
		t.Errorf("got %+v, %v", report, err)
	}
	if got := readKeys(t, dir); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("got %q", got)
	}
	if r = openRun(t, testConfig(dir)); r.journal.left != nil {
		t.Error("one that came to its end is gone on with")
	}

	if err := r.checkpoint(place{8}); err != nil {
		t.Fatal(err)
	}
	other := testConfig(dir)
	other.Options.Keys = "x*"
	if r = openRun(t, other); r.journal.left != nil {
		t.Error("one that compares something else is gone on with")
	}
}

func TestAmend(t *testing.T) {
	dir := t.TempDir()
	r := openRun(t, testConfig(dir))
	var keys []string
	for i := range 3 * amendBatch / 2 {
		keys = append(keys, fmt.Sprint("key", i))
	}
	foundKeys(t, r, Changed, keys...)
	batches := 0
	repair := func(all []Difference) error {
		batches++
		for i := range all {
			if all[i].Repair = Repaired; i%2 == 1 {
				all[i].Repair = Failed + ": READONLY"
			}
		}
		if batches == 2 {
			return errors.New("the connection is gone")
		}
		return nil
	}
	if err := r.amend(repair); err == nil || batches != 2 {
		t.Errorf("%d batches, %v", batches, err)
	}
	got := readKeys(t, dir)
	if len(got) != len(keys) || got[0] != "key0 repaired" || got[1] != "key1 failed: READONLY" {
		t.Errorf("got %d: %.100q", len(got), got)
	}
	foundKeys(t, r, Changed, "later")
	if err := r.amend(func(all []Difference) error {
		for i := range all {
			all[i].Repair = Gone
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	report, err := r.finish(nil)
	if err != nil || report.Result != Equal || report.Repaired[Gone] != int64(len(keys))+1 || len(report.Repaired) != 1 || report.Samples[1].Repair != Gone {
		t.Errorf("got %+v, %v", report, err)
	}
	if got := readKeys(t, dir); len(got) != len(keys)+1 || got[len(keys)] != "later gone" {
		t.Errorf("got %d", len(got))
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Errorf("%v is there, %v", entries, err)
	}
}

func TestConfigIsValidated(t *testing.T) {
	if err := testConfig("dir").validate(); err != nil {
		t.Fatal(err)
	}
	for says, change := range map[string]func(*Config){
		"without servers": func(c *Config) { c.Target.Shards = nil },
		"several shards":  func(c *Config) { c.Target.Shards = append(c.Target.Shards, c.Target.Shards[0]) },
		"no directory":    func(c *Config) { c.Options.Dir = "" },
		"method":          func(c *Config) { c.Options.Method = "guess" },
		"sample":          func(c *Config) { c.Options.Sample = 1.5 },
		"negative":        func(c *Config) { c.Options.MaxRate = -1 },
		"number":          func(c *Config) { c.Options.DBs = []int{-1} },
		"repair":          func(c *Config) { c.Options.DeleteExtra = true },
	} {
		cfg := testConfig("dir")
		change(&cfg)
		if err := cfg.validate(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("got %v, want %q", err, says)
		}
	}
}
