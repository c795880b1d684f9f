package migrate_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/plan"
	"godwit/internal/sandbox"
)

// ended waits for a run that ends by itself.
func (r *running) ended() error {
	r.t.Helper()
	select {
	case err := <-r.done:
		r.done <- err // for stop
		return err
	case <-time.After(30 * time.Second):
		r.t.Fatalf("the run has not ended within 30 s: phase %s", r.Status().Phase)
		return nil
	}
}

// interrupted stops the run and sees that this is why it ended.
func (r *running) interrupted() {
	r.t.Helper()
	if err := r.stop(); !errors.Is(err, context.Canceled) {
		r.t.Fatalf("the interrupted run ended by %v", err)
	}
}

// Interrupted in any phase, the next run goes on from there.
func TestInterruptedInEachPhase(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	l := p.load()
	config := p.config()
	if err := connect(t, p.source).ConfigSet(t.Context(), "rdb-key-save-delay", "200"); err != nil { // µs
		t.Fatal(err)
	}
	m := start(t, config)
	m.until("copying", func(s migrate.Status) bool { return s.Phase == migrate.Copying && s.Copy.Bytes > 0 })
	m.interrupted()
	s, err := migrate.ReadStatus(config.StateDir, config.Name)
	if err != nil || s.Running || s.Phase != migrate.Copying || len(s.NextSteps) == 0 {
		t.Fatalf("status of the interrupted copy: %+v: %v", s, err)
	}
	for _, phase := range []migrate.Phase{migrate.Following, migrate.Switched, migrate.RolledBack} {
		m = start(t, config)
		if s := m.ready(); s.Copy.FullResyncs > 0 && phase != migrate.Following {
			t.Errorf("%d full resyncs", s.Copy.FullResyncs)
		}
		if phase != migrate.Following {
			m.until("told", func(s migrate.Status) bool {
				return slices.ContainsFunc(s.Events, func(e migrate.Event) bool { return strings.Contains(e.Text, "nothing was copied again") })
			})
		}
		switch phase {
		case migrate.Switched:
			m.cutover()
		case migrate.RolledBack:
			m.rollback()
		}
		m.until(string(phase), func(s migrate.Status) bool { return s.Phase == phase })
		m.interrupted()
		if s, err := migrate.ReadStatus(config.StateDir, config.Name); err != nil || s.Phase != phase {
			t.Fatalf("status: phase %s, want %s: %v", s.Phase, phase, err)
		}
	}
	m = start(t, config)
	m.ready()
	p.settled(l, p.source)
}

func TestAbortOnExit(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	config := p.config()
	config.AbortOnExit = true
	m := start(t, config)
	m.ready()
	m.interrupted()
	untouched(t, p.source)
	untouched(t, p.target)
	if s, err := migrate.ReadStatus(config.StateDir, config.Name); err != nil || s.Phase != migrate.Aborted {
		t.Fatalf("phase %s: %v", s.Phase, err)
	}
}

// A migration that is over is not ended once more, nor begun again by the same
// command: its source may have been freed, and would wipe the target.
func TestOverIsOver(t *testing.T) {
	t.Parallel()
	for _, phase := range []migrate.Phase{migrate.Completed, migrate.Aborted} {
		t.Run(string(phase), func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "redis-7.0", "redis-7.0")
			config := p.config()
			m := start(t, config)
			m.ready()
			end := m.Abort
			if phase == migrate.Completed {
				m.cutover()
				m.ready()
				end = m.Complete
			}
			if r, err := end(t.Context(), false); err != nil || !r.Done {
				t.Fatalf("%+v: %v", r, err)
			}
			if err := m.ended(); err != nil {
				t.Fatal(err)
			}
			if s := m.Status(); s.Source.Role == s.Target.Role != (phase == migrate.Aborted) {
				t.Errorf("%s, and the source is shown as %s, the target as %s", phase, s.Source.Role, s.Target.Role)
			}
			_ = m.stop()

			// By hand, as it is none of godwit's business any more.
			if _, err := connect(t, p.target).Do(t.Context(), "REPLICAOF", "127.0.0.1", p.source.Port()); err != nil {
				t.Fatal(err)
			}
			again := open(t, config)
			for name, end := range map[string]func(context.Context, bool) (migrate.EndResult, error){"abort": again.Abort, "complete": again.Complete} {
				if r, err := end(t.Context(), false); err == nil || !strings.Contains(err.Error(), string(phase)+" already") {
					t.Errorf("%s once more: %+v: %v", name, r, err)
				}
			}
			_ = again.Close()
			if i := info(t, connect(t, p.target), "replication"); i["role"] != "slave" {
				t.Error("the target was detached from its new primary")
			}
			if s, err := migrate.ReadStatus(config.StateDir, config.Name); err != nil || s.Phase != phase {
				t.Errorf("the journal says %s: %v", s.Phase, err)
			}
			if phase == migrate.Aborted {
				return
			}
			for _, s := range []*sandbox.Server{p.source, p.target} {
				if _, err := connect(t, s).Do(t.Context(), "REPLICAOF", "NO", "ONE"); err != nil {
					t.Fatal(err)
				}
			}
			config.Replace = true
			var conflict *migrate.ConflictError
			if err := start(t, config).ended(); !errors.As(err, &conflict) || conflict.Phase != migrate.Completed {
				t.Fatalf("the same run once more: %v", err)
			}
			untouched(t, p.target)
		})
	}
}

