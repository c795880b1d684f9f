package apply

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/command"
	"godwit/internal/divide"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/spool"
	"godwit/internal/topology"
)

// Config of an engine.
type Config struct {
	Name string // of the migration
	// Sources are servers that have nothing to do with each other, and no key in common.
	Sources []Source
	Cluster *ClusterSource  // in their place
	Target  server.Endpoint // any node of the cluster, or a standalone server
	// Reach is Target by a node that answers now, where the one of Target may be gone; nil
	// where Target will do.
	Reach func() server.Endpoint
	// OwnUser says that the caller gives every node of the target the user of Target, again
	// where one was started again, which has forgotten it: it is waited for.
	OwnUser bool

	Capabilities command.Capabilities // of the target
	Transcoder   rdb.TranscoderOptions
	Drops        *Drops        // of the target
	Route        route.Route   // of the keys of each source; not Prefixed where a cluster is carried
	Spool        spool.Options // of each source
	// Proves is by what rule the keys are divided among Sources, in their order, if they are:
	// each key is looked at, see Refuted. Nil where there is none.
	Proves *divide.Rule
	Share  *Share // of the keys, that the target has; nil for all. It goes with KeepTarget: a copy has all
	Log    *slog.Logger

	// Own is a source as a user sees it who may write there while nobody else may, as is so
	// when Join is called; nil where Sources and Cluster tell of such.
	Own func(server.Endpoint) server.Endpoint

	// KeepTarget has Run end with a *CopyError where everything would have to be copied
	// again: what the target has is worth more than going on.
	KeepTarget bool

	// Progress is what was saved last, zero in the beginning. Save makes it durable.
	Progress Progress
	Save     func(Progress) error
}

// Engine carries the data of sources to the shards of a target.
type Engine struct {
	cfg Config
	crc *rdb.CRC64

	// Of a source that is a cluster:
	watcher *topology.ClusterWatcher
	slots   *slotTable

	readied *readied // by Join, until Run goes on from there

	copiedTo *shards // as they were when a copy was about to begin; of Run alone

	// linking is not held while progress is saved: whoever saves it may ask for a View.
	linking sync.Mutex
	links   []*Link // guarded by linking

	refuted atomic.Pointer[Refutation]

	mu       sync.Mutex
	progress Progress // guarded by mu
}

// New makes an engine; Run carries.
func New(c Config) *Engine {
	e := &Engine{cfg: c, crc: rdb.NewCRC64(), progress: c.Progress}
	e.refuted.Store(c.Progress.Refuted)
	for i, source := range c.Sources {
		l := e.link(i, source, func(context.Context) (server.Endpoint, error) { return source.Endpoint, nil })
		l.several = len(c.Sources) > 1
		e.links = append(e.links, l)
	}
	return e
}

// link makes one of a source; find tells where it is.
func (e *Engine) link(i int, source Source, find func(context.Context) (server.Endpoint, error)) *Link {
	o := e.cfg.Spool
	o.Dir = filepath.Clean(o.Dir)
	l := &Link{
		source: source, find: find, shards: e.shards, name: sourceName(e.cfg.Name, i), index: i, slots: e.slots,
		knows: e.cfg.Capabilities, coding: e.cfg.Transcoder, drops: e.cfg.Drops, route: e.cfg.Route, spool: o, crc: e.crc, log: e.cfg.Log, state: Attaching,
		in:       newIntake(source, o, e.cfg.Log),
		progress: func() SourceProgress { return e.of(i) },
		save: func(p SourceProgress) error {
			return e.change(i, func(now *SourceProgress) bool { *now = p; return true })
		},
		change:   func(f func(*SourceProgress) bool) error { return e.change(i, f) },
		changed:  e.changed,
		lasting:  e.lasting,
		renewals: make(chan struct{}, 1),
		share:    e.cfg.Share, proof: e.proof(i),
	}
	if command.SaysRelativeTTLs(source.Capabilities.Version) {
		l.in.arrivals.now = source.Now
	}
	l.in.find = find
	l.passed.Store(-1)
	return l
}

