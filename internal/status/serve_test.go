package status_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/status"
)

// serve runs the API on listener until the test ends or stop is called.
func serve(t *testing.T, listener net.Listener, c status.Controller) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- status.Serve(ctx, listener, c, "v1.2.3") }()
	stop = sync.OnceFunc(func() { // whoever calls it waits for the end
		cancel()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// connect serves m on a Unix socket and dials it.
func connect(t *testing.T, m *memory) (*status.Client, func()) {
	t.Helper()
	dir := longStateDir(t)
	stop := serve(t, listen(t, dir), m)
	client, err := status.Dial(t.Context(), dir, "default")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() }) // always nil
	return client, stop
}

func TestStatusCrossesTheSocketUnchanged(t *testing.T) {
	m := newMemory()
	client, _ := connect(t, m)
	got, err := client.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := m.Status(); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestOperations(t *testing.T) {
	m := newMemory()
	client, _ := connect(t, m)
	ctx := t.Context()
	options := migrate.SwitchOptions{MaxPauseMS: 250, NoKill: true}
	cutover, err := client.Cutover(ctx, options)
	if err != nil || !cutover.Done || cutover.WriteStallMS != 6.2 || m.options != options {
		t.Errorf("cutover: %+v, %v, options %+v", cutover, err, m.options)
	}
	if result, err := client.Rollback(ctx, migrate.SwitchOptions{DryRun: true}); err != nil || !result.DryRun {
		t.Errorf("rollback: %+v, %v", result, err)
	}
	if result, err := client.Complete(ctx, false); err != nil || !result.Done || len(result.Notes) != 1 {
		t.Errorf("complete: %+v, %v", result, err)
	}
	if result, err := client.Abort(ctx, true); err != nil || result.Done || !result.DryRun {
		t.Errorf("abort: %+v, %v", result, err)
	}
	if want := []string{"cutover", "rollback", "complete", "abort"}; !slices.Equal(m.operations(), want) {
		t.Errorf("asked %v, want %v", m.operations(), want)
	}
}

// refusal is an error with everything that the API carries.
type refusal struct{}

func (refusal) Error() string    { return "10.0.0.2:6379: lag of 3 MB" }
func (refusal) HintText() string { return "wait until it follows" }
func (refusal) ExitCode() int    { return status.ExitGaveUp }

func TestAnErrorKeepsItsHintExitCodeAndResult(t *testing.T) {
	m := newMemory()
	m.switchErr = fmt.Errorf("cutover: %w", refusal{})
	client, _ := connect(t, m)
	result, err := client.Cutover(t.Context(), migrate.SwitchOptions{})
	var remote *status.RemoteError
	if !errors.As(err, &remote) {
		t.Fatalf("got %v, want *RemoteError", err)
	}
	if err.Error() != "cutover: 10.0.0.2:6379: lag of 3 MB" || status.Hint(err) != "wait until it follows" || status.ExitCode(err) != status.ExitGaveUp {
		t.Errorf("got %q, hint %q, exit code %d", err, status.Hint(err), status.ExitCode(err))
	}
	if result.Direction != "cutover" || result.Done || result.Reason == "" {
		t.Errorf("result %+v", result)
	}
}

func TestEvents(t *testing.T) {
	m := newMemory()
	client, stop := connect(t, m)
	go func() {
		m.emit("first")
		m.emit("second")
	}()
	var got []string
	for event, err := range client.Events(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, event.Text)
		if len(got) == 2 {
			go stop() // the end of the run ends the stream, and is no error
		}
	}
	if !slices.Equal(got, []string{"first", "second"}) {
		t.Errorf("got %v", got)
	}
	stop()
}

func TestLeavingTheEventsUnsubscribes(t *testing.T) {
	m := newMemory()
	client, _ := connect(t, m)
	go m.emit("only")
	for range client.Events(t.Context()) {
		break
	}
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		m.mu.Lock()
		left := len(m.subscribers)
		m.mu.Unlock()
		if left == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d subscribers left", left)
		}
	}
}

// Ctrl-C on `godwit cutover` must not tear a switch in the running process.
func TestAnOperationOutlivesTheVerbThatAsked(t *testing.T) {
	m := newMemory()
	m.hold = make(chan struct{})
	client, stop := connect(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := client.Cutover(ctx, migrate.SwitchOptions{})
		failed <- err
	}()
	for len(m.operations()) == 0 {
		time.Sleep(time.Millisecond)
	}
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	close(m.hold)
	stop()
	if m.cancelled {
		t.Error("the operation was cancelled with its request")
	}
}