// A target that somebody made a replica of another server stays one.
func TestAbortLeavesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	config := p.config()
	m := start(t, config)
	m.ready()
	m.interrupted()
	if _, err := connect(t, p.target).Do(t.Context(), "REPLICAOF", "127.0.0.1", p.source.Port()); err != nil {
		t.Fatal(err)
	}
	r, err := open(t, config).Abort(t.Context(), false)
	if err != nil || !r.Done || !strings.Contains(strings.Join(r.Notes, "\n"), "stays one") {
		t.Fatalf("%+v: %v", r, err)
	}
	noSettings(t, p.target)
	if i := info(t, connect(t, p.target), "replication"); i["role"] != "slave" || i.Int("master_port") != int64(p.source.Port()) {
		t.Errorf("the target was detached: %v", i)
	}
}

// Abort detaches the target, whether a process runs the migration or not.
func TestAbort(t *testing.T) {
	t.Parallel()
	for name, alive := range map[string]bool{"running": true, "dead": false} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, "redis-6.0", "redis-7.0")
			config := p.config()
			m := start(t, config)
			m.ready()
			m.until("drained", func(s migrate.Status) bool { return s.Links[0].LagBytes == 0 })
			abort := m.Abort
			if !alive {
				m.interrupted()
				abort = open(t, config).Abort
			}
			if r, err := abort(t.Context(), true); err != nil || r.Done || len(r.Steps) == 0 {
				t.Fatalf("dry run: %+v: %v", r, err)
			}
			if r, err := abort(t.Context(), false); err != nil || !r.Done {
				t.Fatalf("%+v: %v", r, err)
			}
			if alive {
				if err := m.ended(); err != nil {
					t.Fatal(err)
				}
			}
			untouched(t, p.source)
			untouched(t, p.target)
			if n := info(t, connect(t, p.target), "keyspace"); len(n) == 0 {
				t.Error("the target has lost what was copied")
			}
		})
	}
}

// The rollback window ends by itself, and then the migration is completed.
func TestRollbackWindow(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		window  time.Duration
		cutover migrate.CutoverMode
	}{{"none, manual", 0, migrate.Manual}, {"none, auto", 0, migrate.Auto}, {"two seconds, auto", 2 * time.Second, migrate.Auto}} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "redis-7.0", "redis-7.0")
			l := p.load()
			config := p.config()
			config.RollbackWindow, config.Cutover = c.window, c.cutover
			m := start(t, config)
			if c.cutover == migrate.Manual {
				m.ready()
				m.cutover()
			}
			if err := m.ended(); err != nil {
				t.Fatal(err)
			}
			s := m.Status()
			if s.Phase != migrate.Completed || s.Cutover.Switches != 1 {
				t.Fatalf("phase %s after %d switches", s.Phase, s.Cutover.Switches)
			}
			if stayed := time.Since(s.Cutover.At); stayed < c.window {
				t.Errorf("completed %v after the cutover", stayed)
			}
			noSettings(t, p.source)
			noSettings(t, p.target)
			p.settled(l, p.target) // natively: the source is the target's replica
			if host := info(t, connect(t, p.source), "replication")["master_port"]; host != strconv.Itoa(p.target.Port()) {
				t.Errorf("the source replicates from port %s", host)
			}
		})
	}
}

