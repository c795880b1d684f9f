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
	"time"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/server"
	"godwit/internal/spool"
)

// Config of an engine.
type Config struct {
	Name    string // of the migration
	Sources []Source
	Target  server.Endpoint // any node of the cluster

	Capabilities command.Capabilities // of the target
	Transcoder   rdb.TranscoderOptions
	Spool        spool.Options // of each source
	Log          *slog.Logger

	// Progress is what was saved last, zero in the beginning. Save makes it durable.
	Progress Progress
	Save     func(Progress) error
}

// Engine carries the data of sources to the shards of a target.
type Engine struct {
	cfg   Config
	links []*Link

	mu       sync.Mutex
	progress Progress
}

// New makes an engine; Run carries.
func New(c Config) *Engine {
	e := &Engine{cfg: c, progress: c.Progress}
	crc := rdb.NewCRC64()
	for i, source := range c.Sources {
		o := c.Spool
		o.Dir = filepath.Clean(o.Dir)
		e.links = append(e.links, &Link{
			source: source, target: c.Target, name: sourceName(c.Name, i),
			knows: c.Capabilities, coding: c.Transcoder, spool: o, crc: crc, log: c.Log, state: Attaching,
			in:       newIntake(source, o, c.Log),
			progress: func() SourceProgress { return e.of(i) },
			save: func(p SourceProgress) error {
				return e.change(i, func(now *SourceProgress) bool { *now = p; return true })
			},
			change:  func(f func(*SourceProgress) bool) error { return e.change(i, f) },
			changed: e.changed,
			several: len(c.Sources) > 1, renewals: make(chan struct{}, 1),
		})
		if command.SaysRelativeTTLs(source.Capabilities.Version) {
			e.links[i].in.arrivals.now = source.Now
		}
	}
	return e
}

// sourceName is of a migration and one of its sources, in the names of checkpoints.
func sourceName(migration string, source int) string {
	return fmt.Sprintf("%s:%d", migration, source)
}

// Run carries until ctx is done, or until an error that waiting cannot mend. Whatever
// the target has when a copy begins is deleted.
func (e *Engine) Run(ctx context.Context) error {
	defer func() {
		for _, l := range e.links {
			l.in.detach()
			_ = l.in.spool.Close() // its file has no name any more
		}
	}()
	pause := firstRetry
	for {
		if !e.present().copied() {
			err := e.copy(ctx)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case err != nil && !lasting(err):
				e.cfg.Log.Warn("the copy is tried again", "cause", err)
				for _, l := range e.links {
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
		}
		for _, l := range e.links {
			l.owner = e.present().Owner
		}
		err := e.all(ctx, func(ctx context.Context, l *Link) error { return l.follow(ctx) })
		if !errors.Is(err, errCopyAgain) {
			return err
		}
		e.cfg.Log.Warn("the data is copied again", "cause", err)
		if err := e.set(Progress{Settings: e.present().Settings}); err != nil {
			return err
		}
	}
}

// lastCopy is the longest pause between two copies, each of which has the source fork.
const lastCopy = 10 * time.Second

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
	var noEqual *rdb.NoEqualError
	var syntax *rdb.SyntaxError
	var format *rdb.FormatError
	var fatal *FatalError
	return errors.As(err, &noEqual) || errors.As(err, &syntax) || errors.As(err, &format) || errors.As(err, &fatal)
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

// all has every link do something, until one fails.
func (e *Engine) all(parent context.Context, do func(context.Context, *Link) error) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var wg sync.WaitGroup
	for _, l := range e.links {
		wg.Go(func() {
			if err := do(ctx, l); err != nil {
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

// copy carries the snapshots of all sources to an empty target.
func (e *Engine) copy(lifetime context.Context) error {
	ctx := lifetime
	now, err := readShards(ctx, e.cfg.Target)
	if err != nil {
		return err
	}
	ids, err := now.identities(ctx)
	if err != nil {
		return err
	}
	next := Progress{Owner: rand.Text(), Sources: make([]SourceProgress, len(e.links)), Settings: e.present().Settings}
	for _, shard := range now.primaries {
		if err := empty(ctx, shard); err != nil {
			return err
		}
	}
	var mu sync.Mutex
	err = e.all(ctx, func(ctx context.Context, l *Link) error {
		p, err := l.copy(ctx, lifetime, now)
		mu.Lock()
		next.Sources[slices.Index(e.links, l)] = p
		mu.Unlock()
		return err
	})
	if err != nil {
		return err
	}
	after, err := now.identities(ctx)
	if err != nil {
		return err
	}
	for i, shard := range now.primaries {
		if ids[i].RunID != after[i].RunID {
			return fmt.Errorf("%s was started again during the copy", shard.Address)
		}
	}
	for i, l := range e.links {
		p := &next.Sources[i]
		p.Generation = 1
		p.Lanes = now.lanes(l.name, 1, ids)
	}
	return e.set(next)
}

// empty deletes everything that a shard has. What an earlier copy has sent may still
// be on its way: its connections are ended before.
func empty(ctx context.Context, shard server.Endpoint) error {
	c, err := dial(ctx, shard)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	if err := c.endClients(clientName); err != nil {
		return err
	}
	_, err = c.do("FLUSHALL")
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
			return err
		}
	}
	e.progress = p
	return nil
}

// Acknowledge tells the sources now what the target has. They are told by itself, too,
// but not as often as whoever waits would like.
func (e *Engine) Acknowledge() {
	for _, l := range e.links {
		select {
		case l.in.hurry <- struct{}{}:
		default: // it is about to
		}
	}
}

// View tells what has been done so far, by source.
func (e *Engine) View() []View {
	views := make([]View, len(e.links))
	for i, l := range e.links {
		views[i] = l.View()
	}
	return views
}
