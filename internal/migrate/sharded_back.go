package migrate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"godwit/internal/apply"
	"godwit/internal/cutover"
	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/server"
	"godwit/internal/spool"
)

// wayBack is what the journal holds of the way from the cluster to the old primary.
type wayBack struct {
	Owner string `json:"owner"` // see apply.FeedConfig
	// From is where the old primary was demoted, and Stands are where the shards stood
	// then. Both are noted while writes are stopped, before the commit: from the
	// shards' streams alone nobody could tell later what clients wrote and what godwit.
	From   apply.Stand        `json:"from"`
	Stands []apply.ShardStand `json:"stands"`
	Lost   string             `json:"lost,omitempty"` // why it is there no more
	Hint   string             `json:"hint,omitempty"`
}

// feedRun is the way back under way.
type feedRun struct {
	feed   *apply.Feed
	cancel context.CancelFunc
	done   chan struct{}
}

// attachTimeout is within what time every shard must have been attached to.
const attachTimeout = 10 * time.Second

// beginBack begins to read the shards, before anything is stopped.
func (m *Sharded) beginBack(ctx context.Context) error {
	if m.cfg.RollbackWindow == 0 {
		return nil
	}
	back := &wayBack{Owner: rand.Text()}
	run := m.startFeed(back, false) //nolint:contextcheck // it lives as long as Run, not as its caller
	ctx, cancel := context.WithTimeout(ctx, attachTimeout)
	defer cancel()
	if _, err := run.feed.Attached(ctx); err != nil {
		m.stopFeed()
		return fmt.Errorf("the way back: %w", err)
	}
	return m.update(func(r *shardedRecord) { r.Back = back })
}

// markBack notes where the shards stand now that everything is applied and nobody
// writes.
func (m *Sharded) markBack(ctx context.Context, from apply.Stand) error {
	run := m.feeding()
	if run == nil {
		return nil
	}
	stands, err := run.feed.Now(ctx)
	if err != nil {
		return fmt.Errorf("the way back: %w", err)
	}
	return m.update(func(r *shardedRecord) {
		back := *r.Back
		back.From, back.Stands = from, stands
		r.Back = &back
	})
}

// openBack says from where on the shards' streams are the clients'.
func (m *Sharded) openBack() {
	m.mu.Lock()
	run, back := m.feed, m.rec.Back
	m.mu.Unlock()
	if run != nil {
		run.feed.Demoted(back.From)
		run.feed.At(back.Stands)
	}
}

// leaveBack takes beginBack back.
func (m *Sharded) leaveBack() error {
	m.stopFeed()
	return m.update(func(r *shardedRecord) { r.Back = nil })
}

// startFeed carries what the shards say to the old primary.
func (m *Sharded) startFeed(back *wayBack, resume bool) *feedRun {
	source := m.source.found()
	base := m.lifetime()
	target := m.cluster.found()
	knows := source.Capabilities()
	knows.Module = source.LoadsModulesOf(target, m.cfg.AcceptModules)
	run := &feedRun{done: make(chan struct{})}
	run.feed = apply.NewFeed(apply.FeedConfig{
		Name: m.cfg.Name, Owner: back.Owner, Own: m.cluster.own(), Replica: m.source.endpoint, Knows: knows, Route: m.cfg.Route,
		Cluster: apply.Source{
			Endpoint: m.cluster.entry(), Capabilities: target.Capabilities(), Version: number(target.Version), Now: m.source.clock.now,
		},
		Transcoder: rdb.TranscoderOptions{Drop: m.cfg.Drop, Module: knows.Module}, Drops: m.drops.sides[Source],
		From: back.From, Resume: resume,
		Spool: spool.Options{Dir: m.cfg.dir(), MemoryLimit: m.cfg.SpoolMemory, DiskLimit: m.cfg.SpoolDisk},
		Log:   m.log,
	})
	if resume {
		run.feed.At(back.Stands)
	}
	ctx, cancel := context.WithCancel(base)
	run.cancel = cancel
	m.mu.Lock()
	m.feed = run
	m.mu.Unlock()
	go func() {
		defer close(run.done)
		if err := run.feed.Run(ctx); ctx.Err() == nil {
			m.lostBack(err)
		}
	}()
	return run
}

