package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"godwit/internal/apply"
	"godwit/internal/plan"
	"godwit/internal/topology"
)

// Loading is a migration whose source is a file that a server has saved. It ends by
// itself, and has no switch. OpenLoading makes it, Close gives its lock back.
//
// Goroutines of Run, all ended when it returns: the engine, and the keeper, which is Run
// itself.
type Loading struct {
	core

	to      *end      // the target, or the node of it that was named
	endedAt time.Time // when the loading ended that the journal held before this one

	// Guarded by mu.
	rec     loadingRecord
	planned plan.Plan
	target  topology.Node // as a whole where it is a cluster, see plan
	cluster bool
	shards  shardsSeen
	engine  *loadingRun
	copy    copyProgress
	rates   rates
}

// loadingRecord is what the journal holds.
type loadingRecord struct {
	header

	Progress apply.FileProgress `json:"progress"`
	Version  string             `json:"version,omitempty"` // of the server that wrote the file
	Kind     string             `json:"kind,omitempty"`    // of the file
	Keys     int64              `json:"keys"`              // of its snapshot
}

// loadingRun is the engine under way.
type loadingRun struct {
	engine *apply.FileEngine
	cancel context.CancelFunc
	done   chan struct{}
	ended  chan error // how it ended by itself
}

// OpenLoading is Open for a source that is a file.
func OpenLoading(c Config, log *slog.Logger) (*Loading, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	var rec loadingRecord
	j, err := openJournal(c.dir(), c.Name, &rec)
	if err != nil {
		return nil, err
	}
	m := &Loading{rec: rec}
	m.core = newCore(c, log, j, &m.rec.header)
	m.persist = m.saveLocked
	if err := m.begin(); err != nil {
		return nil, errors.Join(err, j.close())
	}
	return m, nil
}

// fileURL is a path as the journal and the status name it.
func fileURL(path string) string { return "file:" + path }

func (m *Loading) begin() error {
	from, to := fileURL(m.cfg.File), m.cfg.To.String()
	switch r := &m.rec; {
	case r.Name == "" || r.Phase == Completed || r.Phase == Aborted || r.untouched():
		if r.Phase != Failed && r.From == from && r.To == to {
			m.ended, m.endedAt = r.Phase, r.Updated
		}
		m.rec = loadingRecord{header: header{
			Name: m.cfg.Name, From: from, To: to, Engine: plan.File, Phase: Planned, Primary: Source, Started: time.Now(),
			DBMap: m.cfg.Route.Flags(),
		}}
	case r.From != from || r.To != to || r.Engine != plan.File:
		return &ConflictError{Name: m.cfg.Name, From: r.From, To: r.To, Phase: r.Phase}
	case !slices.Equal(r.DBMap, m.cfg.Route.Flags()):
		return &DBMapError{Name: m.cfg.Name, Was: r.DBMap, Now: m.cfg.Route.Flags()}
	}
	var err error
	m.to, err = newEnd(Target, m.cfg.To, "godwit:"+m.cfg.Name, m.cfg.Now)
	return err
}

// Close gives the lock and the connections back. Run must have returned.
func (m *Loading) Close() error { return errors.Join(m.to.client.Close(), m.journal.close()) }

// Run loads the file until the target has all of it or it is aborted (nil), until it
// fails, or until ctx is done (its error); then a later Run goes on from there.
func (m *Loading) Run(ctx context.Context) error {
	return m.noteEnd(ctx, m.run(ctx))
}

func (m *Loading) run(ctx context.Context) error {
	if err := m.mark(); err != nil {
		return err
	}
	if err := m.inspect(ctx, m.phase() == Planned); err != nil {
		return err
	}
	_, life := m.live(ctx) // its context is m.base
	defer life.end(func() { m.stopEngine() })
	life.apart()
	m.mu.Lock()
	m.rec.Followed = true // the target is not what it was, from here on
	m.mu.Unlock()
	if err := m.setPhase(Copying); err != nil {
		return err
	}
	m.event(slog.LevelInfo, fmt.Sprintf("loading %s into %s", m.cfg.File, m.cfg.To.Address))
	if err := m.startEngine(); err != nil { //nolint:contextcheck // it lives as long as Run
		return err
	}
	return m.keep(ctx)
}

