//go:build fault

package migrate_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"godwit/internal/migrate"
	"godwit/internal/verify"
)

// Killed at any point of a comparison, in either direction, godwit leaves a target
// that is fed again by the next run, with its settings as they were.
func TestKilledWhileVerifying(t *testing.T) {
	t.Parallel()
	for _, versions := range [][2]string{{"redis-7.0", "redis-7.0"}, {"redis-7.0", "redis-6.0"}} {
		t.Run(versions[0]+" to "+versions[1], func(t *testing.T) {
			t.Parallel()
			p := newUnequalPair(t, versions[0], []string{"--repl-diskless-sync-delay 1"}, versions[1], []string{"--repl-diskless-sync-delay 2"})
			l := p.load()
			config := p.config()
			points := []string{"verify-saved", "verify-trail", "verify-stop", "verify-stopped", "verify-release", "verify-ended"}
			replica, delay := p.target, "2"
			for _, direction := range []string{migrate.DirectionCutover, migrate.DirectionRollback} {
				for _, point := range points {
					run := startChild(t, config, point)
					run.must("ready")
					if a, ok := run.ask("verify"); ok {
						t.Fatalf("not killed at %s: %+v", point, a)
					}
					run.killedItself()
					t.Logf("killed at %s", point)
				}
				run := startChild(t, config, "")
				s := run.must("ready").Status
				if s.Verify.State != migrate.VerifyEqual { // journaled before verify-ended
					t.Errorf("%+v", s.Verify)
				}
				restored(t, replica, delay)
				if r := run.must("verify").Report; r.Result != verify.Equal {
					t.Errorf("%+v", r)
				}
				restored(t, replica, delay)
				run.must("ready")
				run.must(direction)
				run.must("ready")
				run.kill()
				replica, delay = p.source, "1"
			}
			m := start(t, config)
			m.ready()
			p.settled(l, p.source)
			restored(t, p.source, "1")
			restored(t, p.target, "2")
		})
	}
}

// A scan that was killed is not gone on with where a full resync has replaced
// meanwhile what it had compared.
func TestKilledScanBeforeAFullResync(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	const keys = 3000
	from := connect(t, p.source)
	const set = `for i = 1, ARGV[1] do
		local v = '' -- that nothing makes shorter
		for j = 1, 50 do v = v .. redis.sha1hex(i .. ' ' .. j) end
		redis.call('SET', 'key:' .. i, v)
	end`
	if _, err := from.Do(t.Context(), "EVAL", set, 0, keys); err != nil {
		t.Fatal(err)
	}
	config := p.config()
	run := startChild(t, config, "")
	run.must("ready")
	go func() { run.ask("scan") }() // 1 MiB/s
	dir := migrate.VerifyDir(config.StateDir, config.Name)
	eventually(t, "a third of it is compared", func() bool {
		r, err := os.ReadFile(filepath.Join(dir, "checkpoint.json"))
		var left struct{ Report verify.Report }
		return err == nil && json.Unmarshal(r, &left) == nil && left.Report.SourceRead.Keys > keys/3
	})
	run.kill()
	kill(t, p.target)
	restart(t, p.target)
	m := start(t, config)
	m.ready()
	p.applied(p.source)
	if s := m.Status().Verify; s.State != migrate.VerifyUnknown || s.Stale == "" {
		t.Errorf("%+v", s)
	}
	plant(t, p.target, []any{"EVAL", `for i = 1, ARGV[1] do redis.call('DEL', 'key:' .. i) end`, 0, keys})
	r := m.compared(migrate.VerifyOptions{Method: verify.Scan})
	if r.Counts[verify.Missing] != keys {
		t.Errorf("%d of %d keys were found missing", r.Counts[verify.Missing], keys)
	}
	if s := m.Status().Verify; s.Stale != "" {
		t.Errorf("%+v", s)
	}
}