// lostBack notes that a rollback is possible no more.
func (m *Sharded) lostBack(err error) {
	m.event(slog.LevelError, err.Error())
	if err := m.update(func(r *shardedRecord) {
		if r.Back != nil {
			back := *r.Back
			back.Lost, back.Hint = err.Error(), hintOf(err)
			r.Back = &back
		}
	}); err != nil {
		m.log.Error("the journal could not be written", "error", err)
	}
}

func (m *Sharded) feeding() *feedRun {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.feed
}

// stopFeed ends the way back, if there is one, and waits for it.
func (m *Sharded) stopFeed() {
	m.mu.Lock()
	run := m.feed
	m.feed = nil
	m.mu.Unlock()
	if run != nil {
		run.cancel()
		<-run.done
	}
}

// serve hands the old primary's PSYNC to the way back.
func (m *Sharded) serve(ctx context.Context, p *psync.Peer) {
	run := m.feeding()
	if run == nil || p.Failover {
		if p.Failover {
			_ = p.Refuse("no switch is under way") // it becomes a primary again
			_ = p.Close()
			return
		}
		putOff(p)
		return
	}
	if err := run.feed.Serve(ctx, p); err != nil {
		m.log.Debug("the old primary was turned away", "error", err)
		putOff(p)
	}
}

// reverse carries the clients' writes from the cluster to the old primary. leave has
// that one ask again, whom the way back now answers.
func (m *Sharded) reverse(ctx context.Context, leave func()) error {
	m.stopEngine()
	leave()
	m.setVotes(nil)
	if err := m.cluster.forget(ctx, nil); err != nil {
		return err
	}
	run := m.feeding()
	if run == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, reverseTimeout)
	defer cancel()
	for run.feed.View().State != apply.Streaming {
		select {
		case <-ctx.Done():
			v := run.feed.View()
			return fmt.Errorf("%s does not follow the cluster yet: the way back is %s %s", m.source.address(), v.State, v.Reason)
		case <-run.done:
			return errors.New("the way back has ended")
		case <-time.After(reverseRetry):
		}
	}
	return nil
}

// Rollback makes the source the primary again, with every write made since.
func (m *Sharded) Rollback(ctx context.Context, o SwitchOptions) (SwitchResult, error) {
	result := SwitchResult{Direction: DirectionRollback, DryRun: o.DryRun}
	leave, err := m.operation.enter(ctx)
	if err != nil {
		return result, err
	}
	defer leave()
	if err := m.mayGoBack(); err != nil {
		return result, err
	}
	limits, err := m.limits(o)
	if err != nil {
		return result, err
	}
	primaries, nodes, err := m.cluster.nodes(ctx)
	defer closeAll(nodes)
	if err != nil {
		return result, err
	}
	next := &oldPrimary{m: m, feed: m.feeding().feed, replica: &cutover.Replica{Side: m.sourceSide(), Old: m.cfg.To.Address}}
	if o.DryRun {
		result.Steps = steps(cutover.SeveralSteps(primaries, next, limits))
		return result, nil
	}
	return m.goBack(ctx, result, primaries, nodes, next, limits)
}

// mayGoBack tells why a rollback is not possible in the present phase.
func (m *Sharded) mayGoBack() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	r := &m.rec
	switch ready, why := m.readyLocked(); {
	case !m.running:
		return hinted("start it with the same `godwit run`, then try again", "migration %s is not running", r.Name)
	case r.Primary == Source:
		return hinted("there is nothing to roll back", "the source is the primary already")
	case r.Completing:
		return hinted(completingHint, "%s", errCompleting)
	case r.Back == nil:
		return hinted("`godwit complete` ends the migration", "there is no way back: this migration runs with --rollback-window 0")
	case r.Back.Lost != "":
		return hinted(r.Back.Hint, "%s", r.Back.Lost)
	case !m.cluster.found().Version.AtLeast(6, 2):
		return hinted("`godwit complete` ends the migration", "%s cannot pause writes alone, so a cluster of it cannot hand over", m.cluster.found().Version)
	case !ready:
		return hinted("wait until `godwit status` says that it is ready", "%s", why)
	}
	return nil
}

