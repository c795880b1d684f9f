package load

import (
	"context"
	"errors"
	"fmt"

	"godwit/internal/server"
	"godwit/internal/shards"
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
	// pageSize is how many keys or list elements one command or pipeline asks for.
	pageSize = 1000
)

// Audit reads every key of the load from where the endpoints lead, the primary or the
// cluster in the end, and compares. The load must have been stopped. With a Mix it
// waits until the keys that were given a short life are dead.
func (l *Load) Audit(ctx context.Context, endpoints ...server.Endpoint) (Report, error) {
	return l.AuditAs(ctx, "", endpoints...)
}

// AuditAs is Audit where the names of all keys have something before them, as in
// Config.Before.
func (l *Load) AuditAs(ctx context.Context, before string, endpoints ...server.Endpoint) (Report, error) {
	if l.stopped.Load() == 0 {
		return Report{}, errors.New("load: audit before the load was stopped")
	}
	a := &audit{load: l, before: before}
	if err := a.run(ctx, endpoints); err != nil {
		return Report{}, fmt.Errorf("load: audit of %v: %w", endpoints, err)
	}
	return a.report, nil
}

type audit struct {
	load    *Load
	before  string // the names of the keys
	session *shards.Session
	report  Report
}

func (a *audit) run(ctx context.Context, endpoints []server.Endpoint) error {
	deployment, err := shards.Open(ctx, endpoints...)
	if err != nil {
		return err
	}
	defer deployment.Close()
	if n := len(deployment.Shards()); n > 1 && !deployment.IsCluster() {
		if a.load.config.Divide == nil {
			return fmt.Errorf("%d servers that are no cluster", n)
		}
		deployment.Divide(a.load.config.Divide)
	}
	if a.session, err = deployment.Session(ctx, endpoints[0].DB); err != nil {
		return err
	}
	defer a.session.Close()
	a.session.Rename(a.load.config.Prefix, a.before)
	for _, w := range a.load.writers {
		a.report.Attempted += w.attempted
		for _, acks := range w.acked {
			a.report.Acked += acks
		}
	}
	if err := a.counters(ctx); err != nil {
		return err
	}
	for i, work := range a.load.works {
		tasks := make([]task, len(a.load.writers))
		for id, w := range a.load.writers {
			tasks[id] = w.tasks[i]
		}
		if err := work.check(ctx, a, tasks); err != nil {
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

// ask gives the replies to some commands.
func (a *audit) ask(ctx context.Context, commands ...shards.Command) ([]any, error) {
	return a.session.Ask(ctx, commands)
}

// askText is ask for one command that replies with a string, empty for nil.
func (a *audit) askText(ctx context.Context, command ...any) (string, error) {
	replies, err := a.ask(ctx, command)
	if err != nil {
		return "", err
	}
	text, _ := replies[0].(string)
	return text, nil
}

// number compares a number that was raised with how often.
func (a *audit) number(what string, found, low, high int64) {
	a.report.Found += found
	if found < low {
		a.lost(low-found, "%s is %d, acknowledged %d", what, found, low)
	}
	if found > high {
		a.doubled(found-high, "%s is %d, attempted %d", what, found, high)
	}
}

// replied counts what replies during the load have told of a number.
func (a *audit) replied(what string, b bounds) {
	if b.lost > 0 {
		a.lost(b.lost, "%s went back by %d during the load", what, b.lost)
	}
	if b.doubled > 0 {
		a.doubled(b.doubled, "%s was ahead of the writer by %d during the load", what, b.doubled)
	}
}

// tokens is the audit of a value made of things that were added once, each by a writer
// with a number of its own.
type tokens struct {
	*audit
	what     string // the key
	verb     string // of what adds them, such as "pushed"
	outcomes func(writer int, n int64) outcome
	found    map[token]int64
	latest   map[int]int64 // by writer, the greatest number so far
}

type token struct {
	writer int
	n      int64
}

func (a *audit) newTokens(what, verb string, outcomes func(writer int, n int64) outcome) *tokens {
	return &tokens{audit: a, what: what, verb: verb, outcomes: outcomes, found: make(map[token]int64), latest: make(map[int]int64)}
}

// see looks at a token; text is how the value has it, and understood whether it is one.
func (t *tokens) see(k token, text string, understood bool) {
	t.report.Found++
	is := never
	if understood {
		is = t.outcomes(k.writer, k.n)
	}
	if is == never {
		t.doubled(1, "%s holds %.40q, never %s", t.what, text, t.verb)
		return
	}
	latest, any := t.latest[k.writer]
	t.found[k]++
	switch {
	case t.found[k] > 1:
		t.doubled(1, "%s holds %s %d times", t.what, text, t.found[k])
	case is == refused:
		t.doubled(1, "%s holds %s, which was %s with an error for an answer", t.what, text, t.verb)
	case is == acked && any && k.n < latest: // an unknown one may have been done late
		t.report.Reordered++
		t.sample("reordered: %s holds %d of writer %d behind %d", t.what, k.n, k.writer, latest)
	}
	t.latest[k.writer] = max(t.latest[k.writer], k.n)
}

// missing looks for a writer's numbers from first to last that were not seen.
func (t *tokens) missing(writer int, first, last int64) {
	for n := first; n < last; n++ {
		if t.outcomes(writer, n) == acked && t.found[token{writer, n}] == 0 {
			t.lost(1, "%s does not hold %d of writer %d", t.what, n, writer)
		}
	}
}
