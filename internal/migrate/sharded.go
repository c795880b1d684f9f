package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"godwit/internal/apply"
	"godwit/internal/command"
	"godwit/internal/cutover"
	"godwit/internal/plan"
	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/relay"
	"godwit/internal/server"
	"godwit/internal/spool"
	"godwit/internal/topology"
)

// Sharded is a migration to a cluster, by the apply engine. OpenSharded makes it,
// Close gives its lock back.
//
// Goroutines of Run, all ended when it returns: the listener, the engine, the poller
// of the source's offset, and the keeper, which is Run itself.
type Sharded struct {
	core

	cluster *deployment

	// Guarded by mu.
	rec     shardedRecord
	planned plan.Plan
	engine  *engineRun
	drops   drops
	feed    *feedRun
	votes   chan *psync.Peer // where the source's PSYNC goes during a switch, nil otherwise
	usersAt time.Time        // when the nodes were last told of that user; of the keeper alone
	looked  time.Time        // when the cluster was asked last what it holds; likewise
	lag     lagMeter
	copy    copyProgress
	rates   rates
}

// shardedRecord is what the journal holds.
type shardedRecord struct {
	header

	Progress apply.Progress `json:"progress"`
	Switch   *switchRecord  `json:"switch,omitempty"` // the one under way, nil when there is none
	Back     *wayBack       `json:"back,omitempty"`   // nil for none
	// SourceRun is the run_id of the source as it was last seen after a cutover.
	SourceRun string `json:"source_run,omitempty"`
	// Fence is what the cluster's users might run before godwit had it refuse their
	// writes, by node; empty while it takes them.
	Fence rules `json:"fence,omitempty"`
}

// engineRun is the engine under way.
type engineRun struct {
	engine *apply.Engine
	cancel context.CancelFunc
	done   chan struct{}
}

// OpenSharded is Open for a target that is a cluster.
func OpenSharded(_ context.Context, c Config, log *slog.Logger) (*Sharded, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var rec shardedRecord
	j, err := openJournal(c.dir(), c.Name, &rec)
	if err != nil {
		return nil, err
	}
	rec.Fenced = rec.Fenced || len(rec.Fence) > 0 // an earlier version did not note that
	m := &Sharded{rec: rec}
	m.core = newCore(c, log, j, &m.rec.header)
	m.persist = m.saveLocked
	m.cluster = newDeployment(Target, c, c.To)
	m.cluster.knows(rec.Fence)
	if err := m.begin(); err != nil {
		return nil, errors.Join(err, j.close())
	}
	return m, nil
}

func (m *Sharded) begin() error {
	from, to := m.cfg.From.String(), m.cfg.To.String()
	switch r := &m.rec; {
	case r.Name == "" || r.Phase == Completed || r.Phase == Aborted || r.untouched():
		if r.Phase != Failed && r.From == from && r.To == to {
			m.ended = r.Phase
		}
		m.rec = shardedRecord{header: header{
			Name: m.cfg.Name, From: from, To: to, Engine: plan.Apply, Phase: Planned, Primary: Source, Started: time.Now(),
			DBMap: m.cfg.Route.Flags(),
		}}
	case r.From != from || r.To != to || r.Engine != plan.Apply:
		return &ConflictError{Name: m.cfg.Name, From: r.From, To: r.To, Phase: r.Phase}
	case !slices.Equal(r.DBMap, m.cfg.Route.Flags()):
		return &DBMapError{Name: m.cfg.Name, Was: r.DBMap, Now: m.cfg.Route.Flags()}
	default:
		r.Verify.killed()
	}
	m.drops = m.newDrops(m.cfg.From.Address, m.cfg.To.Address)
	var err error
	m.source, err = newEnd(Source, m.cfg.From, "godwit:"+m.cfg.Name, m.cfg.Now)
	return err
}

// Close gives the lock and the connections back. Run must have returned.
func (m *Sharded) Close() error { return errors.Join(m.source.client.Close(), m.journal.close()) }

// Run carries the migration until it is completed or aborted (nil), fails, or
// ctx is done (its error); then a later Run goes on from there.
func (m *Sharded) Run(ctx context.Context) error {
	return m.noteEnd(ctx, m.run(ctx))
}

