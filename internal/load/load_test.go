package load_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/load"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, c load.Config) *load.Load {
	t.Helper()
	l, err := load.Start(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Stop)
	return l
}

// await waits until the load has had n more writes acknowledged.
func await(t *testing.T, l *load.Load, n int64) {
	t.Helper()
	want := l.Snapshot().Acked + n
	for deadline := time.Now().Add(20 * time.Second); l.Snapshot().Acked < want; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no more writes are acknowledged: %+v", l.Snapshot())
		}
	}
}

func audit(t *testing.T, l *load.Load, e server.Endpoint) load.Report {
	t.Helper()
	l.Stop()
	report, err := l.Audit(t.Context(), e)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func mustBeClean(t *testing.T, r load.Report) {
	t.Helper()
	if !r.Clean() {
		t.Errorf("%v\n%s", r, strings.Join(r.Samples, "\n"))
	}
	if r.Acked == 0 || r.Found < r.Acked || r.Found > r.Attempted {
		t.Errorf("not acknowledged <= found <= attempted: %v", r)
	}
}

func do(t *testing.T, c *server.Client, args ...any) any {
	t.Helper()
	reply, err := c.Do(t.Context(), args...)
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestEveryWriteIsFound(t *testing.T) {
	for _, name := range []string{"redis-6.0", "redis-7.0", "valkey-8.1"} {
		t.Run(name, func(t *testing.T) {
			s := sandboxtest.Start(t, name, sandbox.Options{Password: "secret"})
			e := s.Endpoint()
			e.DB = 3
			l := start(t, load.Config{Endpoints: []server.Endpoint{e}})
			await(t, l, 20_000)
			report := audit(t, l, e)
			mustBeClean(t, report)
			stats := l.Snapshot()
			if report.Found != report.Acked || stats.Acked != report.Acked || stats.Attempted != report.Attempted {
				t.Errorf("without failures: %v, %+v", report, stats)
			}
			for kind, n := range stats.AckedByKind {
				if n < stats.Acked/5 {
					t.Errorf("%v: only %d of %d", kind, n, stats.Acked)
				}
			}
			if stats.Writing[s.Address()] != 8 {
				t.Errorf("writing to %v", stats.Writing)
			}
			e.DB = 0
			if r := audit(t, l, e); r.Lost != r.Acked || r.Found != 0 {
				t.Errorf("in an empty db: %v", r)
			}
		})
	}
}

func TestConnectionsKilledUnderLoad(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	client := sandboxtest.Client(t, s)
	l := start(t, load.Config{Endpoints: []server.Endpoint{s.Endpoint()}})
	for range 100 {
		await(t, l, 100)
		do(t, client, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
	}
	report := audit(t, l, s.Endpoint())
	mustBeClean(t, report)
	stats := l.Snapshot()
	if stats.Unknown == 0 || stats.Errors["connection"] == 0 {
		t.Errorf("no write was cut off: %+v", stats)
	}
	if got := stats.Acked + stats.Refused + stats.Unknown; got != stats.Attempted {
		t.Errorf("outcomes of %d attempts do not add up: %+v", stats.Attempted, stats)
	}
}

func TestServerKilledAndRestarted(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--appendonly yes", "--appendfsync always"}})
	l := start(t, load.Config{Endpoints: []server.Endpoint{s.Endpoint()}, Writers: 4})
	for range 3 {
		await(t, l, 200)
		if err := s.Restart(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	await(t, l, 200)
	report := audit(t, l, s.Endpoint())
	mustBeClean(t, report)
	if stats := l.Snapshot(); stats.Errors["connect"] == 0 {
		t.Errorf("nobody noticed: %+v", stats)
	}
}

// The order of a switch that loses nothing: the writers must find the new
// primary by themselves, by READONLY alone.
func TestWritersMoveToTheNewPrimary(t *testing.T) {
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	clientA, clientB := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	do(t, clientB, "REPLICAOF", "127.0.0.1", a.Port())
	l := start(t, load.Config{Endpoints: []server.Endpoint{a.Endpoint(), b.Endpoint()}, Writers: 16})
	awaitReplica(t, clientA)
	await(t, l, 2000)
	do(t, clientA, "FAILOVER", "TO", "127.0.0.1", b.Port(), "TIMEOUT", 5000)
	for deadline := time.Now().Add(10 * time.Second); l.Snapshot().Writing[b.Address()] < 16; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("still writing to %v", l.Snapshot().Writing)
		}
	}
	await(t, l, 2000)
	report := audit(t, l, b.Endpoint())
	mustBeClean(t, report)
	if stats := l.Snapshot(); stats.Errors["READONLY"] == 0 {
		t.Errorf("errors %v", stats.Errors)
	}
}

func awaitReplica(t *testing.T, primary *server.Client) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		info, err := primary.Info(t.Context(), "replication")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(info["slave0"], "state=online") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("no replica: %v", info)
		}
	}
}

