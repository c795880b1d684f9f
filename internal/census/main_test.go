package census

import (
	"context"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/server"
)

func TestMain(m *testing.M) {
	server.Quiet()
	goleak.VerifyTestMain(m)
}

// versions are those of servers that tests are run on.
func versions() []string {
	return []string{"redis-6.0", "redis-7.0", "redis-8.0", "redis-8.6", "valkey-8.1", "valkey-9.1"}
}

// atOnce runs a test on all versions at the same time: it waits more than it works.
func atOnce(t *testing.T, f func(t *testing.T, name string)) {
	var group sync.WaitGroup
	for _, name := range versions() {
		group.Go(func() { t.Run(name, func(t *testing.T) { f(t, name) }) })
	}
	group.Wait()
}

// recorder keeps the lines of a server's MONITOR.
type recorder struct {
	*monitor
	t testing.TB
}

func record(t testing.TB, s *sandbox.Server) recorder {
	t.Helper()
	w := &watcher{endpoint: s.Endpoint(), own: make(totals)}
	m, err := w.openMonitor(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.close)
	return recorder{m, t}
}

// until gives the lines up to ECHO of a mark, which client sends.
func (r recorder) until(client *server.Client, mark string) [][]byte {
	r.t.Helper()
	if _, err := client.Do(r.t.Context(), "ECHO", mark); err != nil {
		r.t.Fatal(err)
	}
	var lines [][]byte
	var p Parser
	for {
		line, cut, err := r.lines.next()
		if err != nil {
			r.t.Fatal(err)
		}
		parsed, err := p.Parse(line, cut)
		if err != nil {
			r.t.Fatalf("%q: %v", line, err)
		}
		if last := parsed.Args[len(parsed.Args)-1]; string(last) == mark {
			return lines
		}
		lines = append(lines, append([]byte(nil), line...))
	}
}

// counted is a report of lines that are all there is.
func counted(t testing.TB, o Options, lines [][]byte) *Report {
	t.Helper()
	c := New(o)
	var p Parser
	for _, line := range lines {
		l, err := p.Parse(line, false)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		c.Add(l)
	}
	var r Report
	c.report(&r, nil)
	return &r
}

// tables are what is known of a server that is not asked.
func tables() Options {
	return Options{Capabilities: command.NewCapabilities(command.Version{}, rdb.Format{}, 0)}
}

// known is what godwit asks a server before it watches it.
func known(t testing.TB, s *sandbox.Server) Options {
	t.Helper()
	control, err := server.Dial(t.Context(), s.Endpoint(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer control.Close()
	w := &watcher{endpoint: s.Endpoint(), control: control, own: make(totals), report: &Report{}}
	if err := w.introduce(t.Context()); err != nil {
		t.Fatal(err)
	}
	return w.census.options
}

// do sends a command of words and returns its error, if that is what it replied.
func do(ctx context.Context, conn interface {
	Do(context.Context, ...any) (any, error)
}, words ...string) error {
	args := make([]any, len(words))
	for i, w := range words {
		args[i] = w
	}
	_, err := conn.Do(ctx, args...)
	return err
}