func (m *Sharded) run(parent context.Context) error {
	if err := m.enter(); err != nil {
		return err
	}
	fresh := m.phase() == Planned
	if err := m.inspect(parent, fresh); err != nil {
		return err
	}
	ctx, life := m.live(parent)
	defer life.end(m.stopEngine, m.stopFeed)
	wg := &life.wg

	err := m.listen(ctx, wg, relay.ListenerConfig{
		Notify: m.event, Authenticate: m.authenticate, Allowed: m.source.hasAddress,
		Serve: func(p *psync.Peer) { wg.Go(func() { m.route(ctx, p) }) },
	}, m.source)
	if err != nil {
		return err
	}
	m.tendVerify(ctx)
	if err := m.recover(ctx); err != nil {
		return err
	}
	if !m.pending() {
		if err := m.goOn(); err != nil {
			return err
		}
	}
	life.apart()
	if fresh {
		if err := m.setPhase(Copying); err != nil {
			return err
		}
		m.event(slog.LevelInfo, fmt.Sprintf("copying from %s to the %d shards of %s", m.source.address(), len(m.planned.Shards), m.cfg.To.Address))
	}
	if err := m.carry(ctx); err != nil {
		return fmt.Errorf("%s: %w", Target, err)
	}
	wg.Go(func() { m.poll(ctx) })
	return m.keep(parent, m)
}

