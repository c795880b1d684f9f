package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"godwit/internal/apply"
	"godwit/internal/divide"
	"godwit/internal/plan"
	"godwit/internal/rdb"
	"godwit/internal/server"
	"godwit/internal/spool"
	"godwit/internal/topology"
)

// Joint is a migration whose source is several primaries, a cluster or standalone servers
// among which clients have divided their keys: they hand over together. The apply engine
// carries, from whichever side serves to the other, and both sides are fenced alike, see
// deployment. OpenJoint makes it, Close gives its lock back.
//
// Goroutines of Run, all ended when it returns: the engine, the poller of the primaries'
// offsets, and the keeper, which is Run itself.
type Joint struct {
	core

	sides map[Side]*deployment
	rule  *divide.Rule // by which the servers of the source have their keys, nil if nobody knows

	// Guarded by mu.
	rec     jointRecord
	planned plan.Plan
	engines *enginesRun
	drops   drops
	lags    map[string]*lagMeter // by address of a primary of the side that serves
	copy    copyProgress
	rates   rates
	tidied  bool      // what a switch may have left paused was seen to, in this run
	looked  time.Time // when the sides were asked last what they hold; of the keeper alone

	complained  string // what was said last of what is tried again; likewise
	toldRefuted bool   // that a key is not where the rule says; likewise
}

// jointRecord is what the journal holds. A switch is committed by the journal: Primary
// and Toward change in one entry, once the old side refuses writes and the new one has
// everything, and before that one takes any.
type jointRecord struct {
	header

	// Toward is how far the engine has come that writes to a side, when it last did.
	Toward map[Side]apply.Progress `json:"toward"`
	// Apart is the same of the engines that write to several servers of the source, one each.
	Apart []apply.Progress `json:"toward_each,omitempty"`
	// Fences are what the users of a side might do, by node, before it refused their
	// writes; of the side that serves, of nodes that could not be told since.
	Fences map[Side]rules `json:"fences"`
	Switch *switchRecord  `json:"switch,omitempty"` // the one under way, nil when there is none
	Lost   string         `json:"lost,omitempty"`   // why the side that does not serve gets nothing any more
	// LostHint is what the user can do about it.
	LostHint string `json:"lost_hint,omitempty"`
}

// OpenJoint is Open for a source of several primaries.
func OpenJoint(_ context.Context, c Config, log *slog.Logger) (*Joint, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var rec jointRecord
	j, err := openJournal(c.dir(), c.Name, &rec)
	if err != nil {
		return nil, err
	}
	m := &Joint{rec: rec, lags: make(map[string]*lagMeter)}
	m.core = newCore(c, log, j, &m.rec.header)
	m.persist = m.saveLocked
	if m.rule, err = c.rule(); err != nil {
		return nil, errors.Join(err, j.close())
	}
	m.sides = map[Side]*deployment{Source: newDeployment(Source, c, c.sources()...), Target: newDeployment(Target, c, c.To)}
	if err := m.begin(); err != nil {
		return nil, errors.Join(err, j.close())
	}
	return m, nil
}

func (m *Joint) begin() error {
	from, to := m.sides[Source].url(), m.sides[Target].url()
	switch r := &m.rec; {
	case r.Name == "" || r.Phase == Completed || r.Phase == Aborted || r.untouched():
		if r.Phase != Failed && r.From == from && r.To == to {
			m.ended = r.Phase
		}
		m.rec = jointRecord{
			header: header{Name: m.cfg.Name, From: from, To: to, Engine: plan.Apply, Joint: true, Phase: Planned, Primary: Source, Started: time.Now(), DBMap: m.cfg.Route.Flags(), ShardBy: m.cfg.ShardBy},
			Toward: map[Side]apply.Progress{}, Fences: map[Side]rules{},
		}
	case r.From != from || r.To != to || !r.Joint:
		return &ConflictError{Name: m.cfg.Name, From: r.From, To: r.To, Phase: r.Phase}
	case !slices.Equal(r.DBMap, m.cfg.Route.Flags()):
		return &DBMapError{Name: m.cfg.Name, Was: r.DBMap, Now: m.cfg.Route.Flags()}
	case r.ShardBy != m.cfg.ShardBy:
		return &ShardByError{Name: m.cfg.Name, Was: r.ShardBy, Now: m.cfg.ShardBy}
	default:
		r.Verify.killed()
	}
	for side, rules := range m.rec.Fences {
		m.sides[side].knows(rules)
	}
	m.drops = m.newDrops(m.sides[Source].address(), m.sides[Target].address())
	return nil
}