// A pause that is too short is given up, and the source serves as before.
func TestPauseTooShort(t *testing.T) {
	t.Parallel()
	for _, version := range versions() {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, version, version)
			l := p.load()
			config := p.config()
			held := true
			config.Trace = func(point string) {
				if point == "cutover-pause-before" && held {
					_ = p.target.Pause()
				}
			}
			m := start(t, config)
			m.ready()
			for _, pause := range []int{10, 100, 400} {
				m.ready()
				l.ResetStall()
				_, err := m.Cutover(t.Context(), migrate.SwitchOptions{MaxPauseMS: pause})
				var gaveUp *migrate.GaveUpError
				if !errors.As(err, &gaveUp) {
					t.Fatalf("with a pause of %d ms: %v", pause, err)
				}
				untouched(t, p.source)
				if stall, most := l.Stall(), time.Duration(pause)*time.Millisecond+time.Second; stall > most {
					t.Errorf("with a pause of %d ms writes stalled for %v", pause, stall)
				}
				if err := p.target.Resume(); err != nil {
					t.Fatal(err)
				}
			}
			held = false
			m.ready()
			m.cutover()
			m.ready()
			p.settled(l, p.target)
		})
	}
}

func TestRefusedFromTheStart(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0")
	config := p.config()
	m := start(t, config)
	m.ready()

	t.Run("a second run of the same name", func(t *testing.T) {
		_, err := migrate.Open(t.Context(), config, slog.New(slog.DiscardHandler))
		var locked *migrate.LockedError
		if !errors.As(err, &locked) || locked.Name != config.Name {
			t.Fatal(err)
		}
	})
	t.Run("another name with the same target", func(t *testing.T) {
		other := config
		other.Name = "other"
		other.From = p.target.Endpoint()
		other.From.DB = 1
		second := newPair(t, "redis-7.0", "redis-7.0")
		other.From = second.source.Endpoint()
		refused := start(t, other)
		var taken *migrate.TakenError
		if err := refused.ended(); !errors.As(err, &taken) || taken.Name != config.Name {
			t.Fatal(err)
		}
		_ = refused.stop()
		untouched(t, second.source)
		// It has nothing to end, least of all the other one's replication.
		again := open(t, other)
		if r, err := again.Abort(t.Context(), false); err == nil || r.Done {
			t.Errorf("the refused migration was aborted: %+v", r)
		}
		if i := info(t, connect(t, p.target), "replication"); i["role"] != "slave" || i["master_link_status"] != "up" {
			t.Errorf("the target does not follow any more: %v", i)
		}
	})
	t.Run("the source as its own target", func(t *testing.T) {
		same := config
		same.Name = "same"
		same.To.Address = newProxy(t, p.source.Address()).Address()
		var refused *plan.RefusedError
		if err := start(t, same).ended(); !errors.As(err, &refused) {
			t.Fatal(err)
		}
	})
	t.Run("the name of another migration", func(t *testing.T) {
		m.interrupted()
		other := config
		other.To.Address = "127.0.0.1:1"
		_, err := migrate.Open(t.Context(), other, slog.New(slog.DiscardHandler))
		var conflict *migrate.ConflictError
		if !errors.As(err, &conflict) {
			t.Fatal(err)
		}
	})
}

// A source that leaves its stream behind is copied anew, and that is said.
func TestSourceWithANewReplid(t *testing.T) {
	t.Parallel()
	p := newPair(t, "redis-7.0", "redis-7.0", "--enable-debug-command yes")
	l := p.load()
	m := start(t, p.config())
	m.ready()
	c := connect(t, p.source)
	if _, err := c.Do(t.Context(), "DEBUG", "CHANGE-REPL-ID"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Do(t.Context(), "CLIENT", "KILL", "TYPE", "replica"); err != nil {
		t.Fatal(err)
	}
	m.until("copied again", func(s migrate.Status) bool { return s.Copy.FullResyncs == 2 })
	s := m.ready()
	said := false
	for _, e := range s.Events {
		said = said || strings.Contains(e.Text, "full resync")
	}
	if !said {
		t.Errorf("nothing is said of the full resync: %+v", s.Events)
	}
	m.cutover()
	m.ready()
	p.settled(l, p.target)
}