// startEngine loads the file from where the journal says, as long as Run does.
func (m *Loading) startEngine() error {
	m.mu.Lock()
	target, ctx, wg := m.target, m.base, m.wg
	m.mu.Unlock()
	c, err := fileConfig(m.cfg, target)
	if err != nil {
		return err
	}
	run := &loadingRun{engine: m.newEngine(c), done: make(chan struct{}), ended: make(chan error, 1)}
	ctx, run.cancel = context.WithCancel(ctx)
	m.mu.Lock()
	m.engine = run
	m.copy = copyProgress{began: time.Now(), totalKeys: m.rec.Keys}
	m.mu.Unlock()
	wg.Go(func() {
		defer close(run.done)
		if err := run.engine.Run(ctx); ctx.Err() == nil {
			run.ended <- err
		}
	})
	return nil
}

// newEngine is one that goes on from where the journal says.
func (m *Loading) newEngine(c apply.FileConfig) *apply.FileEngine {
	m.mu.Lock()
	c.Progress, c.Log = m.rec.Progress, m.log
	m.mu.Unlock()
	c.Save = func(p apply.FileProgress) error {
		m.mu.Lock()
		defer m.mu.Unlock()
		before := m.rec.Progress
		m.rec.Progress = p
		err := m.saveLocked()
		if err != nil {
			m.rec.Progress = before
		}
		return err
	}
	return apply.NewFile(c)
}

// stopEngine ends the engine, waits for it and returns it, nil if there was none.
func (m *Loading) stopEngine() *apply.FileEngine {
	m.mu.Lock()
	run := m.engine
	m.engine = nil
	m.mu.Unlock()
	if run == nil {
		return nil
	}
	run.cancel()
	<-run.done
	return run.engine
}

// keep watches over the loading until it ends.
func (m *Loading) keep(ctx context.Context) error {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	var saved, looked time.Time
	for {
		m.mu.Lock()
		run := m.engine
		m.mu.Unlock()
		var ended <-chan error
		if run != nil { // else an abort has stopped it
			ended = run.ended
			m.measure(run.engine.View())
		}
		if time.Since(looked) > shardsInterval {
			m.lookAtTarget(ctx)
			looked = time.Now()
		}
		if time.Since(saved) > saveInterval {
			m.saveQuietly()
			saved = time.Now()
		}
		select {
		case <-ctx.Done():
			return m.interrupted(ctx)
		case <-m.finished:
			return nil
		case err := <-ended:
			return m.loaded(ctx, run, err)
		case <-tick.C:
		}
	}
}

// interrupted ends a Run that was told to stop.
func (m *Loading) interrupted(ctx context.Context) error {
	if m.cfg.AbortOnExit {
		quiet, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*controlTimeout)
		defer cancel()
		if _, err := m.Abort(quiet, false); err != nil {
			return errors.Join(ctx.Err(), err)
		}
	}
	return ctx.Err()
}

// loaded is called when the engine has ended by itself.
func (m *Loading) loaded(ctx context.Context, run *loadingRun, err error) error {
	if pauseErr := m.operation.pause(ctx); pauseErr != nil {
		return pauseErr
	}
	defer m.operation.release()
	if over, overErr := m.over(); over {
		return overErr
	}
	v := run.engine.View()
	m.measure(v)
	if err != nil {
		return &HintedError{
			Err: fmt.Errorf("%w; the target holds what was loaded before: %d keys of the snapshot, and the effect of up to %d commands", err, v.Keys, v.Commands), Hint: hintOf(err),
		}
	}
	if err := run.engine.End(ctx); err != nil {
		return fmt.Errorf("%s: %w", Target, err)
	}
	m.lookAtTarget(ctx)
	m.mu.Lock()
	m.copy.ended = time.Now()
	m.mu.Unlock()
	_, err = m.finishAs(Completed, EndResult{}, fmt.Sprintf("completed: %s was given %s", m.cfg.To.Address, loadedText(v)))
	return err
}

// loadedText says what was loaded.
func loadedText(v apply.FileView) string {
	text := fmt.Sprintf("%d keys of the snapshot and %d commands", v.Keys, v.Commands)
	if v.Expired > 0 {
		text += fmt.Sprintf("; %d keys were left out because their time had passed", v.Expired)
	}
	if v.Left > 0 {
		text += fmt.Sprintf("; %d keys and commands of dbs that stay behind were left out", v.Left)
	}
	return text
}
