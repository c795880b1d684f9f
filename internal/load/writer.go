package load

import (
	"context"
	"errors"
	"sync"
	"time"
)

const (
	// minBackoff and maxBackoff are the rest a writer takes after each of the
	// endpoints has failed it.
	minBackoff = time.Millisecond
	maxBackoff = 5 * time.Millisecond
)

// writer sends one write at a time on one connection, and records the outcome.
type writer struct {
	load     *Load
	id       int
	conn     *conn // nil when there is none
	endpoint int   // index of the one in use, or to be tried next
	failures int   // endpoints that failed since the last acknowledgement
	backoff  time.Duration
	timer    *time.Timer

	// history is the goroutine's own until the load has stopped.
	history history

	mu        sync.Mutex // guards what follows, for Snapshot
	attempted int64
	refused   int64
	unknown   int64
	acked     [kinds]int64
	errors    map[string]int64
	ackedBy   int // endpoint that acknowledged last, -1 before
	stall     stall
}

func newWriter(l *Load, id int) *writer {
	return &writer{
		load:    l,
		id:      id,
		backoff: minBackoff,
		errors:  make(map[string]int64),
		ackedBy: -1,
		stall:   stall{waiting: true},
	}
}

// run writes until it is told to stop.
func (w *writer) run(ctx context.Context) {
	w.timer = time.NewTimer(time.Hour) // reset before each use
	defer w.timer.Stop()
	defer w.disconnect()
	commands := newCommands(w.load.keyPrefix, w.id, w.load.config.TTL)
	pace := newPace(w.load.config, w.id)
	for {
		due, ok := w.await(ctx, pace)
		if !ok {
			return
		}
		w.mu.Lock()
		if !w.stall.waiting {
			w.stall.begin(due)
		}
		w.mu.Unlock()
		if !w.write(ctx, commands) && !w.rest(ctx) {
			return
		}
	}
}

// await returns the moment from which the next write was wanted, once that has
// come; false when the load is to stop.
func (w *writer) await(ctx context.Context, p *pace) (time.Duration, bool) {
	select {
	case <-w.load.stopping:
		return 0, false
	case <-ctx.Done():
		return 0, false
	default:
	}
	now := w.load.now()
	due := p.next(now)
	if due <= now {
		return due, true
	}
	return due, w.sleep(ctx, due-now)
}

// rest waits a little if every endpoint has failed in turn.
func (w *writer) rest(ctx context.Context) bool {
	if w.failures < len(w.load.config.Endpoints) {
		return true
	}
	w.failures = 0
	defer func() { w.backoff = min(2*w.backoff, maxBackoff) }()
	return w.sleep(ctx, w.backoff)
}

func (w *writer) sleep(ctx context.Context, d time.Duration) bool {
	w.timer.Reset(d)
	select {
	case <-w.timer.C:
		return true
	case <-w.load.stopping:
		return false
	case <-ctx.Done():
		return false
	}
}

// write makes one attempt at the next write, with an identity that no other
// attempt has. It tells whether the write was acknowledged.
func (w *writer) write(ctx context.Context, commands *commands) bool {
	if w.conn == nil && !w.connect(ctx) {
		return false
	}
	kind, seq := w.history.next()
	w.mu.Lock()
	w.attempted++
	w.mu.Unlock()
	reply, err := w.conn.roundTrip(commands.encode(kind, seq))
	now := w.load.now()
	if err != nil {
		w.fail(err)
		return false
	}
	w.history.acknowledge(reply)
	w.failures, w.backoff = 0, minBackoff
	w.mu.Lock()
	defer w.mu.Unlock()
	w.acked[kind]++
	w.ackedBy = w.endpoint
	w.stall.end(now)
	return true
}

// fail records why a write was not acknowledged, and goes on to the next endpoint.
func (w *writer) fail(err error) {
	defer w.turn()
	w.mu.Lock()
	defer w.mu.Unlock()
	var refusal refusedError
	if errors.As(err, &refusal) {
		w.history.refuse()
		w.refused++
		w.errors[string(refusal)]++
		return
	}
	w.history.lose()
	w.unknown++
	w.errors["connection"]++
}

func (w *writer) connect(ctx context.Context) bool {
	c, err := dial(ctx, w.load.config.Endpoints[w.endpoint], w.load.config.Timeout)
	if err == nil {
		w.conn = c
		return true
	}
	code := "connect"
	var refusal refusedError
	if errors.As(err, &refusal) {
		code = string(refusal)
	}
	w.mu.Lock()
	w.errors[code]++
	w.mu.Unlock()
	w.turn()
	return false
}

// turn goes on to the next endpoint.
func (w *writer) turn() {
	w.disconnect()
	w.failures++
	w.endpoint = (w.endpoint + 1) % len(w.load.config.Endpoints)
}

func (w *writer) disconnect() {
	if w.conn != nil {
		w.conn.close()
		w.conn = nil
	}
}

// pace spreads a writer's writes evenly over time.
type pace struct {
	interval time.Duration // 0: no pace
	due      time.Duration
}

// maxBurst is how far behind its pace a writer may fall and still catch up: the
// resolution of timers, not the length of a stall, after which a burst would
// distort what the servers see.
const maxBurst = 20 * time.Millisecond

func newPace(c Config, id int) *pace {
	if c.Rate == 0 {
		return &pace{}
	}
	interval := time.Second * time.Duration(c.Writers) / time.Duration(c.Rate)
	return &pace{interval: interval, due: interval * time.Duration(id) / time.Duration(c.Writers)}
}

// next is when the next write is due.
func (p *pace) next(now time.Duration) time.Duration {
	if p.interval == 0 {
		return now
	}
	p.due = max(p.due+p.interval, now-maxBurst)
	return p.due
}