// Promoting a replica while the writers are still on the old primary is the
// mistake that this package exists to find.
func TestCarelessSwitchIsFound(t *testing.T) {
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	b := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	clientA, clientB := sandboxtest.Client(t, a), sandboxtest.Client(t, b)
	do(t, clientB, "REPLICAOF", "127.0.0.1", a.Port())
	l := start(t, load.Config{Endpoints: []server.Endpoint{a.Endpoint(), b.Endpoint()}})
	awaitReplica(t, clientA)
	await(t, l, 1000)
	do(t, clientB, "REPLICAOF", "NO", "ONE")
	await(t, l, 1000)
	do(t, clientA, "REPLICAOF", "127.0.0.1", b.Port())
	await(t, l, 1000)
	report := audit(t, l, b.Endpoint())
	if report.Lost < 500 {
		t.Errorf("about 1000 writes went to the wrong server: %v", report)
	}
}

func TestPlantedDifferencesAreFound(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	client := sandboxtest.Client(t, s)
	l := start(t, load.Config{Endpoints: []server.Endpoint{s.Endpoint()}, Writers: 2, Prefix: "planted:"})
	await(t, l, 2000)
	mustBeClean(t, audit(t, l, s.Endpoint()))
	key := func(suffix string) string {
		keys, ok := do(t, client, "KEYS", "planted:*:"+suffix).([]any)
		if !ok || len(keys) != 1 {
			t.Fatalf("keys *:%s: %v", suffix, keys)
		}
		return fmt.Sprint(keys[0])
	}
	plants := []struct {
		name          string
		plant, undo   []any
		lost, doubled int64
		reordered     int64
	}{
		{"shared counter back", []any{"DECRBY", key("shared"), 2}, []any{"INCRBY", key("shared"), 2}, 2, 0, 0},
		{"shared counter ahead", []any{"INCR", key("shared")}, []any{"DECR", key("shared")}, 0, 1, 0},
		{"own counter back", []any{"DECR", key("1:counter")}, []any{"INCR", key("1:counter")}, 1, 0, 0},
		{"own counter ahead", []any{"INCRBY", key("1:counter"), 3}, []any{"DECRBY", key("1:counter"), 3}, 0, 3, 0},
		{"unique key gone", []any{"DEL", key("0:unique:7")}, []any{"SET", key("0:unique:7"), "7"}, 1, 0, 0},
		{"unique key overwritten", []any{"SET", key("0:unique:7"), "8"}, []any{"SET", key("0:unique:7"), "7"}, 1, 0, 0},
		{"element gone", []any{"LPOP", key("1:list")}, []any{"LPUSH", key("1:list"), "0"}, 1, 0, 0},
		{"element twice", []any{"RPUSH", key("1:list"), "5"}, []any{"RPOP", key("1:list")}, 0, 1, 0},
		{"element never pushed", []any{"RPUSH", key("1:list"), "99999999"}, []any{"RPOP", key("1:list")}, 0, 1, 0},
		{"element moved", []any{"LMOVE", key("1:list"), key("1:list"), "LEFT", "RIGHT"}, []any{"LMOVE", key("1:list"), key("1:list"), "RIGHT", "LEFT"}, 0, 0, 1},
	}
	for _, p := range plants {
		t.Run(p.name, func(t *testing.T) {
			do(t, client, p.plant...)
			report := audit(t, l, s.Endpoint())
			if report.Lost != p.lost || report.Doubled != p.doubled || report.Reordered != p.reordered || len(report.Samples) == 0 || report.Clean() {
				t.Errorf("got %v, %q, want %d lost, %d doubled, %d reordered", report, report.Samples, p.lost, p.doubled, p.reordered)
			}
			do(t, client, p.undo...)
			mustBeClean(t, audit(t, l, s.Endpoint()))
		})
	}
}