// goBack runs the machine between two journal entries.
func (m *Sharded) goBack(ctx context.Context, result SwitchResult, primaries, nodes []*server.Client, next *oldPrimary, limits cutover.Limits) (SwitchResult, error) {
	defer m.interruptVerify(ctx, "a "+result.Direction)()
	fence := &cutover.ACLFence{Nodes: nodes, User: m.cluster.user(), Cluster: true, Rules: m.fenced()}
	if err := fence.Prepare(ctx, m.cluster.password); err != nil {
		return result, err
	}
	next.replica.ReplID = m.source.seen()["master_replid"]
	err := m.update(func(r *shardedRecord) {
		r.Phase, r.Fence = Switching, fence.Rules
		r.Switch = &switchRecord{Direction: result.Direction, At: time.Now()}
		r.Cutover.Direction, r.Cutover.WriteStallMS = result.Direction, 0
		r.Cutover.Steps = steps(cutover.SeveralSteps(primaries, next, limits))
	})
	if err != nil {
		return result, err
	}
	m.event(slog.LevelInfo, fmt.Sprintf("%s: the cluster at %s hands over to %s", result.Direction, m.cfg.To.Address, m.source.address()))
	machine := &cutover.Several{
		Old: primaries, New: next, Limits: limits, Fence: fence.Set, Whole: func(ctx context.Context) error { return m.cluster.noOthers(ctx, primaries) },
		Lift: func(ctx context.Context) error {
			left, err := m.cluster.lifted(ctx, fence)
			return errors.Join(err, m.noteFence(left), fence.Forget(ctx))
		},
		Reverse: func(ctx context.Context) error { m.stopFeed(); return m.forthAgain(ctx) },
		Observe: m.observeStep, Trace: m.traced(result.Direction),
	}
	r, err := machine.Run(ctx)
	result.Steps, result.WriteStallMS = steps(r.Steps), float64(r.WriteStall.Microseconds())/1e3
	return m.concluded(ctx, result, Source, Switched, err)
}

// forthAgain carries what is written to the source, from its promotion on, to the
// cluster, which refuses everybody else's writes.
func (m *Sharded) forthAgain(ctx context.Context) error {
	info, err := m.source.look(ctx)
	if err != nil {
		return err
	}
	at := apply.Stand{ReplID: info["master_replid"], Offset: info.Int("second_repl_offset") - 1}
	if info["role"] != "master" || at.Offset < 0 {
		return fmt.Errorf("%s: unexpected role %s, second_repl_offset %s", m.source.address(), info["role"], info["second_repl_offset"])
	}
	progress, err := apply.ProgressAt(ctx, m.cfg.Name, m.cluster.entry(), []apply.Stand{at})
	if err != nil {
		return err
	}
	if err := m.update(func(r *shardedRecord) {
		progress.Settings = r.Progress.Settings // they are put back in the end
		r.Progress, r.Back = progress, nil
	}); err != nil {
		return err
	}
	m.startEngine(ctx)
	return nil
}

// oldPrimary is the source as a rollback sees it.
type oldPrimary struct {
	m       *Sharded
	feed    *apply.Feed
	replica *cutover.Replica
}

// Address names it.
func (o *oldPrimary) Address() string { return o.replica.Address() }

// Command is what a step asks of it.
func (o *oldPrimary) Command(step cutover.Name) string {
	switch step {
	case cutover.CatchUp:
		return "INFO replication (until it lags less than 1 MB behind the shards)"
	case cutover.Drain:
		return "INFO replication (until it has applied what every shard has written)"
	case cutover.Reverse:
		return "PSYNC replid offset (what is written there goes to the shards, by godwit's own user)"
	default:
		return o.replica.Command(step)
	}
}

// Follows waits until it is close behind the shards.
func (o *oldPrimary) Follows(ctx context.Context) error {
	if _, err := o.replica.Follows(ctx); err != nil {
		return err
	}
	const enough = 1 << 20 // bytes
	for {
		v := o.feed.View()
		lag := int64(0)
		for _, s := range v.Shards {
			lag += s.Read - s.Applied
		}
		if v.State == apply.Streaming && lag <= enough {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s lags %d bytes behind the shards and does not catch up (%s %s)", o.Address(), lag, v.State, v.Reason)
		case <-time.After(reverseRetry):
		}
	}
}

// Drained waits until it has everything that the shards have said.
func (o *oldPrimary) Drained(ctx context.Context, _ []cutover.Place) error {
	return o.feed.Drain(ctx, nil)
}

// Promote makes it a primary.
func (o *oldPrimary) Promote(ctx context.Context) error { return o.replica.Promote(ctx) }
