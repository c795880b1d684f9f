package live

import (
	"context"
	"iter"
	"sync"

	"godwit/internal/migrate"
)

// memory is a Migration without servers.
type memory struct {
	mu     sync.Mutex
	status migrate.Status
	err    error // of Status
	asked  []string
	result migrate.SwitchResult
	opErr  error
	events chan migrate.Event
}

func newMemory(phase migrate.Phase) *memory {
	return &memory{
		status: example(phase), events: make(chan migrate.Event, 8),
		result: migrate.SwitchResult{Done: true, WriteStallMS: 6.2},
	}
}

func (m *memory) set(change func(*memory)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	change(m)
}

func (m *memory) Status(context.Context) (migrate.Status, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.status, m.err
}

func (m *memory) Events(ctx context.Context) iter.Seq2[migrate.Event, error] {
	return func(yield func(migrate.Event, error) bool) {
		for {
			select {
			case event, open := <-m.events:
				if !open || !yield(event, nil) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (m *memory) record(name string) (migrate.SwitchResult, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, name)
	return m.result, m.opErr
}

func (m *memory) Cutover(context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error) {
	return m.record("cutover")
}

func (m *memory) Rollback(context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error) {
	return m.record("rollback")
}

func (m *memory) Complete(context.Context, bool) (migrate.EndResult, error) {
	_, err := m.record("complete")
	return migrate.EndResult{Done: err == nil}, err
}

// notRunning is what a status.Client answers once the process has ended.
type notRunning struct{}

func (notRunning) Error() string { return "no godwit process runs the migration" }
func (notRunning) NotRunning()   {}