// Close gives the lock back. Run must have returned.
func (m *Joint) Close() error { return m.journal.close() }

// Run carries the migration until it is completed or aborted (nil), fails, or ctx is done
// (its error); then a later Run goes on from there.
func (m *Joint) Run(ctx context.Context) error { return m.noteEnd(ctx, m.run(ctx)) }

func (m *Joint) run(parent context.Context) error {
	if err := m.enter(); err != nil {
		return err
	}
	fresh := m.phase() == Planned
	if m.record().Switch != nil { // whatever else is out of order: clients may be waiting
		if err := m.recover(parent); err != nil {
			return err
		}
	}
	if err := m.inspect(parent, fresh); err != nil {
		return err
	}
	if m.rule != nil {
		defer m.rule.Close() // once no engine asks any more
	}
	ctx, life := m.live(parent)
	defer life.end(m.stopEngine)

	m.tendVerify(ctx) // before anything is fed again
	if err := m.recover(ctx); err != nil {
		return err
	}
	if m.record().Switch == nil {
		if err := m.goOn(); err != nil {
			return err
		}
	}
	life.apart()
	if fresh {
		if err := m.setPhase(Copying); err != nil {
			return err
		}
		m.event(slog.LevelInfo, fmt.Sprintf("copying from %s to %s", m.sides[Source].address(), m.sides[Target].address()))
	}
	if err := m.carry(ctx); err != nil {
		return err
	}
	life.wg.Go(func() { m.poll(ctx) })
	return m.keep(parent, m)
}

// inspect asks both sides what a plan would need, and has a fresh migration planned.
func (m *Joint) inspect(ctx context.Context, fresh bool) error {
	if fresh {
		if err := sameTarget(m.cfg); err != nil {
			return err
		}
		if err := m.cfg.tryShardBy(ctx); err != nil {
			return err
		}
	}
	facts, err := findJoint(ctx, m.sides)
	if err != nil {
		return err
	}
	p := planOf(m.cfg, facts)
	m.mu.Lock()
	m.planned = p
	m.mu.Unlock()
	if !fresh {
		return nil
	}
	if p.Refused() {
		return &plan.RefusedError{Plan: p}
	}
	for _, w := range p.Warnings {
		m.event(slog.LevelWarn, w.Text)
	}
	return m.forgetComparison() // of an earlier migration of this name
}

// findJoint finds out what a plan is made from.
func findJoint(ctx context.Context, sides map[Side]*deployment) (facts plan.Facts, err error) {
	if facts.Sources, facts.SourceCluster, err = sides[Source].inspect(ctx); err != nil {
		return facts, fmt.Errorf("%s: %w", Source, err)
	}
	if facts.Shards, facts.Cluster, err = sides[Target].inspect(ctx); err != nil {
		return facts, fmt.Errorf("%s: %w", Target, err)
	}
	to := plan.Together(facts.Shards)
	for i, n := range facts.Sources {
		survey, err := topology.TakeSurvey(ctx, n, plan.SurveyOf(n, to))
		if err != nil {
			return facts, fmt.Errorf("%s: %w", Source, err)
		}
		facts.Sources[i].Survey = &survey
	}
	return facts, nil
}

// Plan is the plan that was made when the migration began.
func (m *Joint) Plan() plan.Plan {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.planned
}

func (m *Joint) update(change func(*jointRecord)) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.rec
	m.rec.Toward, m.rec.Apart, m.rec.Fences = maps.Clone(before.Toward), slices.Clone(before.Apart), maps.Clone(before.Fences)
	change(&m.rec)
	err := m.saveLocked()
	if err != nil {
		m.rec = before
	}
	return err
}

func (m *Joint) saveLocked() error {
	m.rec.Updated = time.Now()
	m.drops.journal(&m.rec.header)
	m.rec.Last = m.statusLocked()
	return m.journal.save(m.rec)
}

// record is what the journal holds now.
func (m *Joint) record() jointRecord {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := m.rec
	r.Toward, r.Apart, r.Fences = maps.Clone(r.Toward), slices.Clone(r.Apart), maps.Clone(r.Fences)
	return r
}

// primary is the side that serves.
func (m *Joint) primary() *deployment { return m.sides[m.record().Primary] }

// secondary is the other one.
func (m *Joint) secondary() *deployment { return m.sides[m.record().Primary.other()] }

// fenced is how the rules of a side are noted.
func (m *Joint) fenced(s Side) func(rules) error {
	return func(r rules) error {
		return m.update(func(rec *jointRecord) {
			if r == nil {
				delete(rec.Fences, s)
				return
			}
			rec.Fences[s], rec.Fenced = r, true
		})
	}
}

