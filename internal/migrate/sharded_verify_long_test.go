//go:build fault

package migrate_test

import (
	"fmt"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/verify"
)

// Whatever ends what is being compared ends the comparison at once, and what a repair
// has on its way comes to nothing.
func TestClusterVerifyIsInterrupted(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		point, by string
		repair    bool
	}{
		{point: "verify-unlocked", by: "a cutover", repair: true},
		{point: "verify-stopped", by: "an abort"},
		{point: "verify-stopped", by: "a cutover"},
		{point: "verify-unlocked", by: "an abort", repair: true},
	} {
		t.Run(tt.by+" at "+tt.point, func(t *testing.T) {
			t.Parallel()
			c := newToCluster(t, "redis-7.0", "redis-7.0")
			c.slowSnapshots()
			l := c.load()
			var keys []string
			var before func(m *running)
			if tt.repair {
				before = func(m *running) { keys = c.plantAll(m) }
			}
			m, reports, release := startStopped(t, c.config(), tt.point, migrate.VerifyOptions{Repair: tt.repair, DeleteExtra: tt.repair}, before)
			began := time.Now()
			if tt.by == "an abort" {
				if _, err := m.Abort(t.Context(), false); err != nil {
					t.Error(err)
				}
			} else {
				m.cutover()
			}
			t.Logf("%s took %v", tt.by, time.Since(began))
			for _, key := range keys { // what a late write of the repair would replace
				if _, err := c.at(key).Do(t.Context(), "SET", key, "new"); err != nil {
					t.Fatal(err)
				}
			}
			release()
			if report := <-reports; report.Result == verify.Equal || report.Error != tt.by+" began" {
				t.Errorf("%+v", report)
			}
			for _, key := range keys {
				if got, err := c.at(key).Do(t.Context(), "GET", key); err != nil || got != "new" {
					t.Errorf("%s is %v: %v", key, got, err)
				}
			}
			c.restored()
			if tt.by == "an abort" {
				audited(t, l, c.source)
				return
			}
			m.ready()
			c.settled(m, l)
		})
	}
}

// Killed within a comparison or a repair after the cutover, godwit leaves an old primary
// that the next run restores, and feeds.
func TestClusterKilledWhileVerifyingBack(t *testing.T) {
	t.Parallel()
	c := newToCluster(t, "redis-7.0", "valkey-8.1")
	c.slowSnapshots()
	if err := connect(t, c.source).ConfigSet(t.Context(), "repl-diskless-sync-delay", "1"); err != nil {
		t.Fatal(err)
	}
	l := c.load()
	config := c.config()
	first := startChild(t, config, "")
	first.must("ready")
	first.must("cutover")
	first.must("ready")
	first.kill()
	points := []string{
		"verify-unlocked", "verify-stopped", "verify-saved", "verify-trail", "verify-stop", "verify-locked", "verify-release", "verify-ended",
	}
	for i, point := range points {
		run := startChild(t, config, point)
		run.must("ready")
		plant(t, c.source, []any{"SET", fmt.Sprint("planted:", i), "x"})
		if a, ok := run.ask("repair"); ok {
			t.Fatalf("not killed at %s: %+v", point, a)
		}
		run.killedItself()
		run = startChild(t, config, "")
		run.must("ready")
		restored(t, c.source, "1")
		c.restored()
		if r := run.must("repair").Report; r.Result != verify.Equal {
			t.Errorf("after %s: %+v", point, r)
		}
		run.kill()
	}
	m := start(t, config)
	m.ready()
	m.verified(migrate.VerifyOptions{})
	m.rollback()
	m.ready()
	c.settledAt(m, l, c.source.Endpoint())
	restored(t, c.source, "1")
	c.restored()
}

// A rollback ends a repair of the old primary at once, and what that has on its way comes
// to nothing.
func TestClusterRepairIsInterruptedByARollback(t *testing.T) {
	t.Parallel()
	c := newToCluster(t, "redis-7.0", "redis-7.0")
	l := c.load()
	var keys []string
	config := c.config()
	config.MaxPause = 10 * time.Second // how fast it is, is not the question
	m, reports, release := startStopped(t, config, "verify-unlocked", migrate.VerifyOptions{Repair: true, DeleteExtra: true}, func(m *running) {
		m.cutover()
		m.ready()
		keys = c.plantBack(m)
	})
	m.rollback()
	client := connect(t, c.source)
	for _, key := range keys { // what a late write of the repair would replace
		if _, err := client.Do(t.Context(), "SET", key, "new"); err != nil {
			t.Fatal(err)
		}
	}
	release()
	if report := <-reports; report.Result == verify.Equal || report.Error != "a rollback began" {
		t.Errorf("%+v", report)
	}
	for _, key := range keys {
		if got, err := client.Do(t.Context(), "GET", key); err != nil || got != "new" {
			t.Errorf("%s is %v: %v", key, got, err)
		}
	}
	m.ready()
	c.settledAt(m, l, c.source.Endpoint())
}
