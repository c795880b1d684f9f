package verify

import (
	"bytes"
	"context"

	"golang.org/x/sync/errgroup"

	"godwit/internal/refresh"
)

// readAt reads keys of one shard, all at one place of its stream: those of a cluster
// are of one slot. The values are valid until the next call.
func (r *reader) readAt(ctx context.Context, db int, keys [][]byte) ([]refresh.Value, refresh.Place, error) {
	all, err := r.readAll(ctx, db, keys, nil)
	if err != nil {
		return nil, refresh.Place{}, err
	}
	return all[0].values, all[0].at, nil
}

// glimpse is what one shard has of some keys, at a place of its stream.
type glimpse struct {
	shard  int
	values []refresh.Value
	at     refresh.Place
}

// readAll is readAt for every shard that may have the keys, see shardsOf, at the same time:
// where a key's absence was read, another shard may be given it meanwhile. If at is given it
// is told each shard's place as soon as that is known, and not its Time: values may take
// long to come. Its first error is returned after all, see refresh.Conn.ReadAt.
func (r *reader) readAll(ctx context.Context, db int, keys [][]byte, at func(n int, p refresh.Place) error) ([]glimpse, error) {
	here, names, known := r.side.here(db, keys)
	shards := r.shardsOf(db, keys[0])
	all := make([]glimpse, len(shards))
	lacking := make([]bool, len(shards))
	for i, shard := range shards {
		if _, err := r.conn(ctx, r.conns, shard); err != nil {
			return nil, err
		}
		lacks, err := r.lacksAt(ctx, shard, here)
		if err != nil {
			return nil, err
		}
		all[i].shard, lacking[i] = shard, lacks || !known
	}
	var group errgroup.Group // no error of one connection ends what another one is reading
	for i := range all {
		g := &all[i]
		group.Go(func() (err error) {
			db, names := here, names
			if lacking[i] {
				db, names = 0, nil
			}
			if at == nil {
				g.values, g.at, err = r.conns[g.shard].Read(ctx, db, names)
			} else {
				g.values, g.at, err = r.conns[g.shard].ReadAt(ctx, db, names, func(p refresh.Place) error { return at(i, p) })
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i := range all {
		if lacking[i] {
			all[i].values = notThere(db, keys)
		}
		r.side.named(all[i].values, db, keys)
	}
	return all, nil
}

// latest is the time by the latest of the shards' clocks, when they were read.
func latest(all []glimpse) (ms int64) {
	for _, g := range all {
		ms = max(ms, g.at.Time)
	}
	return ms
}

// sumAll is what the n-th of some keys comes down to that were read together.
func (r *reader) sumAll(ctx context.Context, all []glimpse, n int, now int64) (state keyState, err error) {
	for _, g := range all {
		c := r.conns[g.shard]
		s, err := r.sumAt(ctx, c, &g.values[n], now)
		if err != nil {
			return keyState{}, err
		}
		state = r.side.beside(g.values[n].DB, state, s, c.Address())
	}
	return state, nil
}

// sumAt is sum of what was read on a connection.
func (r *reader) sumAt(ctx context.Context, c *refresh.Conn, v *refresh.Value, now int64) (keyState, error) {
	if v.TooLarge == 0 {
		return r.sum(ctx, v, now)
	}
	db, key := r.side.hereOne(v.DB, v.Key)
	return r.lookLargeAt(ctx, c, db, bytes.Clone(key), v.TooLarge)
}
