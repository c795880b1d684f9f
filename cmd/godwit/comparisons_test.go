package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"godwit/internal/verify"
)

func TestComparisonsHaveAPlaceEach(t *testing.T) {
	dir := t.TempDir()
	note := comparisonNote{Ends: "a b", Scope: "all"}
	now := time.Date(2026, 3, 4, 12, 30, 5, 0, time.UTC)
	open := func(note comparisonNote, now time.Time) *comparison {
		t.Helper()
		c, err := openComparison(dir, note, false, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := open(note, now)
	if first.goesOn {
		t.Error("the first one goes on")
	}
	// Interrupted, and that by a kill: there is a checkpoint, and nobody has the lock.
	keep(t, first.dir, &verify.Report{ID: first.id, Started: now, Result: verify.Unknown, Interrupted: true})
	if err := os.WriteFile(filepath.Join(first.dir, "checkpoint.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	parallel := open(note, now.Add(time.Second))
	if parallel.goesOn || parallel.id == first.id {
		t.Error("a comparison went on that another process is making")
	}
	if err := os.RemoveAll(parallel.dir); err != nil {
		t.Fatal(err)
	}
	_, _ = parallel.close(), first.close()
	other := open(comparisonNote{Ends: "a c", Scope: "all"}, now.Add(2*time.Second))
	if other.goesOn {
		t.Error("a comparison of something else went on")
	}
	_ = other.close()
	if anew, err := openComparison(dir, note, true, now.Add(3*time.Second)); err != nil || anew.goesOn {
		t.Errorf("what was to be made anew goes on (%v)", err)
	} else if _ = anew.close(); os.RemoveAll(anew.dir) != nil {
		t.Fatal("it stays")
	}
	again := open(note, now.Add(4*time.Second))
	if !again.goesOn || again.id != first.id || again.began() != "2026-03-04 12:30:05 UTC" {
		t.Errorf("%s does not go on, but %s", first.id, again.id)
	}
	_ = again.close()
	repair := open(comparisonNote{Ends: note.Ends, Scope: "all, repaired"}, now.Add(5*time.Second))
	keep(t, repair.dir, &verify.Report{ID: repair.id, Result: verify.Equal, Repaired: map[string]int64{verify.Repaired: 1}})
	_ = repair.close()
	if void := open(note, now.Add(6*time.Second)); void.goesOn {
		t.Error("what was found before a repair is found once more")
	} else if _ = void.close(); os.RemoveAll(void.dir) != nil || os.RemoveAll(repair.dir) != nil {
		t.Fatal("it stays")
	}
	again = open(note, now.Add(7*time.Second))
	if err := os.Remove(filepath.Join(again.dir, "checkpoint.json")); err != nil { // it has come to its end
		t.Fatal(err)
	}
	_ = again.close()
	if next := open(note, now.Add(8*time.Second)); next.goesOn {
		t.Error("what had ended went on")
	}
}

func TestOldComparisonsGo(t *testing.T) {
	dir := t.TempDir()
	now := time.Date(2026, 3, 4, 12, 30, 5, 0, time.UTC)
	running, err := openComparison(dir, comparisonNote{Scope: "x"}, false, now)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = running.close() }() // the test is over
	for i := range 2 * keptComparisons {
		c, err := openComparison(dir, comparisonNote{Scope: "x"}, false, now.Add(time.Duration(i+1)*time.Minute))
		if err != nil {
			t.Fatal(err)
		}
		_ = c.close()
	}
	ids, err := listComparisons(dir)
	if err != nil || len(ids) != keptComparisons+1 {
		t.Fatalf("%d are left, want %d (%v)", len(ids), keptComparisons+1, err)
	}
	if last := ids[len(ids)-1]; last != running.id {
		t.Errorf("the one that goes on has gone; the oldest is %s", last)
	}
}
