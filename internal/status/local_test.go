package status_test

import (
	"context"
	"slices"
	"testing"

	"godwit/internal/status"
)

// The last events of a run are emitted just before its context ends.
func TestLocalEventsAreReadToTheEnd(t *testing.T) {
	m := newMemory()
	ctx, cancel := context.WithCancel(t.Context())
	events := status.Local(m).Events(ctx)
	for _, text := range []string{"one", "two", "three"} {
		m.emit(text)
	}
	cancel()
	var got []string
	for event := range events {
		got = append(got, event.Text)
	}
	if !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("got %v", got)
	}
	if len(m.subscribers) > 0 {
		t.Error("still subscribed")
	}
}
