// Package migrate runs a migration: it plans, starts the link, keeps both
// servers attached, switches on demand, and ends or takes back what it did.
// What was intended stands in a journal; what is, the servers are asked.
//
// Goroutines of Run, all ended when it returns: the listener, the present
// link (relay.Link.Run), the poller of the replica's offset, and the keeper,
// which is Run itself. Operations (Cutover, Rollback, Complete, Abort) run in
// their callers' goroutines, one at a time, and exclude the keeper.
package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"godwit/internal/plan"
	"godwit/internal/psync"
	"godwit/internal/relay"
)

// Migration is one migration. Open makes it, Close gives its lock back.
type Migration struct {
	core

	target *end

	// Guarded by mu.
	rec      record
	link     *linkRun
	votes    chan *psync.Peer // where the old primary's PSYNC goes during a switch, nil otherwise
	told     string           // by the listener, the last time
	toldAt   time.Time
	quiet    bool          // connections are being ended on purpose
	resumed  bool          // a run before this one began it; false again once that was told
	reattach map[Side]bool // a restarted server whose role is not somebody's wish
	planned  plan.Plan
	copy     copyProgress
	rates    rates
}

// Open reads the journal of the migration, or begins one, and takes its lock.
// It talks to no server yet. Errors: *LockedError when another process runs it.
func Open(_ context.Context, c Config, log *slog.Logger) (*Migration, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var rec record
	j, err := openJournal(c.dir(), c.Name, &rec)
	if err != nil {
		return nil, err
	}
	m := &Migration{rec: rec}
	m.core = newCore(c, log, j, &m.rec.header)
	m.persist = m.saveLocked
	if err := m.begin(); err != nil {
		return nil, errors.Join(err, j.close())
	}
	return m, nil
}

func (m *Migration) begin() error {
	from, to := m.cfg.From.String(), m.cfg.To.String()
	switch r := &m.rec; {
	case r.Name == "" || r.Phase == Completed || r.Phase == Aborted || r.untouched():
		if r.Phase != Failed && r.From == from && r.To == to {
			m.ended = r.Phase
		}
		m.rec = record{
			header: header{Name: m.cfg.Name, From: from, To: to, Phase: Planned, Primary: Source, Started: time.Now()},
			RunIDs: map[Side]string{},
		}
	case r.From != from || r.To != to || r.Engine == plan.Apply:
		return &ConflictError{Name: m.cfg.Name, From: r.From, To: r.To, Phase: r.Phase}
	case m.cfg.Route.Maps():
		return &DBMapError{Name: m.cfg.Name, Now: m.cfg.Route.Flags()}
	default:
		if r.RunIDs == nil {
			r.RunIDs = map[Side]string{}
		}
		r.Verify.killed()
	}
	var err error
	name := "godwit:" + m.cfg.Name
	if m.source, err = newEnd(Source, m.cfg.From, name, m.cfg.Now); err != nil {
		return err
	}
	if m.target, err = newEnd(Target, m.cfg.To, name, m.cfg.Now); err != nil {
		return err
	}
	m.source.probed, m.target.probed = m.rec.Probes[Source], m.rec.Probes[Target]
	return nil
}

// ConflictError says that the name stands for another migration.
type ConflictError struct {
	Name, From, To string
	Phase          Phase
}

func (e *ConflictError) Error() string {
	if e.Phase == Completed {
		return fmt.Sprintf("migration %s from %s to %s was completed already: the target is the primary", e.Name, e.From, e.To)
	}
	return fmt.Sprintf("migration %s is one from %s to %s, in phase %s", e.Name, e.From, e.To, e.Phase)
}

// HintText is what the user can do about it.
func (e *ConflictError) HintText() string {
	if e.Phase == Completed {
		return "nothing is left to do; to copy from that source once more, over what the target has taken since, choose another --name"
	}
	return "go on with its own --from and --to, end it with `godwit abort " + e.Name + "`, or choose another --name"
}

// TakenError says that another migration, which runs, has the same target.
type TakenError struct {
	Name   string // of the other one
	Target string
}

func (e *TakenError) Error() string {
	return fmt.Sprintf("migration %s moves data to %s already", e.Name, e.Target)
}

// HintText is what the user can do about it.
func (e *TakenError) HintText() string {
	return "see it with `godwit status " + e.Name + "`; one target takes one source"
}

// Close gives the lock and the connections back. Run must have returned.
func (m *Migration) Close() error {
	return errors.Join(m.source.client.Close(), m.target.client.Close(), m.journal.close())
}

// Run carries the migration until it is completed or aborted (nil), fails, or
// ctx is done (its error); then a later Run goes on from there.
func (m *Migration) Run(ctx context.Context) error {
	return m.noteEnd(ctx, m.run(ctx))
}

