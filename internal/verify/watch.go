package verify

import (
	"context"
	"errors"
	"slices"
	"time"

	"godwit/internal/refresh"
	"godwit/internal/resp"
)

// where is the place in its replication stream at which a shard is.
func (r *reader) where(ctx context.Context, shard int) (refresh.Place, error) {
	c, err := r.conn(ctx, r.conns, shard)
	if err != nil {
		return refresh.Place{}, err
	}
	_, place, err := c.Read(ctx, 0, nil)
	return place, err
}

// setClock finds by how much the latest of the shards' clocks is ahead of ours, rather
// a little more than less: what has expired there must have expired by it.
func (r *reader) setClock(ctx context.Context) error {
	for shard := range r.side.Shards {
		begun := time.Now()
		place, err := r.where(ctx, shard)
		if err != nil {
			return err
		}
		// It may have been almost a millisecond later there, at the very beginning.
		ahead := time.UnixMilli(place.Time + 1).Sub(begun)
		if shard == 0 || ahead > r.ahead {
			r.ahead = ahead
		}
	}
	return nil
}

// watch has the servers tell, by unchanged, whether any of these keys changes from
// now on (multi.c watchCommand). It adds to what is watched. Libraries are not keys.
func (r *reader) watch(ctx context.Context, db int, keys [][]byte) error {
	if lacks, err := r.lacks(ctx, db); lacks || err != nil || db == libraries {
		return err
	}
	of := db
	db, keys, _ = r.side.here(db, keys)
	shards := make(map[int][][][]byte)
	if r.side.divided() {
		for _, key := range keys {
			for shard := range r.side.Shards {
				shards[shard] = append(shards[shard], words("WATCH", key))
			}
		}
	} else {
		owners, err := r.owners(ctx, of, keys)
		if err != nil {
			return err
		}
		for i, key := range keys {
			shards[owners[i]] = append(shards[owners[i]], words("WATCH", key))
		}
	}
	for shard, commands := range shards {
		if lacks, err := r.lacksAt(ctx, shard, db); err != nil {
			return err
		} else if lacks {
			continue // another one of several servers has the db
		}
		c, err := r.conn(ctx, r.watches, shard)
		if err != nil {
			return err
		}
		r.watched[shard] = true
		err = c.Pipe(ctx, db, commands, func(_ int, reply resp.Reply, rest *resp.ReplyReader) error { return rest.Skip(reply) })
		if err != nil {
			return err
		}
	}
	return nil
}

// unchanged tells whether no key that is watched has changed since, and ends the
// watch: a transaction that does nothing is refused if one has. It gives where these
// shards were then.
func (r *reader) unchanged(ctx context.Context, shards ...int) (bool, []glimpse, error) {
	all := true
	at := make([]glimpse, len(shards))
	for i, shard := range shards {
		at[i].shard = shard
		if r.watched[shard] {
			continue
		}
		var err error // there is nothing that could change
		if at[i].at, err = r.where(ctx, shard); err != nil {
			return false, nil, err
		}
	}
	for shard := range r.watched {
		delete(r.watched, shard)
		c, err := r.conn(ctx, r.watches, shard)
		if err != nil {
			return false, nil, err
		}
		_, place, err := c.Read(ctx, 0, nil)
		switch {
		case errors.Is(err, refresh.ErrChanged):
			all = false
		case err != nil:
			return false, nil, err
		}
		if i := slices.Index(shards, shard); i >= 0 {
			at[i].at = place
		}
	}
	return all, at, nil
}