// close ends what a link has open.
func (l *Link) close() {
	l.in.detach()
	_ = l.in.spool.Close() // its file has no name any more
}

// shards are those of the target as they are now.
func (e *Engine) shards(ctx context.Context) (*shards, error) { return readShards(ctx, e.target()) }

// all are the links.
func (e *Engine) all() []*Link {
	e.linking.Lock()
	defer e.linking.Unlock()
	return slices.Clone(e.links)
}

// sourceName is of a migration and one of its sources, in the names of checkpoints.
func sourceName(migration string, source int) string {
	return fmt.Sprintf("%s:%d", migration, source)
}

// Run carries until ctx is done, or until an error that waiting cannot mend. Whatever
// the target has when a copy begins is deleted.
func (e *Engine) Run(ctx context.Context) error {
	if e.cfg.Cluster != nil && e.cfg.Route.Prefixed() {
		return &FatalError{errors.New("--db-map: keys of a cluster keep their names, which say what slot they are in")}
	}
	defer func() {
		for _, l := range e.all() {
			l.close()
		}
		if e.watcher != nil {
			_ = e.watcher.Close() // nothing was left unsent
		}
	}()
	pause := firstRetry
	for {
		begin := e.resume
		if !e.present().copied() {
			begin = e.copy
			if e.cfg.KeepTarget {
				return &CopyError{Target: e.cfg.Target.Address, Err: errCopyAgain}
			}
		}
		err := begin(ctx)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil && !e.lasting(err):
			e.cfg.Log.Warn("it is begun again", "cause", err)
			for _, l := range e.all() {
				l.set(Broken, err)
			}
			if !wait(ctx, pause) {
				return ctx.Err()
			}
			pause = min(2*pause, lastCopy)
			continue
		case err != nil:
			return err
		}
		pause = firstRetry
		err = e.follow(ctx)
		if !errors.Is(err, errCopyAgain) {
			return err
		}
		if e.cfg.KeepTarget {
			return &CopyError{Target: e.cfg.Target.Address, Err: err}
		}
		e.cfg.Log.Warn("the data is copied again", "cause", err)
		if err := e.set(Progress{Settings: e.present().Settings}); err != nil {
			return err
		}
	}
}

// resume prepares to go on from what was saved.
func (e *Engine) resume(ctx context.Context) error {
	joined := e.readied != nil // the links are there, and read already
	e.readied = nil
	if e.cfg.Cluster == nil || joined {
		return nil
	}
	return e.regather(ctx)
}

