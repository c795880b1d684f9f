package load

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"

	"godwit/internal/server"
)

// Report compares what the writers were told with what a server holds.
type Report struct {
	Attempted int64 // writes sent
	Acked     int64 // writes acknowledged
	Found     int64 // writes that the server holds
	Lost      int64 // acknowledged and not found
	Doubled   int64 // found more often than they were attempted; an attempt that was answered by an error does not count
	Reordered int64 // list elements found before one that was acknowledged earlier
	Samples   []string
}

// Clean tells whether each acknowledged write was found, and none twice.
func (r Report) Clean() bool { return r.Lost == 0 && r.Doubled == 0 && r.Reordered == 0 }

func (r Report) String() string {
	s := fmt.Sprintf("%d writes acknowledged of %d attempted, %d found, %d lost, %d doubled",
		r.Acked, r.Attempted, r.Found, r.Lost, r.Doubled)
	if r.Reordered > 0 {
		s += fmt.Sprintf(", %d reordered", r.Reordered)
	}
	return s
}

const (
	maxSamples = 20
	// pageSize is how many keys or list elements one command asks for.
	pageSize = 1000
)

// Audit reads every key of the load from e, which must be the primary in the
// end, and compares. The load must have been stopped.
func (l *Load) Audit(ctx context.Context, e server.Endpoint) (Report, error) {
	if l.stopped.Load() == 0 {
		return Report{}, errors.New("load: audit before the load was stopped")
	}
	a := &audit{load: l}
	if err := a.run(ctx, e); err != nil {
		return Report{}, fmt.Errorf("load: audit of %s: %w", e, err)
	}
	return a.report, nil
}

type audit struct {
	load   *Load
	conn   *redis.Conn
	report Report
}

func (a *audit) run(ctx context.Context, e server.Endpoint) error {
	client, err := server.Dial(ctx, e, "")
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // every reply has been read
	a.conn = client.Redis().Conn()
	defer a.conn.Close() //nolint:errcheck // every reply has been read
	if err := a.conn.Select(ctx, e.DB).Err(); err != nil {
		return err
	}
	for _, w := range a.load.writers {
		a.report.Attempted += w.history.attempts
		for kind := range kinds {
			acks, _ := w.history.count(kind)
			a.report.Acked += acks
		}
	}
	if err := a.sharedCounter(ctx); err != nil {
		return err
	}
	for _, w := range a.load.writers {
		if err := a.ownCounter(ctx, w); err != nil {
			return err
		}
		if err := a.uniqueKeys(ctx, w); err != nil {
			return err
		}
		if err := a.list(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

func (a *audit) lost(n int64, format string, args ...any) {
	a.report.Lost += n
	a.sample("lost: "+format, args...)
}

func (a *audit) doubled(n int64, format string, args ...any) {
	a.report.Doubled += n
	a.sample("doubled: "+format, args...)
}

func (a *audit) sample(format string, args ...any) {
	if len(a.report.Samples) < maxSamples {
		a.report.Samples = append(a.report.Samples, fmt.Sprintf(format, args...))
	}
}

func (a *audit) counter(ctx context.Context, key string, low, high int64) error {
	found, err := a.conn.Get(ctx, key).Int64()
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("GET %s: %w", key, err)
	}
	a.report.Found += found
	if found < low {
		a.lost(low-found, "%s is %d, acknowledged %d", key, found, low)
	}
	if found > high {
		a.doubled(found-high, "%s is %d, attempted %d", key, found, high)
	}
	return nil
}

func (a *audit) sharedCounter(ctx context.Context) error {
	var low, high int64
	for _, w := range a.load.writers {
		acks, unknowns := w.history.count(IncrShared)
		low += acks
		high += acks + unknowns
	}
	return a.counter(ctx, sharedKey(a.load.keyPrefix), low, high)
}

func (a *audit) ownCounter(ctx context.Context, w *writer) error {
	key, b := ownKey(a.load.keyPrefix, w.id), w.history.counter
	if b.lost > 0 {
		a.lost(b.lost, "%s went back by %d during the load", key, b.lost)
	}
	if b.doubled > 0 {
		a.doubled(b.doubled, "%s was ahead of the writer by %d during the load", key, b.doubled)
	}
	return a.counter(ctx, key, b.low, b.high)
}

func (a *audit) uniqueKeys(ctx context.Context, w *writer) error {
	prefix := uniqueKey(a.load.keyPrefix, w.id)
	total := w.history.sequences(SetUnique)
	for first := int64(0); first < total; first += pageSize {
		last := min(first+pageSize, total)
		keys := make([]string, 0, pageSize)
		for seq := first; seq < last; seq++ {
			keys = append(keys, prefix+strconv.FormatInt(seq, 10))
		}
		values, err := a.conn.MGet(ctx, keys...).Result()
		if err != nil {
			return fmt.Errorf("MGET %s...: %w", keys[0], err)
		}
		for i, value := range values {
			a.uniqueKey(w, keys[i], first+int64(i), value)
		}
	}
	return nil
}

func (a *audit) uniqueKey(w *writer, key string, seq int64, value any) {
	outcome := w.history.outcome(SetUnique, seq)
	switch {
	case value == strconv.FormatInt(seq, 10):
		a.report.Found++
		if outcome == refused {
			a.doubled(1, "%s is there, its SET was answered by an error", key)
		}
	case value != nil:
		a.lost(1, "%s has the value %.40q", key, value)
	case outcome == acked:
		a.lost(1, "%s is not there", key)
	}
}

func (a *audit) list(ctx context.Context, w *writer) error {
	l := list{audit: a, key: listKey(a.load.keyPrefix, w.id), history: &w.history, latest: -1}
	l.found = make([]int64, w.history.sequences(PushUnique))
	for first := int64(0); ; first += pageSize {
		elements, err := a.conn.LRange(ctx, l.key, first, first+pageSize-1).Result()
		if err != nil {
			return fmt.Errorf("LRANGE %s %d: %w", l.key, first, err)
		}
		for _, element := range elements {
			l.element(element)
		}
		if len(elements) < pageSize {
			break
		}
	}
	for seq, n := range l.found {
		if n == 0 && w.history.outcome(PushUnique, int64(seq)) == acked {
			a.lost(1, "%s does not hold %d", l.key, seq)
		}
	}
	return nil
}

// list is the audit of one writer's list, element by element.
type list struct {
	*audit
	key     string
	history *history
	found   []int64 // how often, by sequence number
	latest  int64   // the greatest sequence number so far
}

func (l *list) element(text string) {
	l.report.Found++
	seq, err := strconv.ParseInt(text, 10, 64)
	outcome := never
	if err == nil {
		outcome = l.history.outcome(PushUnique, seq)
	}
	if outcome == never {
		l.doubled(1, "%s holds %.40q, never pushed", l.key, text)
		return
	}
	l.found[seq]++
	switch {
	case l.found[seq] > 1:
		l.doubled(1, "%s holds %d %d times", l.key, seq, l.found[seq])
	case outcome == refused:
		l.doubled(1, "%s holds %d, its RPUSH was answered by an error", l.key, seq)
	case outcome == acked && seq < l.latest: // an unknown one may have been done late
		l.report.Reordered++
		l.sample("reordered: %s holds %d behind %d", l.key, seq, l.latest)
	}
	l.latest = max(l.latest, seq)
}
