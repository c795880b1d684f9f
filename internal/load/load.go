// Package load is an audited load generator. Its writers keep a record of each
// write that a server acknowledged, and Audit says whether a server holds all of
// them, and none twice. The writers behave as a good client does at a switch:
// they turn to the next server at once, follow the redirections of a cluster, and
// never repeat a write of which they do not know whether it was done.
//
// Goroutines: one per writer, owned by Load; they end when Stop is called or the
// context of Start is done.
package load

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/server"
)

// Config says who writes what, where and how fast.
type Config struct {
	// Endpoints are the candidates for the primary, the present one first, or nodes of
	// a cluster, or both. Their DB and credentials are used.
	Endpoints []server.Endpoint
	Mix       Mix    // what is written; default Counters
	Writers   int    // connections, each with one write at a time; default 8
	Rate      int    // writes a second of all writers together; 0: as fast as they can
	Prefix    string // of every key, before the name of the run; default "load:"
	// Before is what each of the endpoints has before the names of all keys; nil for nothing.
	Before []string
	// Divide tells which of the first Servers endpoints, each a server of its own, has a key,
	// while these take writes, and where an audit of several servers looks for it.
	Divide  func(key string) int
	Servers int
	TTL     time.Duration // of the keys that are set once, longer than the load and its audit; 0: none
	Timeout time.Duration // a writer gives up on a reply after this, at the latest after twice this; default 5 s
}

func (c *Config) setDefaults() error {
	if len(c.Endpoints) == 0 {
		return errors.New("load: no endpoint to write to")
	}
	if c.Writers < 0 || c.Rate < 0 || c.Timeout < 0 || c.TTL < 0 {
		return fmt.Errorf("load: writers %d, rate %d and timeout %v must not be negative", c.Writers, c.Rate, c.Timeout)
	}
	if c.Writers == 0 {
		c.Writers = 8
	}
	if c.Prefix == "" {
		c.Prefix = "load:"
	}
	if c.Before != nil && len(c.Before) != len(c.Endpoints) {
		return fmt.Errorf("load: names at %d endpoints of %d", len(c.Before), len(c.Endpoints))
	}
	if c.Timeout == 0 {
		c.Timeout = 5 * time.Second
	}
	return nil
}

// Mix says what is written besides the kinds of counters.
type Mix int

// The mixes.
const (
	Counters Mix = iota // nothing: what costs the least, for measuring
	OneSlot             // commands of all types whose keys are in one slot
	AnySlots            // these, and commands on keys in several slots: a cluster refuses them
)

// Kind is what a write of the counters does.
type Kind int

// The kinds of counters; a writer takes them in turn.
const (
	IncrShared Kind = iota // INCR of one counter that all writers share
	IncrOwn                // INCR of the writer's own counter
	SetUnique              // SET of a key that is written only once
	PushUnique             // RPUSH of an element that is pushed only once
	kinds
)

// String is the command and what it writes to.
func (k Kind) String() string {
	return [...]string{"INCR shared", "INCR own", "SET unique", "RPUSH unique"}[k]
}

// Load is a running load, or one that has been stopped. Its methods are safe
// for concurrent use.
type Load struct {
	keyPrefix string // with the name of the run, so that no two loads meet
	config    Config
	works     []work // besides the counters
	started   time.Time
	cancel    context.CancelFunc
	stopping  chan struct{}
	stopOnce  sync.Once
	running   sync.WaitGroup
	stopped   atomic.Int64 // nanoseconds from started to the end of the last writer, 0 before
	writers   []*writer
}

// Start begins to write. It returns an error only for a bad configuration: a
// server that cannot be reached counts among the errors of Snapshot.
// When ctx is done, writes in flight are given up; Stop waits for them.
func Start(ctx context.Context, c Config) (*Load, error) {
	if err := c.setDefaults(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	l := &Load{
		keyPrefix: c.Prefix + rand.Text()[:8] + ":",
		config:    c,
		started:   time.Now(),
		cancel:    cancel,
		stopping:  make(chan struct{}),
	}
	l.works = works(c.Mix)
	for id := range c.Writers {
		l.writers = append(l.writers, newWriter(l, id))
	}
	for _, w := range l.writers {
		l.running.Go(func() { w.run(ctx) })
	}
	return l, nil
}

// Stop ends the load and waits until the reply to every write in flight has
// come, or its timeout has passed. Stopping twice is harmless.
func (l *Load) Stop() {
	l.stopOnce.Do(func() { close(l.stopping) })
	l.running.Wait()
	l.stopped.CompareAndSwap(0, int64(time.Since(l.started)))
	l.cancel()
}

// now is the monotonic time since the start.
func (l *Load) now() time.Duration { return time.Since(l.started) }

// Stats is what the writers have done so far.
type Stats struct {
	Elapsed      time.Duration
	Attempted    int64            // writes sent
	Acked        int64            // writes that a server acknowledged
	Refused      int64            // writes answered by an error: not done
	Unknown      int64            // writes whose reply never came: done or not
	AckedByKind  map[string]int64 // by the name of the Kind, or of what a Mix adds
	Errors       map[string]int64 // by the server's code word, or "connect" and "connection"
	OpsPerSecond float64          // acknowledged writes since the start
	Stall        time.Duration    // see Load.Stall
	Writing      map[string]int   // writers by the address that acknowledged their last write
}

// Snapshot adds up the writers' counts.
func (l *Load) Snapshot() Stats {
	now := l.now()
	s := Stats{Elapsed: now, AckedByKind: make(map[string]int64), Errors: make(map[string]int64), Writing: make(map[string]int)}
	if stopped := l.stopped.Load(); stopped != 0 {
		s.Elapsed = time.Duration(stopped)
	}
	for _, w := range l.writers {
		w.mu.Lock()
		s.Attempted += w.attempted
		s.Refused += w.refused
		s.Unknown += w.unknown
		for kind, n := range w.acked {
			s.AckedByKind[kind] += n
			s.Acked += n
		}
		for code, n := range w.errors {
			s.Errors[code] += n
		}
		if w.ackedBy != "" {
			s.Writing[w.ackedBy]++
		}
		s.Stall = max(s.Stall, w.stall.longest(now))
		w.mu.Unlock()
	}
	s.OpsPerSecond = float64(s.Acked) / s.Elapsed.Seconds()
	return s
}

// Stall is the longest that any one writer has waited from the moment it wanted
// to write until a write was acknowledged, failed attempts in between included,
// since the last ResetStall. A writer without a Rate wants to write whenever its
// last write was acknowledged, so for it this is the longest gap between two
// acknowledgements. A wait that goes on counts up to now.
func (l *Load) Stall() time.Duration { return l.Snapshot().Stall }

// ResetStall forgets the stalls so far; of a wait that goes on, only what is
// still to come counts.
func (l *Load) ResetStall() {
	now := l.now()
	for _, w := range l.writers {
		w.mu.Lock()
		w.stall.reset(now)
		w.mu.Unlock()
	}
}

// stall measures how long one writer waits. Times are those of Load.now.
type stall struct {
	waiting bool
	since   time.Duration // when the present wait began
	max     time.Duration // the longest wait that has ended
}

func (s *stall) begin(now time.Duration) { s.waiting, s.since = true, now }

func (s *stall) end(now time.Duration) {
	s.max = max(s.max, now-s.since)
	s.waiting = false
}

func (s *stall) longest(now time.Duration) time.Duration {
	if s.waiting {
		return max(s.max, now-s.since)
	}
	return s.max
}

func (s *stall) reset(now time.Duration) { s.since, s.max = now, 0 }
