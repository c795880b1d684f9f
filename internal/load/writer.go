package load

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"
)

const (
	// minBackoff and maxBackoff are the rest a writer takes after each of the
	// endpoints has failed it.
	minBackoff = time.Millisecond
	maxBackoff = 5 * time.Millisecond
	// maxTries is how often a write is sent to keys of a slot that is half moved:
	// that may last for long, and then the writer goes on to its next write.
	maxTries = 16
	// maxMoves is how often a write is sent elsewhere: the servers do not agree, or a
	// transaction is of keys on several of them.
	maxMoves = 8
)

// task makes the writes of one kind of one writer, and remembers what became of them.
type task interface {
	// name is of the kind of the present write.
	name() string
	// next gives the next write, good until the call after it, with an identity that
	// no other has.
	next(now time.Duration) write
	// end says what became of it, and the reply if it is acked.
	end(is outcome, r reply)
}

// write is one command, or a transaction.
type write struct {
	key     []byte // by which it is routed
	wire    []byte
	replies int // the last of which tells
}

func newWrite(key string, args ...string) write {
	return write{key: []byte(key), wire: encode(args...), replies: 1}
}

// writer sends one write at a time, and records the outcome.
type writer struct {
	load     *Load
	id       int
	router   router
	counters *counters
	tasks    []task // the others, in the order of works
	failures int    // servers that failed since the last acknowledgement
	backoff  time.Duration
	timer    *time.Timer

	mu        sync.Mutex // guards what follows, for Snapshot
	attempted int64
	refused   int64
	unknown   int64
	acked     map[string]int64 // by task.name
	errors    map[string]int64
	ackedBy   string // address that acknowledged last, empty before
	stall     stall
}

func newWriter(l *Load, id int) *writer {
	w := &writer{
		load:     l,
		id:       id,
		router:   router{config: &l.config, conns: make(map[string]*conn)},
		counters: newCounters(l.keyPrefix, id, l.config.TTL),
		backoff:  minBackoff,
		acked:    make(map[string]int64),
		errors:   make(map[string]int64),
		stall:    stall{waiting: true},
	}
	for _, work := range l.works {
		w.tasks = append(w.tasks, work.start(l.keyPrefix, id))
	}
	return w
}

// run writes until it is told to stop: all kinds of counters, then a write of each
// other task, and so on.
func (w *writer) run(ctx context.Context) {
	w.timer = time.NewTimer(time.Hour) // reset before each use
	defer w.timer.Stop()
	defer w.router.close()
	turns := make([]task, 0, int(kinds)+len(w.tasks))
	for range kinds {
		turns = append(turns, w.counters)
	}
	turns = append(turns, w.tasks...)
	pace := newPace(w.load.config, w.id)
	for turn := 0; ; turn = (turn + 1) % len(turns) {
		due, ok := w.await(ctx, pace)
		if !ok {
			return
		}
		w.mu.Lock()
		if !w.stall.waiting {
			w.stall.begin(due)
		}
		w.mu.Unlock()
		if !w.write(ctx, turns[turn]) {
			return
		}
	}
}

// await returns the moment from which the next write was wanted, once that has
// come; false when the load is to stop.
func (w *writer) await(ctx context.Context, p *pace) (time.Duration, bool) {
	if w.stopped(ctx) {
		return 0, false
	}
	now := w.load.now()
	due := p.next(now)
	if due <= now {
		return due, true
	}
	return due, w.sleep(ctx, due-now)
}

func (w *writer) stopped(ctx context.Context) bool {
	select {
	case <-w.load.stopping:
		return true
	case <-ctx.Done():
		return true
	default:
		return false
	}
}

