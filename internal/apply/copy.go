package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"godwit/internal/rdb"
	"godwit/internal/slot"
)

// copy carries the snapshot. What it returns says that the shards have all of it.
func (l *Link) copy(parent context.Context, now *shards) (SourceProgress, error) {
	l.keys.Store(0)
	l.set(Attaching, "")
	if err := l.in.attach(parent, "", 0); err != nil {
		return SourceProgress{}, err
	}
	l.set(Copying, "")
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	loaders := make([]*loader, len(now.primaries))
	var wg sync.WaitGroup
	for i, shard := range now.primaries {
		loaders[i] = newLoader(shard, &l.keys)
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
	l.set(Copied, "")
	return SourceProgress{ReplID: l.in.history(), Had: []Had{{Slots: allSlots(), At: l.in.start}}}, nil
}

// scan goes through the snapshot and gives each key to the shard of its slot.
func (l *Link) scan(ctx context.Context, loaders []*loader, now *shards) error {
	r := &restorer{crc: l.crc, to: l.knows.Format}
	s := rdb.NewScanner(l.in.snapshot(ctx), rdb.ScannerOptions{CRC: l.crc, Single: rdb.AllCodes(), BufferSize: scanBuffer})
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
			r.begin(s.Format(), l.coding)
		case rdb.KindKey:
			if span.DB != 0 {
				return fmt.Errorf("%s: key %.200q is in db %d", l.source.Endpoint.Address, span.Key, span.DB)
			}
			if err := l.load(ctx, loaders[now.of[slot.Of(span.Key)]], r, span); err != nil {
				return err
			}
		default:
		}
	}
}

// scanBuffer is up to which size, in bytes, values are sent as they are.
const scanBuffer = 1 << 20

func (l *Link) load(ctx context.Context, to *loader, r *restorer, span *rdb.Span) error {
	x, err := to.room(ctx)
	if err != nil {
		return err
	}
	if span.More {
		return fmt.Errorf("%s: key %.200q is too large", l.source.Endpoint.Address, span.Key)
	}
	if x.buf, err = r.restore(x.buf, span, span.Value()); err != nil {
		return err
	}
	return to.added(ctx)
}
