package status_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/migrate"
	"godwit/internal/verify"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Controller without servers: it records what it is asked and
// answers what the test says.
type memory struct {
	mu          sync.Mutex
	status      migrate.Status
	subscribers map[chan migrate.Event]struct{}
	asked       []string
	options     migrate.SwitchOptions
	switchErr   error
	hold        chan struct{} // when set, an operation waits for it
	cancelled   bool          // the context of a held operation ended first
	compare     migrate.VerifyOptions
}

func newMemory() *memory {
	return &memory{subscribers: make(map[chan migrate.Event]struct{}), status: exampleStatus()}
}

func (m *memory) Status() migrate.Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status
}

func (m *memory) Subscribe() (<-chan migrate.Event, func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	events := make(chan migrate.Event, 16)
	m.subscribers[events] = struct{}{}
	return events, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.subscribers, events)
	}
}

// emit waits for a subscriber and sends it an event.
func (m *memory) emit(text string) {
	for {
		m.mu.Lock()
		for events := range m.subscribers {
			events <- migrate.Event{At: time.Unix(0, 0).UTC(), Level: "info", Text: text}
			m.mu.Unlock()
			return
		}
		m.mu.Unlock()
		time.Sleep(time.Millisecond)
	}
}

func (m *memory) operate(ctx context.Context, name string) error {
	m.mu.Lock()
	m.asked = append(m.asked, name)
	hold, err := m.hold, m.switchErr
	m.mu.Unlock()
	if hold == nil {
		return err
	}
	select {
	case <-hold:
	case <-ctx.Done():
		m.mu.Lock()
		m.cancelled = true
		m.mu.Unlock()
	}
	return err
}

func (m *memory) operations() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.asked...)
}

func (m *memory) Cutover(ctx context.Context, o migrate.SwitchOptions) (migrate.SwitchResult, error) {
	m.mu.Lock()
	m.options = o
	m.mu.Unlock()
	err := m.operate(ctx, "cutover")
	result := migrate.SwitchResult{Direction: "cutover", Done: err == nil && !o.DryRun, DryRun: o.DryRun, WriteStallMS: 6.2}
	if err != nil {
		result.Reason = err.Error()
	}
	return result, err
}

func (m *memory) Rollback(ctx context.Context, o migrate.SwitchOptions) (migrate.SwitchResult, error) {
	err := m.operate(ctx, "rollback")
	return migrate.SwitchResult{Direction: "rollback", Done: err == nil, DryRun: o.DryRun}, err
}

func (m *memory) Complete(ctx context.Context, dryRun bool) (migrate.EndResult, error) {
	err := m.operate(ctx, "complete")
	return migrate.EndResult{Done: !dryRun, DryRun: dryRun, Notes: []string{"the old source is a replica of the new primary"}}, err
}

func (m *memory) Abort(ctx context.Context, dryRun bool) (migrate.EndResult, error) {
	err := m.operate(ctx, "abort")
	return migrate.EndResult{Done: !dryRun, DryRun: dryRun}, err
}

func (m *memory) Verify(ctx context.Context, o migrate.VerifyOptions) (*verify.Report, error) {
	m.mu.Lock()
	m.compare = o
	m.status.Verify = migrate.VerifyStatus{State: migrate.VerifyRunning, Stage: verify.StageSnapshot, SourceKeys: 7}
	m.mu.Unlock()
	if err := m.operate(ctx, "verify"); err != nil {
		return nil, err
	}
	return &verify.Report{ID: "20260304-123005-a1b2c3", Result: verify.Different, Samples: []verify.Difference{{Kind: verify.Missing, Key: verify.Binary("\xff")}}}, nil
}

func exampleStatus() migrate.Status {
	at := time.Date(2026, 3, 4, 12, 30, 5, 0, time.UTC)
	return migrate.Status{
		Name: "default", Phase: migrate.Following, Ready: true, Running: true, PID: 4242, Engine: "relay",
		Source: migrate.ServerStatus{URL: "redis://10.0.0.1:6379", Version: "Redis 7.0.15", Role: "primary", Keys: 300012, UsedMemory: 47 << 20},
		Target: migrate.ServerStatus{URL: "rediss://10.0.0.2:6379", Version: "Valkey 8.1.3", Role: "replica", Keys: 300012, UsedMemory: 45 << 20},
		Copy:   migrate.CopyStatus{Keys: 300000, TotalKeys: 300000, Bytes: 31 << 20, Fraction: 1, Seconds: 3.2, ETASeconds: 0, FullResyncs: 1},
		Links: []migrate.LinkStatus{{
			Source: "10.0.0.1:6379", Target: "10.0.0.2:6379", State: "streaming", ReplID: "f00d",
			SourceOffset: 123456789, TargetOffset: 123456700, LagBytes: 89, LagMS: 2, BytesPerSec: 4.5 * (1 << 20),
		}},
		Spool:     migrate.SpoolStatus{MemoryLimit: 64 << 20, DiskLimit: 16 << 30},
		Dropped:   []migrate.DroppedStatus{{Feature: "vector-set", Server: "10.0.0.2:6379", Count: 12, Copy: 5, Stream: 7}},
		NextSteps: []string{"godwit cutover"},
		Events:    []migrate.Event{{At: at, Level: "info", Text: "copied <300000> keys"}, {At: at, Level: "warn", Text: "slow target"}},
		StartedAt: at.Add(-time.Minute), At: at,
	}
}
