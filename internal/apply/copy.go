package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"godwit/internal/rdb"
	"godwit/internal/reserved"
	"godwit/internal/resp"
	"godwit/internal/slot"
)

// copy carries the snapshot. What it returns says that the shards have all of it. The
// connection to the source lives on as long as lifetime.
func (l *Link) copy(parent, lifetime context.Context, now *shards) (SourceProgress, error) {
	l.keys.Store(0)
	l.left.Store(0)
	l.proof.begin()
	l.set(Attaching, nil)
	if err := l.in.attach(lifetime, "", 0); err != nil {
		return SourceProgress{}, err
	}
	l.set(Copying, nil)
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	loaders := make([]*loader, len(now.primaries))
	var wg sync.WaitGroup
	for i, shard := range now.primaries {
		loaders[i] = newLoader(shard, elsewhere(l.route), &l.keys, l.refuses(shard.Address))
		for range loadConns {
			wg.Go(func() {
				if err := loaders[i].carry(ctx); err != nil {
					cancel(err)
				}
			})
		}
	}
	watched := make(chan struct{})
	wg.Go(func() {
		select {
		case err := <-l.in.failed: // a snapshot cannot be resumed
			cancel(fmt.Errorf("%s: %w", l.source.Endpoint.Address, err))
		case <-watched:
		case <-ctx.Done():
		}
	})
	err := l.scan(ctx, loaders, now)
	if err == nil {
		if err = l.proof.flush(ctx); err != nil {
			err = &FatalError{err}
		}
	}
	for _, x := range loaders {
		if err == nil {
			err = x.flush(ctx)
		}
		close(x.out)
	}
	close(watched)
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		return SourceProgress{}, err
	}
	l.set(Copied, nil)
	return SourceProgress{ReplID: l.in.history(), Had: []Had{{Slots: allSlots(), At: l.in.start, Sound: l.in.start}}}, nil
}

// refuses notes what a shard refuses for a while, or that it does not any more.
func (l *Link) refuses(shard string) func(error) {
	var refusing atomic.Bool
	return func(err error) {
		switch {
		case err == nil && refusing.CompareAndSwap(true, false):
			l.set(Copying, nil)
		case err != nil:
			refusing.Store(true)
			l.set(Copying, err)
			l.log.Warn("it is tried again", "shard", shard, "error", err)
		}
	}
}

// scan goes through the snapshot and gives each key to the shard of its slot.
func (l *Link) scan(ctx context.Context, loaders []*loader, now *shards) error {
	var x dropper
	x.prepare(l.knows, l.coding, l.drops.ofCopy)
	r := newRestorer(l.crc, l.knows)
	s := rdb.NewScanner(l.in.snapshot(ctx), rdb.ScannerOptions{CRC: l.crc, Single: rdb.AllCodes(), BufferSize: scanBuffer})
	to := selects(l.route, 0)
	for {
		span, err := s.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: snapshot: %w", l.source.Endpoint.Address, err)
		}
		switch span.Kind {
		case rdb.KindHeader:
			r.begin(s.Format(), x.coding)
		case rdb.KindKey:
			if span.DB != to.db {
				to = selects(l.route, span.DB)
			}
			if err := l.key(ctx, loaders, now, &x, r, s, span, to); err != nil {
				return err
			}
		case rdb.KindOpcode:
			if span.Opcode == rdb.OpcodeSlotImport && l.slots != nil {
				break // their keys are the other shard's until they have arrived, see expects
			}
			if err := x.opcode(span, func() error { return library(ctx, now, span) }); err != nil {
				return fmt.Errorf("%s: snapshot: %w", l.source.Endpoint.Address, err)
			}
		default:
		}
	}
}

// key gives one key of the snapshot to the shard of its slot, by the name that it has
// there.
func (l *Link) key(ctx context.Context, loaders []*loader, now *shards, x *dropper, r *restorer, s *rdb.Scanner, span *rdb.Span, to selection) error {
	k := itemOf(span)
	switch {
	case reserved.Is(k.key):
		return nil
	case to.way == nil:
		return fmt.Errorf("%s: key %.200q: %w", l.source.Endpoint.Address, k.key, l.unmapped(to.err))
	case to.stays():
		l.left.Add(1)
		return nil
	case !to.plain:
		var err error
		if r.name, err = to.way.AppendName(r.name[:0], k.key); err != nil {
			return fmt.Errorf("%s: %w", l.source.Endpoint.Address, err)
		}
		k.key = r.name
	}
	if l.proof != nil {
		if err := l.proof.see(ctx, k.key); err != nil {
			return &FatalError{err}
		}
	}
	k.to = to.to
	of := slot.Of(k.key)
	if mine, err := l.expects(of); err != nil || !mine {
		return err
	}
	return x.key(span, func() error { return loadKey(ctx, loaders[now.of[of]], r, s, span, &k) })
}

// expects tells whether the keys of a slot are this source's to copy. Another shard of a
// cluster has some that it is being given, or could not give away: such a slot is carried
// by value later.
func (l *Link) expects(of uint16) (bool, error) {
	if l.slots == nil {
		return true, nil
	}
	switch int(l.slots.owner[of].Load()) {
	case l.index:
		return true, nil
	case unsettled:
		return false, nil
	}
	_, err := l.slots.unsettle(func(i uint16) bool { return i == of })
	return false, err
}

// scanBuffer is up to which size, in bytes, values are sent as they are.
const scanBuffer = 1 << 20

// loadKey has a shard given a key, of which the scanner has just found the beginning.
func loadKey(ctx context.Context, to *loader, r *restorer, s *rdb.Scanner, span *rdb.Span, k *item) error {
	if span.More {
		return large(ctx, to, r, s, *k)
	}
	x, err := to.room(ctx, k.to)
	if err != nil {
		return err
	}
	if x.buf, err = r.restore(x.buf, k, span.Value()); err != nil {
		return err
	}
	return to.added(ctx)
}

// library loads a function library into every shard.
func library(ctx context.Context, now *shards, span *rdb.Span) error {
	if span.Opcode != rdb.OpcodeFunction2 {
		return nil
	}
	code, err := span.Function()
	if err != nil {
		return err
	}
	load := resp.AppendArgs(nil, []byte("FUNCTION"), []byte("LOAD"), []byte("REPLACE"), code)
	for _, shard := range now.primaries {
		if err := tell(ctx, shard, load, "FUNCTION LOAD"); err != nil {
			return err
		}
	}
	return nil
}

// auxiliary tells of data that a module has saved beside its keys, with an *AuxiliaryError.
func auxiliary(span *rdb.Span) error {
	if span.Opcode != rdb.OpcodeModuleAux || span.EmptyModuleAux() {
		return nil
	}
	return &FatalError{&AuxiliaryError{Module: span.ModuleID().Name()}}
}

// AuxiliaryError says that a snapshot has data of a module that belong to no key. No client
// can write them; a server is given them by loading the snapshot.
type AuxiliaryError struct{ Module string }

func (e *AuxiliaryError) Error() string {
	return fmt.Sprintf("the module %s has data that belong to no key, which only a server that loads the snapshot as a whole can be given", e.Module)
}

// HintText is what the user can do about it.
func (e *AuxiliaryError) HintText() string {
	return "if the module can make them anew at the target, as it can an index, leave them out with --drop " + string(rdb.FeatureModule) +
		"; otherwise let a server that has the module load them, and migrate from that to a standalone server"
}
