package verify

import (
	"context"
	"sync"
)

// A scan's checkpoint is one small document that replaces the one before it, once a
// second: no log to be replayed, nothing that grows. It belongs together with the
// differences written up to then (journal.checkpoint): what was found after it is
// taken back and found again.

// scanState is what a scan's checkpoint holds.
type scanState struct {
	// Servers are the run_id of each shard of both sides. One that was started again
	// may have other data: what was compared before does not count.
	Servers   []string  `json:"servers"`
	Libraries bool      `json:"libraries"` // have been compared
	Lines     []*line   `json:"lines"`
	Suspects  []suspect `json:"suspects"` // seemed to differ, and have not settled
}

// line is what is read by one run of a cursor: a db of one server.
type line struct {
	Target bool `json:"target,omitempty"` // it is read for keys that the source does not have
	Shard  int  `json:"shard"`
	DB     int  `json:"db"`
	// RunID is the server's: a cursor means nothing to another, or once it has been
	// restarted (a db's hash table is seeded when the server starts).
	RunID  string `json:"run_id"`
	Cursor uint64 `json:"cursor"` // all before it has been compared
	Done   bool   `json:"done,omitempty"`
}

// batch is some keys of a line, and what has become of them.
type batch struct {
	number int // in the order of SCAN
	line   *line
	runID  string
	db     int // of the keys
	keys   [][]byte
	// cursor is where SCAN goes on after the batch; whole says that nothing else
	// that was read with it is still to come.
	cursor uint64
	whole  bool

	source, target Read
	suspects       []suspect
}

const (
	// maxSuspects is how many keys may wait to be settled before SCAN goes on.
	maxSuspects = waves * waveKeys
	// maxAhead is how many batches may have been compared while one before them, with
	// a value that takes long, has not.
	maxAhead = 1024
)

// ledger keeps what a scan has done and what is left to do. Batches count in the
// order of SCAN, whichever is compared first, so that a cursor says it all.
type ledger struct {
	run *run

	mu       sync.Mutex
	state    scanState
	next     int                     // number of the batch that counts next
	compared map[int]*batch          // those after it, and
	ahead    int                     // how many suspects they have
	open     map[suspectKey]*suspect // not yet settled, and of these
	waiting  []*suspect              // those that nobody settles yet
	room     chan struct{}           // told when one of these gets smaller
}

type suspectKey struct {
	db  int
	key string
}

func newLedger(r *run, state scanState) *ledger {
	l := &ledger{
		run: r, state: state, compared: make(map[int]*batch), open: make(map[suspectKey]*suspect), room: make(chan struct{}, 1),
	}
	l.suspect(state.Suspects)
	return l
}

// suspect adds keys that seem to differ, each once.
func (l *ledger) suspect(suspects []suspect) {
	for i := range suspects {
		s := &suspect{DB: suspects[i].DB, Key: suspects[i].Key}
		id := suspectKey{s.DB, string(s.Key)}
		if l.open[id] == nil {
			l.open[id] = s
			l.waiting = append(l.waiting, s)
		}
	}
	l.run.candidates.Store(int64(len(l.open)))
}

// finish takes a batch that has been compared.
func (l *ledger) finish(b *batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	b.keys = nil // are of no use any more
	l.compared[b.number] = b
	l.ahead += len(b.suspects)
	for b = l.compared[l.next]; b != nil; b = l.compared[l.next] {
		delete(l.compared, l.next)
		l.ahead -= len(b.suspects)
		l.next++
		l.run.source.count(b.source)
		l.run.target.count(b.target)
		l.suspect(b.suspects)
		if b.whole {
			b.line.RunID, b.line.Cursor, b.line.Done = b.runID, b.cursor, b.cursor == 0
		}
	}
	l.tellRoom()
}

// tellRoom has awaitRoom look again.
func (l *ledger) tellRoom() {
	select {
	case l.room <- struct{}{}:
	default:
	}
}

// take gives suspects that nobody settles yet, at most n.
func (l *ledger) take(n int) []*suspect {
	l.mu.Lock()
	defer l.mu.Unlock()
	n = min(n, len(l.waiting))
	taken := l.waiting[:n:n]
	l.waiting = l.waiting[n:]
	return taken
}

// awaitRoom returns once not too much is kept of what has been compared.
func (l *ledger) awaitRoom(ctx context.Context) error {
	for {
		l.mu.Lock()
		room := len(l.open)+l.ahead < maxSuspects && len(l.compared) < maxAhead
		l.mu.Unlock()
		if room {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-l.room:
		}
	}
}

// settled takes what has become of a suspect.
func (l *ledger) settled(s *suspect, v verdict) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, suspectKey{s.DB, string(s.Key)})
	l.run.candidates.Store(int64(len(l.open)))
	l.tellRoom()
	return l.run.conclude(v)
}

// librariesDone says that the function libraries have been compared.
func (l *ledger) librariesDone(suspects []suspect) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.Libraries = true
	l.suspect(suspects)
}

// checkpoint makes durable what has been done up to now.
func (l *ledger) checkpoint() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state.Suspects = l.state.Suspects[:0]
	for _, s := range l.open {
		l.state.Suspects = append(l.state.Suspects, suspect{DB: s.DB, Key: s.Key})
	}
	return l.run.checkpoint(&l.state)
}

// lineOf finds or begins a line.
func (l *ledger) lineOf(target bool, shard, db int) *line {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.state.Lines {
		if line.Target == target && line.Shard == shard && line.DB == db {
			return line
		}
	}
	begun := &line{Target: target, Shard: shard, DB: db}
	l.state.Lines = append(l.state.Lines, begun)
	return begun
}

// at is where a line stands: from the beginning, if the server is not the one that
// the cursor is of.
func (l *ledger) at(line *line, runID string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	if runID == "" || line.RunID != runID {
		return 0
	}
	return line.Cursor
}
