package apply

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/server"
	"godwit/internal/topology"
)

// readied is what Join has found.
type readied struct {
	target *shards
	ids    []identity
	dbs    map[*Link]*selecting // which each source's stream selects; nil where there is but one
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
	links := e.all()
	dbs := make([]*selecting, len(links))
	for i, l := range links {
		group.Go(func() (err error) {
			dbs[i], err = l.joinIn(lifetime, e.cfg.Own)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	e.readied = &readied{target: target, ids: ids}
	if e.cfg.Route.Maps() {
		e.readied.dbs = make(map[*Link]*selecting)
		for i, l := range links {
			e.readied.dbs[l] = dbs[i]
		}
	}
	return nil
}

// joinIn attaches where the source stands at present. Where it may have several dbs it is had
// select one, which is remembered with all after it; nil where it has one. own: see Config.
func (l *Link) joinIn(ctx context.Context, own func(server.Endpoint) server.Endpoint) (*selecting, error) {
	if err := l.in.join(ctx); err != nil || !l.route.Maps() {
		return nil, err
	}
	of := uint16(0)
	if l.slots != nil {
		var err error
		if of, err = slotAt(ctx, l.in.source); err != nil {
			return nil, err
		}
	}
	dbs := &selecting{in: l.in}
	dbs.from(l.in.start)
	source := l.in.source
	if own != nil {
		source = own(source)
	}
	return dbs, stir(ctx, source, l.name, of)
}

// slotAt is one of the slots that a primary of a cluster has: who moves slots, takes the first
// ones (redis-cli --cluster reshard).
func slotAt(ctx context.Context, primary server.Endpoint) (uint16, error) {
	m, err := topology.ReadCluster(ctx, primary)
	if err != nil {
		return 0, err
	}
	for _, n := range m.Nodes {
		if n.Endpoint.Address == primary.Address && len(n.Slots) > 0 {
			return n.Slots[len(n.Slots)-1].Last, nil
		}
	}
	return 0, fmt.Errorf("%s has no slots, so nothing can have it say which db its stream selects", primary.Address)
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

// stoodTimeout is how long a source is waited for that has not sent what it says it has: its
// connection may have ended, and nobody writes meanwhile.
const stoodTimeout = 3 * time.Second

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
			at[i] = Stand{ReplID: info["master_replid"], Offset: info.Int("master_repl_offset")}
			if err == nil && (info["role"] != "master" || at[i].ReplID != l.in.history()) {
				err = fmt.Errorf("%s is another primary than a moment ago", l.in.source.Address)
			}
			if s := e.readied.dbs[l]; s != nil && err == nil {
				limited, cancel := context.WithTimeoutCause(ctx, stoodTimeout, fmt.Errorf("%s has not sent its stream up to offset %d", l.in.source.Address, at[i].Offset))
				at[i].DB, err = s.selectedAt(limited, new(sync.Mutex), at[i].Offset)
				cancel()
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