// carry begins what the journal says is to go on, unless it does, or a switch is to be
// settled first.
func (m *Joint) carry(ctx context.Context) error {
	r := m.record()
	to := m.sides[r.Primary.other()]
	switch {
	case m.present() != nil || r.Switch != nil || r.Completing:
		return nil
	case r.Lost != "" || r.Primary == Target && !r.leadsBack(m.sides[Source]):
		return nil // there is no way back
	}
	if err := to.raise(ctx, r.Fences[to.side], m.fenced(to.side)); err != nil {
		return fmt.Errorf("%s: %w", to.side, err)
	}
	m.start(m.newEngines(r.Primary, r.progress(to))) //nolint:contextcheck // it lives as long as Run, not as its caller
	return nil
}

// enginesRun are the engines under way.
type enginesRun struct {
	engines

	cancel context.CancelFunc
	done   chan struct{}
}

// start has engines carry from now on.
func (m *Joint) start(all engines) {
	base := m.lifetime()
	run := &enginesRun{engines: all, done: make(chan struct{})}
	base, run.cancel = context.WithCancel(base)
	m.mu.Lock()
	m.engines = run
	m.mu.Unlock()
	go func() {
		defer close(run.done)
		err := all.run(base)
		switch {
		case base.Err() != nil:
		case m.record().Primary == Target:
			m.lost(err)
		default:
			select {
			case m.fatal <- err:
			default:
			}
		}
	}()
}

// lost notes that a rollback is possible no more.
func (m *Joint) lost(err error) {
	m.event(slog.LevelError, "the way back has ended: "+err.Error())
	if err := m.update(func(r *jointRecord) { r.Lost, r.LostHint = err.Error(), hintOf(err) }); err != nil {
		m.log.Error("the journal could not be written", "error", err)
	}
}

// newEngines are those that carry what a side says to the other, and go on from there.
func (m *Joint) newEngines(from Side, progress []apply.Progress) engines {
	target := m.sides[from.other()]
	var all engines
	for i, to := range target.owns() {
		all = append(all, engineTo{m.newEngine(from, i, progress[i], to), to.Address})
	}
	if len(all) == 1 {
		all[0].to = target.address()
	}
	return all
}

// newEngine is the one of a server of the other side.
func (m *Joint) newEngine(from Side, part int, progress apply.Progress, to server.Endpoint) *apply.Engine {
	source, target := m.sides[from], m.sides[from.other()]
	knows := target.found().Capabilities()
	knows.Module = target.found().LoadsModulesOf(source.found(), m.cfg.AcceptModules)
	c := apply.Config{
		Name: m.cfg.Name, Target: to, OwnUser: true, Capabilities: knows, KeepTarget: from == Target,
		Transcoder: rdb.TranscoderOptions{Drop: m.cfg.Drop, Module: knows.Module}, Drops: m.drops.sides[target.side],
		Spool: spool.Options{Dir: m.cfg.dir(), MemoryLimit: m.cfg.SpoolMemory, DiskLimit: m.cfg.SpoolDisk},
		Log:   m.log, Progress: progress,
		Save: func(p apply.Progress) error {
			return m.update(func(r *jointRecord) {
				if r.Primary != from {
					return // it reads ahead of a switch, see turn
				}
				if p.Owner != r.progress(target)[part].Owner {
					m.outdateLocked("another copy has replaced what the target had")
				}
				r.setProgress(target, part, p)
			})
		},
	}
	switch {
	case len(target.endpoints) == 1:
		c.Reach = target.own
	default:
		c.Share = &apply.Share{Rule: m.rule, Server: part}
	}
	c.Route, c.Own = m.cfg.Route.Inverse(), source.asOwn
	if from == Source {
		c.Route, c.Proves = m.cfg.Route, m.rule
	}
	if source.isCluster() {
		c.Cluster = &apply.ClusterSource{Find: source.answering, Describe: source.describe}
		return apply.New(c)
	}
	for _, e := range source.endpoints {
		c.Sources = append(c.Sources, source.standalone(e))
	}
	return apply.New(c)
}

// stopEngine ends the engines, if there are any, and waits for them.
func (m *Joint) stopEngine() {
	m.mu.Lock()
	run := m.engines
	m.engines = nil
	m.mu.Unlock()
	if run != nil {
		run.cancel()
		<-run.done
	}
}

// present are those under way, nil for none.
func (m *Joint) present() engines {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.engines == nil {
		return nil
	}
	return m.engines.engines
}
