package verify

import (
	"context"

	"golang.org/x/sync/errgroup"

	"godwit/internal/hold"
)

// trailed are the feeds of some shards of the source, all held back. It is for one
// goroutine.
type trailed struct {
	run   *run
	holds []Hold
}

// trail holds the feeds of these shards back.
func (r *run) trail(ctx context.Context, shards []int) (*trailed, error) {
	t := &trailed{run: r}
	for _, shard := range shards {
		h, err := r.cfg.Feeds[shard].Trail(ctx)
		if err != nil {
			t.release()
			return nil, err
		}
		t.holds = append(t.holds, h)
	}
	return t, nil
}

// stop stops each of them at an offset of its shard: the n-th at the n-th.
func (t *trailed) stop(ctx context.Context, at []int64) ([]hold.Stand, error) {
	stands := make([]hold.Stand, len(t.holds))
	group, ctx := errgroup.WithContext(ctx)
	for i, h := range t.holds {
		group.Go(func() (err error) {
			stands[i], err = h.Stop(ctx, at[i])
			return err
		})
	}
	return stands, group.Wait()
}

// err is why the target is fed again by one of them, nil while it is by none.
func (t *trailed) err() error {
	for _, h := range t.holds {
		if err := h.Err(); err != nil {
			return err
		}
	}
	return nil
}

// release feeds the target again.
func (t *trailed) release() {
	for _, h := range t.holds {
		h.Release()
	}
	for _, h := range t.holds {
		t.run.held(h.Held())
	}
	t.holds = nil
}

// offsets are those at which shards were read.
func offsets(all []glimpse) []int64 {
	at := make([]int64, len(all))
	for i, g := range all {
		at[i] = g.at.Offset
	}
	return at
}
