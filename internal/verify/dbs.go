package verify

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/server"
)

// dbs are those of the source by which keys that the side has are compared.
func (r *reader) dbs(ctx context.Context) ([]int, error) {
	own, err := r.ownDBs(ctx)
	if err != nil || !r.side.Route.Maps() {
		return own, err
	}
	var dbs []int
	for _, way := range r.side.Route.Ways() {
		if !way.Stays && slices.Contains(own, way.To) && r.filter.keepsDB(way.From) {
			dbs = append(dbs, way.From)
		}
	}
	return dbs, nil
}

// ownDBs are those of the side that have keys, which may be compared.
func (r *reader) ownDBs(ctx context.Context) ([]int, error) {
	var dbs []int
	for shard := range r.side.Shards {
		c, err := r.conn(ctx, r.conns, shard)
		if err != nil {
			return nil, err
		}
		info, err := infoOf(ctx, c, "keyspace")
		if err != nil {
			return nil, err
		}
		for name := range info {
			if number, ok := strings.CutPrefix(name, "db"); ok {
				if db, err := strconv.Atoi(number); err == nil && (r.side.Route.Maps() || r.filter.keepsDB(db)) && !slices.Contains(dbs, db) {
					dbs = append(dbs, db)
				}
			}
		}
	}
	slices.Sort(dbs)
	return dbs, nil
}

// lacks tells whether the side has no such db, and so nothing in it: its setting
// databases is smaller, or it is a cluster (db.c selectCommand).
func (r *reader) lacks(ctx context.Context, db int) (bool, error) {
	strayed, _, astray := r.side.strayed(db)
	db, _, known := r.side.here(db, nil)
	switch {
	case !known:
		return true, nil
	case astray:
		return r.lacksAt(ctx, strayed, db)
	case !r.side.several():
		return r.lacksAt(ctx, 0, db)
	}
	for shard := range r.side.Shards {
		if lacks, err := r.lacksAt(ctx, shard, db); !lacks || err != nil {
			return false, err
		}
	}
	return true, nil
}

// lacksAt tells whether one server has no such db, as the side calls it.
func (r *reader) lacksAt(ctx context.Context, shard, db int) (bool, error) {
	if db <= 0 { // libraries, and what every server has
		return false, nil
	}
	of := shardDB{shard, db}
	lacks, asked := r.without[of]
	if asked {
		return lacks, nil
	}
	c, err := r.conn(ctx, r.conns, shard)
	if err != nil {
		return false, err
	}
	err = c.Pipe(ctx, db, nil, nil)
	var refused *server.Error
	if errors.As(err, &refused) &&
		(strings.Contains(refused.Message, "DB index is out of range") || strings.Contains(refused.Message, "not allowed in cluster mode")) {
		lacks, err = true, nil
	}
	if err == nil {
		r.without[of] = lacks
	}
	return lacks, err
}

// shardDB is a db of a server.
type shardDB struct{ shard, db int }
