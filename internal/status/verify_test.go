package status_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/status"
	"godwit/internal/verify"
)

func TestVerifyIsTold(t *testing.T) {
	m := newMemory()
	m.hold = make(chan struct{})
	client, _ := connect(t, m)
	options := migrate.VerifyOptions{Sample: 0.01, DBs: []int{3}, MaxDuration: time.Minute, Samples: 5}
	var told []migrate.VerifyStatus
	report, err := client.Verify(t.Context(), options, func(v migrate.VerifyStatus) {
		told = append(told, v)
		if len(told) == 2 {
			close(m.hold)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(told) < 2 || told[0].SourceKeys != 7 || told[0].Stage != verify.StageSnapshot {
		t.Errorf("told %+v", told)
	}
	if report.Result != verify.Different || string(report.Samples[0].Key) != "\xff" {
		t.Errorf("report %+v", report)
	}
	if !reflect.DeepEqual(m.compare, options) {
		t.Errorf("options %+v, want %+v", m.compare, options)
	}
}

func TestVerifyThatDoesNotBegin(t *testing.T) {
	m := newMemory()
	m.switchErr = fmt.Errorf("verify: %w", refusal{})
	client, _ := connect(t, m)
	_, err := client.Verify(t.Context(), migrate.VerifyOptions{}, func(migrate.VerifyStatus) {})
	var remote *status.RemoteError
	if !errors.As(err, &remote) || status.Hint(err) != "wait until it follows" || status.ExitCode(err) != status.ExitGaveUp {
		t.Errorf("got %v, hint %q, exit code %d", err, status.Hint(err), status.ExitCode(err))
	}
}

// Ctrl-C on `godwit verify` cancels the comparison, and nothing else.
func TestVerifyEndsWithTheVerbThatAsked(t *testing.T) {
	m := newMemory()
	m.hold = make(chan struct{})
	client, stop := connect(t, m)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := client.Verify(ctx, migrate.VerifyOptions{}, func(migrate.VerifyStatus) { cancel() })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
	awaitCancelled(t, m)
	if _, err := client.Status(t.Context()); err != nil {
		t.Errorf("the status after it: %v", err)
	}
	stop()
}

func TestVerifyEndsWithTheRun(t *testing.T) {
	m := newMemory()
	m.hold = make(chan struct{})
	client, stop := connect(t, m)
	began := make(chan struct{}, 1)
	ended := make(chan error, 1)
	go func() {
		_, err := client.Verify(t.Context(), migrate.VerifyOptions{}, func(migrate.VerifyStatus) {
			select {
			case began <- struct{}{}:
			default:
			}
		})
		ended <- err
	}()
	<-began
	stop()
	<-ended
	awaitCancelled(t, m)
}

func awaitCancelled(t *testing.T, m *memory) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		m.mu.Lock()
		cancelled := m.cancelled
		m.mu.Unlock()
		if cancelled {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the comparison goes on")
		}
	}
}

func TestVerifyIsSeen(t *testing.T) {
	m := newMemory()
	m.status.Verify = migrate.VerifyStatus{
		State: migrate.VerifyDifferent, Method: "snapshot", SourceKeys: 300_012, TargetKeys: 300_010, SourceBytes: 5000, TargetBytes: 4000,
		Differing: 4, Differences: map[string]int64{"missing": 3, "ttl": 1}, Settled: 2, Offset: 99, HeldMS: 12.5, Seconds: 1.5,
		At: m.status.At.Add(-10 * time.Second),
	}
	ask := tcp(t, m)
	_, text := ask(http.MethodGet, "/metrics")
	for _, line := range []string{
		`godwit_verify_result{result="different"} 1`,
		`godwit_verify_result{result="equal"} 0`,
		`godwit_verify_verified 0`,
		`godwit_verify_running 0`,
		`godwit_verify_differences{kind="missing"} 3`,
		`godwit_verify_differences{kind="value"} 0`,
		`godwit_verify_keys{end="source"} 300012`,
		`godwit_verify_bytes{end="target"} 4000`,
		`godwit_verify_settled_keys 2`,
		`godwit_verify_held_seconds 0.0125`,
		`godwit_verify_duration_seconds 1.5`,
		`godwit_verify_last_result_timestamp_seconds 1.772627395e+09`,
	} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("no line %q", line)
		}
	}
	_, page := ask(http.MethodGet, "/")
	for _, part := range []string{
		"<h2>Verify</h2>", `<span class="bad">4 keys differ (3 missing, 1 ttl), 10 s ago</span>`, "by snapshot", "feed held for 12 ms", "2 settled",
	} {
		if !strings.Contains(page, part) {
			t.Errorf("the page has no %q", part)
		}
	}
	m.mu.Lock()
	m.status.Verify = migrate.VerifyStatus{State: migrate.VerifyNever}
	m.mu.Unlock()
	if _, page := ask(http.MethodGet, "/"); strings.Contains(page, "Verify") {
		t.Error("the page tells of a comparison that never was")
	}
	if _, text := ask(http.MethodGet, "/metrics"); !strings.Contains(text, "\ngodwit_verify_last_result_timestamp_seconds 0\n") {
		t.Error("a time of a result that never was")
	}
}
