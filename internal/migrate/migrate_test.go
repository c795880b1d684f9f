package migrate_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/dataset"
	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == shardByWord {
		beRule()
		os.Exit(0)
	}
	if os.Getenv(childVariable) != "" {
		if err := beChild(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	// They wait more than they compute: for timeouts, and for servers to come back.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

// running is a migration under way in this process.
type running struct {
	migrate.Running
	t      *testing.T
	cancel context.CancelFunc
	done   chan error
}

func config(t *testing.T, from, to server.Endpoint) migrate.Config {
	t.Helper()
	c := migrate.NewConfig()
	c.StateDir, c.From, c.To = t.TempDir(), from, to
	return c
}

// start opens and runs a migration until the test ends or stop is called.
func start(t *testing.T, c migrate.Config) *running {
	t.Helper()
	m, err := migrate.Begin(t.Context(), c, slog.New(slog.NewTextHandler(testWriter{t}, nil)))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{Running: m, t: t, cancel: cancel, done: make(chan error, 1)}
	go func() { r.done <- m.Run(ctx) }()
	t.Cleanup(func() { _ = r.stop() })
	return r
}

// open opens a migration that no process runs, for the length of the test.
func open(t *testing.T, c migrate.Config) *migrate.Migration {
	t.Helper()
	m, err := migrate.Open(t.Context(), c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m
}

// stop interrupts the run, as Ctrl-C does, and returns what Run returned.
func (r *running) stop() error {
	r.cancel()
	err, ok := <-r.done
	if ok {
		close(r.done)
		if closeErr := r.Close(); closeErr != nil {
			r.t.Errorf("close: %v", closeErr)
		}
	}
	return err
}

// until waits until the status is as wanted.
func (r *running) until(what string, ok func(migrate.Status) bool) migrate.Status {
	r.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		s := r.Status()
		if ok(s) {
			return s
		}
		select {
		case err := <-r.done:
			r.done <- err // for stop
			r.t.Fatalf("the run ended before %s: %v", what, err)
		case <-deadline:
			r.t.Fatalf("not %s within a minute: %+v", what, s)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func (r *running) ready() migrate.Status {
	r.t.Helper()
	return r.until("ready", func(s migrate.Status) bool { return s.Ready })
}

func (r *running) cutover() migrate.SwitchResult {
	r.t.Helper()
	return r.switched(r.Cutover)
}

func (r *running) rollback() migrate.SwitchResult {
	r.t.Helper()
	return r.switched(r.Rollback)
}

// switched switches, once it is ready: on a busy machine it may not be any more when it is
// told to.
func (r *running) switched(do func(context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error)) migrate.SwitchResult {
	r.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		result, err := do(r.t.Context(), migrate.SwitchOptions{})
		var hinted *migrate.HintedError
		if errors.As(err, &hinted) && strings.HasPrefix(hinted.Hint, "wait until `godwit status` says that it is ready") && time.Now().Before(deadline) {
			r.t.Logf("not switched yet: %v", err)
			r.ready()
			continue
		}
		if err != nil || !result.Done || result.Reason != "" {
			r.t.Fatalf("switch: %+v: %v", result, err)
		}
		return result
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(string(b[:len(b)-1]))
	return len(b), nil
}

// writing is a load on these servers.
func writing(servers ...*sandbox.Server) load.Config {
	c := load.Config{Writers: 8, Prefix: "load:", Rate: loadRate}
	for _, s := range servers {
		c.Endpoints = append(c.Endpoints, s.Endpoint())
	}
	return c
}

func startLoad(t *testing.T, c load.Config) *load.Load {
	t.Helper()
	l, err := load.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	return l
}

// audited stops the load and checks that each acknowledged write is in the primary.
func audited(t *testing.T, l *load.Load, primary *sandbox.Server) {
	t.Helper()
	l.Stop()
	report, err := l.Audit(t.Context(), primary.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	if report.Acked == 0 || !report.Clean() {
		t.Fatalf("audit: %v", report)
	}
	t.Logf("audit: %v", report)
}

func TestThereAndBackUnderLoad(t *testing.T) {
	for _, pair := range [][2]string{
		{"redis-6.0", "redis-6.0"}, {"redis-7.0", "redis-7.0"}, {"redis-7.0", "redis-8.0"}, {"redis-8.0", "redis-8.0"},
		{"redis-7.0", "valkey-8.1"}, {"valkey-8.1", "valkey-8.1"},
	} {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			source := sandboxtest.Start(t, pair[0], sandbox.Options{})
			target := sandboxtest.Start(t, pair[1], sandbox.Options{})
			if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 5000, DBs: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, Seed: 1, NoFieldTTLs: true}); err != nil {
				t.Fatal(err)
			}
			l := startLoad(t, writing(source, target))
			m := start(t, config(t, source.Endpoint(), target.Endpoint()))
			m.ready()
			for i := range 2 {
				l.ResetStall()
				r := m.cutover()
				time.Sleep(300 * time.Millisecond)
				t.Logf("cutover %d: %.1f ms, a writer saw %v", i, r.WriteStallMS, l.Stall())
				m.ready()
				if i == 1 {
					break
				}
				l.ResetStall()
				r = m.rollback()
				time.Sleep(300 * time.Millisecond)
				t.Logf("rollback %d: %.1f ms, a writer saw %v", i, r.WriteStallMS, l.Stall())
				m.ready()
			}
			audited(t, l, target)
			m.until("drained", func(s migrate.Status) bool { return s.Links[0].LagBytes == 0 })
			end, err := m.Complete(t.Context(), false)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("complete: %+v", end)
			if err := <-m.done; err != nil && !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			m.done <- nil
		})
	}
}
