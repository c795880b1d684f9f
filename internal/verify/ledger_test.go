package verify

import (
	"context"
	"errors"
	"testing"
	"time"
)

// SCAN does not run away from a batch that takes long: what is kept of those after
// it has a limit.
func TestLedgerKeepsLittleOfWhatIsAhead(t *testing.T) {
	tests := []struct {
		name     string
		suspects int // of each batch
	}{
		{"equal", 0}, {"different", batchKeys},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLedger(&run{source: &side{}, target: &side{}}, scanState{})
			begun := l.lineOf(false, 0, 0)
			finish := func(number int) {
				b := &batch{number: number, line: begun, keys: make([][]byte, batchKeys)}
				for i := range tt.suspects {
					b.suspects = append(b.suspects, suspect{DB: number, Key: Binary{byte(i), byte(i >> 8)}})
				}
				l.finish(b)
				if b.keys != nil {
					t.Fatal("the names of its keys are kept")
				}
			}
			hasRoom := func() bool {
				soon, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				err := l.awaitRoom(soon)
				if err != nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Fatal(err)
				}
				return err == nil
			}
			n := 1 // the first is not finished
			for ; hasRoom(); n++ {
				if n > 2*maxAhead {
					t.Fatalf("%d batches and %d suspects are kept, and there is room for more", len(l.compared), l.ahead)
				}
				finish(n)
			}
			if most := maxSuspects + batchKeys; l.ahead > most {
				t.Errorf("%d suspects are kept, want %d at most", l.ahead, most)
			}
			waited := make(chan error, 1)
			go func() { waited <- l.awaitRoom(t.Context()) }()
			finish(0)
			l.mu.Lock()
			clear(l.open)
			l.mu.Unlock()
			l.tellRoom()
			if err := <-waited; err != nil {
				t.Error(err)
			}
			if len(l.compared) != 0 || l.ahead != 0 || l.next != n {
				t.Errorf("%d batches and %d suspects are kept, number %d is next", len(l.compared), l.ahead, l.next)
			}
		})
	}
}