// `complete` ends the run that answers it; the answer must still arrive.
func TestTheEndOfTheRunWaitsForTheAnswer(t *testing.T) {
	m := newMemory()
	m.hold = make(chan struct{})
	client, stop := connect(t, m)
	answered := make(chan error, 1)
	go func() {
		result, err := client.Complete(t.Context(), false)
		if err == nil && !result.Done {
			err = errors.New("not done")
		}
		answered <- err
	}()
	for len(m.operations()) == 0 {
		time.Sleep(time.Millisecond)
	}
	time.AfterFunc(50*time.Millisecond, func() { close(m.hold) })
	stop()
	if err := <-answered; err != nil {
		t.Error(err)
	}
}

func TestBadOptionsAreAUsageError(t *testing.T) {
	m := newMemory()
	dir := t.TempDir()
	serve(t, listen(t, dir), m)
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", status.SocketPath(dir, "default"))
	}}
	defer transport.CloseIdleConnections()
	for path, want := range map[string]int{"/cutover": http.StatusBadRequest, "/verify": http.StatusBadRequest, "/nothing": http.StatusNotFound} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://godwit"+path, strings.NewReader(`{"force":true}`))
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close() // only the code counts
		if response.StatusCode != want {
			t.Errorf("%s: %s, want %d", path, response.Status, want)
		}
	}
	if len(m.operations()) > 0 {
		t.Errorf("asked %v", m.operations())
	}
}

// tcp serves m on a TCP port and returns a function that asks it.
func tcp(t *testing.T, m *memory) func(method, path string) (int, string) {
	t.Helper()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serve(t, listener, m)
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return func(method, path string) (int, string) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), method, "http://"+listener.Addr().String()+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close() // read to its end
		return response.StatusCode, string(body)
	}
}

func TestTCPIsReadOnly(t *testing.T) {
	m := newMemory()
	ask := tcp(t, m)
	for _, path := range []string{"/", "/status", "/metrics"} {
		if code, _ := ask(http.MethodGet, path); code != http.StatusOK {
			t.Errorf("GET %s: %d", path, code)
		}
	}
	for _, path := range []string{"/", "/status", "/cutover", "/rollback", "/complete", "/abort", "/verify"} {
		if code, _ := ask(http.MethodPost, path); code != http.StatusNotFound && code != http.StatusMethodNotAllowed {
			t.Errorf("POST %s: %d", path, code)
		}
	}
	if code, _ := ask(http.MethodGet, "/events"); code != http.StatusNotFound {
		t.Errorf("GET /events: %d", code)
	}
	if len(m.operations()) > 0 {
		t.Errorf("asked %v", m.operations())
	}
}

func TestMetrics(t *testing.T) {
	_, text := tcp(t, newMemory())(http.MethodGet, "/metrics")
	for _, line := range []string{
		`godwit_info{engine="relay",name="default",version="v1.2.3"} 1`,
		`godwit_phase{phase="following"} 1`,
		`godwit_phase{phase="copying"} 0`,
		`godwit_ready 1`,
		`godwit_server_keys{end="source",server="redis://10.0.0.1:6379"} 300012`,
		`godwit_copy_fraction 1`,
		`godwit_full_resyncs_total 1`,
		`godwit_link_lag_bytes{source="10.0.0.1:6379",target="10.0.0.2:6379"} 89`,
		`godwit_link_lag_seconds{source="10.0.0.1:6379",target="10.0.0.2:6379"} 0.002`,
		`godwit_spool_limit_bytes{place="memory"} 6.7108864e+07`,
		"go_goroutines ",
		"process_resident_memory_bytes ",
	} {
		if !strings.Contains(text, "\n"+line) {
			t.Errorf("no line %q", line)
		}
	}
}

func TestPage(t *testing.T) {
	m := newMemory()
	m.status.Cutover = migrate.CutoverStatus{Direction: "cutover", WriteStallMS: 6.2, Switches: 1, Steps: []migrate.StepStatus{
		{Name: "pause", Server: "10.0.0.1:6379", Command: "FAILOVER TO 10.0.0.9 7000 TIMEOUT 1000", State: "done", TookMS: 1.5},
	}}
	ask := tcp(t, m)
	for _, phase := range []migrate.Phase{migrate.Planned, migrate.Copying, migrate.Following, migrate.Switched, migrate.RolledBack, migrate.Failed} {
		m.mu.Lock()
		m.status.Phase = phase
		m.mu.Unlock()
		code, page := ask(http.MethodGet, "/")
		if code != http.StatusOK {
			t.Fatalf("%s: %d: %s", phase, code, page)
		}
		for _, text := range []string{
			"default: " + string(phase), `aria-current="step">` + string(phase), "10.0.0.1:6379", "Valkey 8.1.3", "300,012",
			"FAILOVER TO 10.0.0.9 7000 TIMEOUT 1000", "writes stalled 6.2 ms", "godwit cutover", "copied &lt;300000&gt; keys",
			`http-equiv="refresh"`,
		} {
			if !strings.Contains(page, text) {
				t.Errorf("%s: the page has no %q", phase, text)
			}
		}
	}
	if events := m.Status().Events; events[0].Text != "copied <300000> keys" {
		t.Error("the page reordered the events of the migration")
	}
}
