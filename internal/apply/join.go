package apply

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"
)

// readied is what Join has found.
type readied struct {
	target *shards
	ids    []identity
}

// Join attaches to all sources where they stand at present, without their data: what they
// say from then on waits in the spools, up to lifetime's end. It is for a target that is
// about to have what the sources have, as an engine in the other direction has seen to:
// once that is so, and as long as nobody writes, Stood tells from where on Run carries.
func (e *Engine) Join(lifetime context.Context) (err error) {
	defer func() {
		if err != nil {
			e.Leave()
		}
	}()
	if e.cfg.Cluster != nil {
		if err := e.gather(lifetime); err != nil {
			return err
		}
	}
	target, err := e.shards(lifetime)
	if err != nil {
		return err
	}
	ids, err := target.identities(lifetime)
	if err != nil {
		return err
	}
	var group errgroup.Group
	for _, l := range e.all() {
		group.Go(func() error { return l.in.join(lifetime) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	e.readied = &readied{target, ids}
	return nil
}

// Leave ends what Join has begun, unless Run is called.
func (e *Engine) Leave() {
	for _, l := range e.all() {
		l.close()
	}
	if e.watcher != nil {
		_ = e.watcher.Close() // nothing was left unsent
	}
}

// Stood is the progress of an engine whose target has all that the sources have said by
// now. It is for the caller to save before Run is called: Save is not.
func (e *Engine) Stood(ctx context.Context) (Progress, error) {
	if e.readied == nil {
		return Progress{}, errors.New("the sources are not attached to")
	}
	links := e.all()
	at := make([]Stand, len(links))
	group, ctx := errgroup.WithContext(ctx)
	for i, l := range links {
		group.Go(func() error {
			info, err := replication(ctx, l.in.source)
			at[i] = Stand{info["master_replid"], info.Int("master_repl_offset")}
			if err == nil && (info["role"] != "master" || at[i].ReplID != l.in.history()) {
				err = fmt.Errorf("%s is another primary than a moment ago", l.in.source.Address)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return Progress{}, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	p := e.readied.target.progressAt(e.cfg.Name, at, e.readied.ids)
	p.Settings, p.Shards = e.progress.Settings, e.progress.Shards
	if e.slots != nil {
		p.Slots = e.slots.present()
	}
	e.progress = p
	return p, nil
}

// CopyError ends an engine that is to keep what its target has.
type CopyError struct {
	Target string // address
	Err    error  // what is missing
}

func (e *CopyError) Error() string {
	return fmt.Sprintf("what is missing at %s is not to be had any more: %v", e.Target, e.Err)
}
func (e *CopyError) Unwrap() error { return e.Err }

// HintText is what the user can do about it.
func (e *CopyError) HintText() string {
	return fmt.Sprintf("the new side serves on, and %s keeps what it had: end the migration with `godwit complete`, or go back by a migration of its own, to empty servers", e.Target)
}