// A counter that goes back under the load is found even though its end is right.
func TestLossDuringTheLoadIsFound(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	client := sandboxtest.Client(t, s)
	l := start(t, load.Config{Endpoints: []server.Endpoint{s.Endpoint()}, Writers: 1, Rate: 2000})
	await(t, l, 100)
	keys, ok := do(t, client, "KEYS", "*:0:counter").([]any)
	if !ok || len(keys) != 1 {
		t.Fatal(keys)
	}
	do(t, client, "DECRBY", keys[0], 2)
	await(t, l, 100)
	if report := audit(t, l, s.Endpoint()); report.Lost != 2 || report.Doubled != 0 {
		t.Errorf("got %v %q", report, report.Samples)
	}
}

func TestStall(t *testing.T) {
	const pause = 300 * time.Millisecond
	for _, rate := range []int{0, 1000} {
		t.Run(fmt.Sprintf("rate %d", rate), func(t *testing.T) {
			s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
			l := start(t, load.Config{Endpoints: []server.Endpoint{s.Endpoint()}, Rate: rate})
			await(t, l, 500)
			l.ResetStall()
			if err := s.Pause(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(pause)
			ongoing := l.Stall()
			if err := s.Resume(); err != nil {
				t.Fatal(err)
			}
			await(t, l, 500)
			ended := l.Stall()
			l.ResetStall()
			await(t, l, 500)
			after := l.Stall()
			if ongoing < pause-20*time.Millisecond || ended < ongoing || ended > pause+2*time.Second {
				t.Errorf("a pause of %v: %v while it lasted, %v at the end", pause, ongoing, ended)
			}
			if after >= ended {
				t.Errorf("%v without a pause", after)
			}
		})
	}
}

func TestRate(t *testing.T) {
	s := sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	l := start(t, load.Config{Endpoints: []server.Endpoint{s.Endpoint()}, Rate: 1000})
	time.Sleep(time.Second)
	l.Stop()
	if got := l.Snapshot().Acked; got < 300 || got > 1100 {
		t.Errorf("%d writes in a second", got)
	}
}

func TestStopWithoutAnyServer(t *testing.T) {
	nobody := server.Endpoint{Network: "tcp", Address: closedPort(t)}
	l := start(t, load.Config{Endpoints: []server.Endpoint{nobody}})
	for l.Snapshot().Errors["connect"] < 20 {
		time.Sleep(time.Millisecond)
	}
	l.Stop()
	if stats := l.Snapshot(); stats.Attempted != 0 || stats.Stall == 0 {
		t.Errorf("%+v", stats)
	}
}

func TestCancelGivesUpWritesInFlight(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	l, err := load.Start(ctx, load.Config{Endpoints: []server.Endpoint{s.Endpoint()}, Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	await(t, l, 100)
	if err := s.Pause(); err != nil {
		t.Fatal(err)
	}
	cancel()
	l.Stop() // would hang without the cancellation
	if err := s.Resume(); err != nil {
		t.Fatal(err)
	}
	report, err := l.Audit(t.Context(), s.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	mustBeClean(t, report)
}

// A server that accepts and never answers is left after the timeout.
func TestTimeoutTurnsToTheNextEndpoint(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	endpoints := []server.Endpoint{{Network: "tcp", Address: mute.Addr().String()}, s.Endpoint()}
	l := start(t, load.Config{Endpoints: endpoints, Timeout: time.Second})
	await(t, l, 1000)
	mustBeClean(t, audit(t, l, s.Endpoint()))
	if got := l.Snapshot().Unknown; got != 8 {
		t.Errorf("%d writes unknown, want one of each writer", got)
	}
}

func closedPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

func TestBadConfig(t *testing.T) {
	for _, c := range []load.Config{{}, {Endpoints: make([]server.Endpoint, 1), Rate: -1}} {
		if _, err := load.Start(t.Context(), c); err == nil {
			t.Errorf("accepted %+v", c)
		}
	}
}

func TestAuditNeedsAStoppedLoad(t *testing.T) {
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	l := start(t, load.Config{Endpoints: []server.Endpoint{s.Endpoint()}})
	if _, err := l.Audit(t.Context(), s.Endpoint()); err == nil {
		t.Error("audited a running load")
	}
}

func BenchmarkLoad(b *testing.B) {
	s := sandboxtest.Start(b, "redis-7.0", sandbox.Options{})
	b.ReportAllocs()
	l, err := load.Start(b.Context(), load.Config{Endpoints: []server.Endpoint{s.Endpoint()}})
	if err != nil {
		b.Fatal(err)
	}
	defer l.Stop()
	for b.Loop() {
		for want := l.Snapshot().Acked + 1000; l.Snapshot().Acked < want; {
			time.Sleep(5 * time.Millisecond)
		}
	}
	b.ReportMetric(l.Snapshot().OpsPerSecond, "writes/s")
}