// rest waits a little if every endpoint has failed in turn; false when the load is to stop.
func (w *writer) rest(ctx context.Context) bool {
	if w.failures < len(w.load.config.Endpoints) {
		return !w.stopped(ctx)
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

// write makes one attempt, and tells whether to go on. The same write is sent again
// only if it is certain that it was not done, and would be done elsewhere or later.
func (w *writer) write(ctx context.Context, t task) bool {
	a := attempt{writer: w, task: t, write: t.next(w.load.now()), until: w.load.now() + w.load.config.Timeout}
	a.to = w.router.route(a.write.key)
	for {
		done, ok := a.try(ctx)
		if done || !ok {
			return ok
		}
	}
}

// attempt is one write on its way.
type attempt struct {
	*writer
	task  task
	write write
	to    route
	sent  bool
	tries int           // answered by TRYAGAIN
	moves int           // answered by MOVED or ASK
	until time.Duration // of Load.now: for so long it waits for a cluster that is down
}

// try sends it. It is done when its outcome is recorded; ok is false when the load is
// to stop.
func (a *attempt) try(ctx context.Context) (done, ok bool) {
	c, err := a.router.connect(ctx, a.to)
	if err != nil {
		return a.unreachable(ctx, err)
	}
	wire, replies := a.router.wire(a.write.wire), a.write.replies
	if a.to.asking {
		wire, replies = append(encode("ASKING"), wire...), replies+1
	}
	if !a.sent {
		a.sent = true
		a.mu.Lock()
		a.attempted++
		a.mu.Unlock()
	}
	r, err := c.roundTrip(wire, replies)
	now := a.load.now()
	var refusal *refusedError
	switch {
	case errors.As(err, &refusal):
		return a.refusedBy(ctx, c, refusal)
	case err != nil:
		a.lose()
		return true, a.rest(ctx)
	}
	a.task.end(acked, r)
	a.failures, a.backoff = 0, minBackoff
	a.mu.Lock()
	defer a.mu.Unlock()
	a.acked[a.task.name()]++
	a.ackedBy = c.address
	a.stall.end(now)
	return true, true
}

// unreachable turns to the next endpoint with the same write.
func (a *attempt) unreachable(ctx context.Context, err error) (done, ok bool) {
	code := "connect"
	var refusal *refusedError
	if errors.As(err, &refusal) {
		code = refusal.code()
	}
	a.note(code)
	a.failures++
	if a.to.address != "" { // the others do not know better for a while
		a.failures = len(a.load.config.Endpoints)
	}
	a.router.lost(a.to)
	a.to = a.router.route(a.write.key)
	if a.rest(ctx) {
		return false, true
	}
	a.refuse()
	return true, false
}

func (a *attempt) note(code string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.errors[code]++
}

// refuse ends an attempt that was not done.
func (a *attempt) refuse() {
	a.task.end(refused, reply{})
	if a.sent {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.refused++
	}
}

// lose ends an attempt of which nothing is known, and goes on to the next endpoint.
func (a *attempt) lose() {
	a.note("connection")
	a.task.end(unknown, reply{})
	a.failures++
	a.router.lost(a.to)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.unknown++
}

// refusedBy does what an error reply asks for.
func (a *attempt) refusedBy(ctx context.Context, by *conn, e *refusedError) (done, ok bool) {
	a.note(e.code())
	switch e.code() {
	case "MOVED", "ASK":
		if to, understood := a.router.redirect(ctx, by, e); understood {
			a.to = to
			if a.moves++; a.moves < maxMoves {
				return false, true
			}
			a.refuse()
			return true, a.sleep(ctx, minBackoff)
		}
	case "TRYAGAIN":
		if a.tries++; a.tries < maxTries {
			return a.again(ctx)
		}
		a.refuse()
		return true, true
	case "CLUSTERDOWN":
		if a.load.now() < a.until {
			return a.again(ctx)
		}
	case "CROSSSLOT", "ERR":
		if e.code() == "CROSSSLOT" || strings.HasPrefix(e.text, "ERR unknown command") { // no other server would do it
			a.refuse()
			return true, true
		}
	}
	a.refuse()
	a.failures++
	a.router.leave(a.to)
	return true, a.rest(ctx)
}

// again lets the same write be sent after a little while.
func (a *attempt) again(ctx context.Context) (done, ok bool) {
	a.to = a.router.route(a.write.key)
	if a.sleep(ctx, maxBackoff) {
		return false, true
	}
	a.refuse()
	return true, false
}