// follow has every link carry its stream, until one fails.
func (e *Engine) follow(parent context.Context) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var wg sync.WaitGroup
	start := func(l *Link) {
		l.owner = e.present().Owner
		ctx, end := context.WithCancel(ctx)
		ended := make(chan struct{})
		l.end, l.ended = end, ended
		wg.Go(func() {
			defer close(ended)
			defer end()
			if err := l.follow(ctx); err != nil && ctx.Err() == nil {
				cancel(err)
			}
		})
	}
	for _, l := range e.all() {
		start(l)
	}
	wg.Go(func() {
		if err := e.watchTarget(ctx); err != nil {
			cancel(err)
		}
	})
	if e.slots != nil {
		wg.Go(func() {
			if err := e.keep(ctx, start); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	if parent.Err() != nil {
		return parent.Err()
	}
	return context.Cause(ctx)
}

// lastCopy is the longest pause between two copies, each of which has the source fork.
const lastCopy = 10 * time.Second

// target is by what the target is reached now.
func (e *Engine) target() server.Endpoint {
	if e.cfg.Reach == nil {
		return e.cfg.Target
	}
	return e.cfg.Reach()
}

// lasting is the function of that name, but for a user that is about to be there.
func (e *Engine) lasting(err error) bool {
	return lasting(err) && (!e.cfg.OwnUser || !server.IsCode(err, "WRONGPASS"))
}

// lasting tells of an error that waiting would not mend.
func lasting(err error) bool {
	var refused *CommandError
	if errors.As(err, &refused) {
		return !refused.again()
	}
	var setting *SettingError // by the provider's means it may be mended any time
	if errors.As(err, &setting) {
		return false
	}
	var reply *server.Error
	if errors.As(err, &reply) {
		switch reply.Code {
		case "NOPERM", "NOAUTH", "WRONGPASS":
			return true
		}
	}
	var unmapped *route.UnmappedError
	var clash *route.ClashError
	var noEqual *rdb.NoEqualError
	var syntax *rdb.SyntaxError
	var format *rdb.FormatError
	var fatal *FatalError
	return errors.As(err, &unmapped) || errors.As(err, &clash) || errors.As(err, &noEqual) || errors.As(err, &syntax) || errors.As(err, &format) || errors.As(err, &fatal)
}

// wait tells whether ctx is not done after a while.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// copy carries the snapshots of all sources to an empty target.
func (e *Engine) copy(lifetime context.Context) error {
	ctx := lifetime
	if e.cfg.Cluster != nil {
		if err := e.gather(ctx); err != nil {
			return err
		}
	}
	links := e.all()
	now, err := e.settledShards(ctx)
	if err != nil {
		return err
	}
	ids, err := now.identities(ctx)
	if err != nil {
		return err
	}
	next := Progress{Owner: rand.Text(), Sources: make([]SourceProgress, len(links)), Settings: e.present().Settings}
	for _, shard := range now.primaries {
		if err := empty(ctx, shard, e.cfg.Capabilities); err != nil {
			return err
		}
	}
	e.cfg.Drops.begin()
	e.refuted.Store(nil)
	group, within := errgroup.WithContext(ctx)
	for i, l := range links {
		group.Go(func() (err error) {
			next.Sources[i], err = l.copy(within, lifetime, now)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := now.kept(ctx, ids); err != nil {
		return err
	}
	for i, l := range links {
		p := &next.Sources[i]
		p.Generation = 1
		p.Lanes, p.Seen = now.lanes(l.name, 1, ids), now.jobs()
	}
	if e.cfg.Cluster != nil {
		if err := e.gathered(ctx, &next); err != nil {
			return err
		}
	}
	next.Refuted = e.Refuted()
	return e.set(next)
}

// empty deletes everything that a shard has, its libraries of functions, too. What an
// earlier copy has sent may still be on its way: its connections are ended before.
func empty(ctx context.Context, shard server.Endpoint, knows command.Capabilities) error {
	c, err := dial(ctx, shard)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	if err := c.endClients(clientName); err != nil {
		return err
	}
	if _, err = c.do("FLUSHALL"); err != nil || !knows.Has("FUNCTION") {
		return err
	}
	_, err = c.do("FUNCTION", "FLUSH")
	return err
}

func (e *Engine) present() Progress {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.progress
}

func (e *Engine) of(source int) SourceProgress { return e.present().Sources[source] }

// change has f change the progress of a source, and saves it if f says that it did.
func (e *Engine) change(source int, f func(*SourceProgress) bool) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.progress
	next.Sources = slices.Clone(next.Sources)
	if !f(&next.Sources[source]) {
		return nil
	}
	return e.saveLocked(next)
}

func (e *Engine) set(p Progress) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.saveLocked(p)
}

func (e *Engine) saveLocked(p Progress) error {
	if e.cfg.Save != nil {
		if err := e.cfg.Save(p); err != nil {
			return &saveError{err}
		}
	}
	e.progress = p
	return nil
}

// Acknowledge tells the sources now what the target has. They are told by itself, too,
// but not as often as whoever waits would like.
func (e *Engine) Acknowledge() {
	for _, l := range e.all() {
		select {
		case l.in.hurry <- struct{}{}:
		default: // it is about to
		}
	}
}

// View tells what has been done so far, by source.
func (e *Engine) View() []View {
	links := e.all()
	views := make([]View, len(links))
	for i, l := range links {
		views[i] = l.View()
	}
	return views
}