// inspect asks both ends what a plan would need, and has a fresh migration planned.
func (m *Sharded) inspect(ctx context.Context, fresh bool) error {
	if fresh {
		if err := sameTarget(m.cfg); err != nil {
			return err
		}
	}
	if _, err := m.source.look(ctx); err != nil {
		return fmt.Errorf("%s: %w", Source, err)
	}
	if err := m.source.inspect(ctx); err != nil {
		return fmt.Errorf("%s: %w", Source, err)
	}
	facts, err := findSharded(ctx, m.cfg, m.source, m.cluster)
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

// findSharded finds out what a plan to a cluster is made from.
func findSharded(ctx context.Context, c Config, source *end, target *deployment) (facts plan.Facts, err error) {
	facts = plan.Facts{Source: source.found(), Listener: plan.Listener{SourceAddress: source.announcedAddress(c.Announce), Certificate: c.ListenerCert != ""}}
	if facts.Shards, facts.Cluster, err = target.inspect(ctx); err != nil {
		return facts, fmt.Errorf("%s: %w", Target, err)
	}
	survey, err := topology.TakeSurvey(ctx, facts.Source, plan.SurveyOf(facts.Source, plan.Together(facts.Shards)))
	facts.Source.Survey = &survey
	return facts, err
}

// Plan is the plan that was made when the migration began.
func (m *Sharded) Plan() plan.Plan {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.planned
}

func (m *Sharded) update(change func(*shardedRecord)) error {
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

func (m *Sharded) saveLocked() error {
	m.rec.Updated = time.Now()
	m.drops.journal(&m.rec.header)
	m.rec.Last = m.statusLocked()
	return m.journal.save(m.rec)
}

// pending tells whether a switch was begun whose end is not known.
func (m *Sharded) pending() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.rec.Switch != nil
}

// carry begins what the journal says is to go on, unless it does, or a switch is to be
// settled first.
func (m *Sharded) carry(ctx context.Context) error {
	m.mu.Lock()
	r, idle := m.rec, m.engine == nil && m.feed == nil
	m.mu.Unlock()
	switch {
	case !idle || r.Switch != nil || r.Completing:
	case r.Primary == Source:
		if err := m.raise(ctx); err != nil {
			return err
		}
		m.startEngine(ctx)
	case r.Back != nil && r.Back.Lost == "":
		m.startFeed(r.Back, true) //nolint:contextcheck // it lives as long as Run, not as its caller
	}
	return nil
}

// startEngine carries the source's data from now on, from where the journal says.
//
//nolint:contextcheck // it lives as long as Run, not as its caller
func (m *Sharded) startEngine(ctx context.Context) {
	if command.SaysRelativeTTLs(m.source.found().Capabilities().Version) {
		if err := m.source.clock.set(ctx, m.source.client); err != nil {
			m.event(slog.LevelWarn, fmt.Sprintf("%s does not tell its time, so its TTLs go by the clock of this machine: %v", m.source.address(), err))
		}
	}
	run := &engineRun{engine: m.newEngine(m.cluster.own), done: make(chan struct{})}
	base := m.lifetime()
	base, run.cancel = context.WithCancel(base)
	m.mu.Lock()
	m.engine = run
	m.mu.Unlock()
	go func() {
		defer close(run.done)
		if err := run.engine.Run(base); base.Err() == nil {
			select {
			case m.fatal <- err:
			default:
			}
		}
	}()
}

// newEngine is one that goes on from where the journal says.
func (m *Sharded) newEngine(reach func() server.Endpoint) *apply.Engine {
	to := reach()
	source := m.source.found()
	target := m.cluster.found()
	m.mu.Lock()
	progress := m.rec.Progress
	m.mu.Unlock()
	knows := target.Capabilities()
	knows.Module = target.LoadsModulesOf(source, m.cfg.AcceptModules)
	host, port := m.source.announced()
	return apply.New(apply.Config{
		Name: m.cfg.Name, Target: to, Reach: reach, OwnUser: to.Username == m.cluster.user(), Capabilities: knows,
		Transcoder: rdb.TranscoderOptions{Drop: m.cfg.Drop, Module: knows.Module}, Drops: m.drops.sides[Target],
		Sources: []apply.Source{{
			Endpoint: m.source.endpoint, Capabilities: source.Capabilities(), Version: number(source.Version),
			Now: m.source.clock.now, AnnounceHost: host, AnnouncePort: port,
		}},
		Route: m.cfg.Route,
		Spool: spool.Options{Dir: m.cfg.dir(), MemoryLimit: m.cfg.SpoolMemory, DiskLimit: m.cfg.SpoolDisk},
		Log:   m.log, Progress: progress,
		Save: func(p apply.Progress) error {
			return m.update(func(r *shardedRecord) {
				if p.Owner != r.Progress.Owner {
					m.outdateLocked("another copy has replaced what the cluster had")
				}
				r.Progress = p
			})
		},
	})
}

// stopEngine ends the engine, if there is one, and waits for it.
func (m *Sharded) stopEngine() {
	m.mu.Lock()
	run := m.engine
	m.engine = nil
	m.mu.Unlock()
	if run != nil {
		run.cancel()
		<-run.done
	}
}

func (m *Sharded) present() *apply.Engine {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.engine == nil {
		return nil
	}
	return m.engine.engine
}

// authenticate knows the source by the password that it presents.
func (m *Sharded) authenticate(_, password string) (identity string, ok bool) {
	m.source.mu.Lock()
	defer m.source.mu.Unlock()
	ok = m.source.open || m.source.password != "" && psync.Equal(password, m.source.password)
	return string(Source), ok
}

// route hands the source's PSYNC to the switch that waits for it, or to the way back.
func (m *Sharded) route(ctx context.Context, p *psync.Peer) {
	m.mu.Lock()
	if m.votes != nil {
		// Within the lock, so that none is sent after setVotes has seen to those that nobody took.
		defer m.mu.Unlock()
		select {
		case m.votes <- p:
		default:
			putOff(p) // it asks again and again
		}
		return
	}
	m.mu.Unlock()
	m.serve(ctx, p)
}

// recover brings a switch that a crash interrupted to one of its two ends, by the role
// of the source: at a cutover it is demoted, and at a rollback promoted, by the commit.
func (m *Sharded) recover(ctx context.Context) error {
	m.mu.Lock()
	intent := m.rec.Switch
	m.mu.Unlock()
	if intent == nil {
		return nil
	}
	info, err := m.source.look(ctx)
	if err != nil {
		return nil //nolint:nilerr // which of them is not known yet; the keeper asks again
	}
	replica := info["role"] == "slave" && info["master_failover_state"] != "failover-in-progress"
	committed := replica == (intent.to() == Target)
	how := "before its commit"
	if committed {
		how = "after its commit"
	}
	m.event(slog.LevelWarn, fmt.Sprintf("the %s was interrupted %s; it is brought to its end", intent.Direction, how))
	result := SwitchResult{Direction: intent.Direction}
	switch {
	case intent.to() == Target && committed:
		if err := m.unfence(ctx); err != nil {
			return err
		}
		_, err = m.switched(ctx, result, Target, nil)
	case intent.to() == Target:
		err = errors.Join(cutover.Release(ctx, m.source.client), m.restore(ctx, m.source), m.leaveBack())
		if err == nil {
			err = m.update(func(r *shardedRecord) { r.Switch, r.Error, r.Hint, r.Phase = nil, "", "", intent.Before })
		}
	case committed:
		if err := errors.Join(m.known(ctx), m.cluster.unpause(ctx)); err != nil {
			return err
		}
		_, err = m.switched(ctx, result, Source, m.forthAgain(ctx))
	default:
		if err := errors.Join(m.unfence(ctx), m.cluster.unpause(ctx)); err != nil {
			return err
		}
		err = m.update(func(r *shardedRecord) { r.Switch, r.Error, r.Hint, r.Phase = nil, "", "", Switched })
	}
	return err
}