func (m *Migration) run(parent context.Context) error {
	if err := m.enter(); err != nil {
		return err
	}
	fresh := m.phase() == Planned
	if err := m.look(parent); err != nil {
		return err
	}
	if fresh {
		m.intact(m.target, m.target.seen())
		if err := m.makePlan(parent); err != nil {
			return err
		}
		// What an earlier migration of this name has found is not this one's.
		if err := m.forgetComparison(); err != nil {
			return err
		}
	} else if err := m.inspect(parent); err != nil {
		return err
	}
	ctx, life := m.live(parent)
	defer life.end(func() { m.stopLink() })
	m.mu.Lock()
	m.resumed = !fresh
	m.mu.Unlock()

	if err := m.listen(ctx, &life.wg); err != nil {
		return err
	}
	life.wg.Go(func() { m.poll(ctx) })
	for _, e := range []*end{m.source, m.target} {
		m.tendMended(ctx, e)
	}
	if err := m.recover(ctx); err != nil {
		return err
	}
	life.apart()
	if m.completing() {
		m.setQuiet()
		return m.keep(parent, m)
	}
	if err := m.connect(parent, fresh); parent.Err() != nil {
		return m.interrupted(parent, m)
	} else if err != nil {
		return err
	}
	return m.keep(parent, m)
}

// primary is the side that accepts writes, by the last committed switch.
func (m *Migration) primary() *end {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.side(m.rec.Primary)
}

// replica is the other side.
func (m *Migration) replica() *end {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.side(m.rec.Primary.other())
}

func (m *Migration) side(s Side) *end {
	if s == Target {
		return m.target
	}
	return m.source
}

// update changes the record and makes it durable; where that fails the record
// is as before. change must not alter in place what the record points to.
func (m *Migration) update(change func(*record)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.rec
	change(&m.rec)
	err := m.saveLocked()
	if err != nil {
		m.rec = before
	}
	return err
}

func (m *Migration) saveLocked() error {
	m.rec.Updated = time.Now()
	m.keepCopyDropped()
	m.rec.Last = m.statusLocked()
	return m.journal.save(m.rec)
}

// HintedError is an error with what the user can do about it.
type HintedError struct {
	Err  error
	Hint string
}

func (e *HintedError) Error() string { return e.Err.Error() }
func (e *HintedError) Unwrap() error { return e.Err }

// HintText is what the user can do about it.
func (e *HintedError) HintText() string { return e.Hint }

func hinted(hint, format string, args ...any) error {
	return &HintedError{Err: fmt.Errorf(format, args...), Hint: hint}
}

func hintOf(err error) string {
	var h interface{ HintText() string }
	if errors.As(err, &h) {
		return h.HintText()
	}
	return ""
}

// inspect asks both servers what a plan would need.
func (m *Migration) inspect(ctx context.Context) error {
	for _, e := range []*end{m.source, m.target} {
		if err := e.inspect(ctx); err != nil {
			return fmt.Errorf("%s: %w", e.side, err)
		}
	}
	m.rememberProbes()
	return nil
}

// look asks both servers who they are.
func (m *Migration) look(ctx context.Context) error {
	for _, e := range []*end{m.source, m.target} {
		if _, err := e.look(ctx); err != nil {
			return fmt.Errorf("%s: %w", e.side, err)
		}
	}
	return nil
}

// Plan is the plan that was made when the migration began; of a resumed one it is empty.
func (m *Migration) Plan() plan.Plan {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.planned
}

// linkRun is the link under way.
type linkRun struct {
	link   *relay.Link
	from   Side
	cancel context.CancelFunc
	done   chan struct{}
}

// startLink carries the stream of one side to the other from now on, in place
// of the link before.
func (m *Migration) startLink(from *end, s linkStart) *relay.Link {
	before := m.stopLink()
	to := m.other(from)
	m.mu.Lock()
	if before != nil && before.from != from.side {
		m.rec.setDropped(before.from.other(), before.link.Snapshot().Dropped) // its stream was applied to the end
	}
	base, wg := m.base, m.wg
	ctx, cancel := context.WithCancel(base)
	l := &linkRun{from: from.side, cancel: cancel, done: make(chan struct{})}
	config := m.linkConfig(from, to, s.editor)
	config.From, config.Knows, config.OwnReplID = s.from, s.knows, s.own
	config.Dropped, config.Told = m.rec.Dropped[to.side], m.rec.Last.leftOutOfStream(to.address())
	if s.tracked() {
		config.Checkpoint = m.checkpoint(from, rulesOf(s.editor))
	}
	l.link = relay.NewLink(config)
	m.link = l
	m.rates = rates{}
	m.mu.Unlock()
	wg.Go(func() {
		defer close(l.done)
		if err := l.link.Run(ctx); ctx.Err() == nil {
			select {
			case m.fatal <- linkError(from, to, err):
			default:
			}
		}
	})
	return l.link
}

// stopLink ends the link under way, and returns it; nil if there was none.
func (m *Migration) stopLink() *linkRun {
	m.mu.Lock()
	l := m.link
	m.link = nil
	m.mu.Unlock()
	if l != nil {
		l.cancel()
		<-l.done
		m.mu.Lock()
		m.rec.Last.Dropped = m.dropped(l)
		m.mu.Unlock()
	}
	return l
}

func (m *Migration) present() *relay.Link {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.link == nil {
		return nil
	}
	return m.link.link
}

func (m *Migration) other(e *end) *end { return m.side(e.side.other()) }

// controlTimeout bounds one control command of the keeper.
const controlTimeout = 5 * time.Second

var errBusy = errors.New("another operation is under way")
