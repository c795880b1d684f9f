package apply

import (
	"bytes"
	"context"

	"godwit/internal/command"
	"godwit/internal/resp"
)

// mapped carries a command on keys that have other names at the replica, or are in
// another db there. One on keys of several of the replica's dbs has no equal there: it is
// carried by the values of the keys that it wrote.
func (x *feeder) mapped(ctx context.Context, placing command.Placing, args [][]byte) error {
	r := x.link.feed.cfg.Route
	from, _, known := r.Back(x.db, args[x.positions[0]])
	together := known && placing == command.OneSlot // else it reads keys by names that it makes
	for _, at := range x.positions[1:] {
		other, _, ok := r.Back(x.db, args[at])
		together = together && ok && other == from
	}
	if !together {
		return x.otherwise(ctx, args)
	}
	way, err := r.Of(from)
	if err != nil {
		return err
	}
	x.to = from
	stripped := x.renamer.Strip(way, args, x.positions)
	x.renamed = resp.AppendArgs(x.renamed[:0], stripped...)
	return x.say(ctx, stripped, x.renamed)
}

// beyond carries a MOVE, or a COPY to another db of the shard's, by the values that they
// wrote.
func (x *feeder) beyond(ctx context.Context, args [][]byte) error {
	b, err := x.placer.Beyond(args)
	if err != nil {
		return err
	}
	if err := x.otherwise(ctx, args); err != nil || x.values.has(b.DB, b.Key, x.end) {
		return err
	}
	return x.byValue(ctx, b.DB, [][]byte{bytes.Clone(b.Key)})
}

// atShard is by what name the cluster has a key of the replica's, in which db; theirs is
// false for one that it has not.
func (x *feeder) atShard(db int, key []byte) (to int, name []byte, theirs bool) {
	r := x.link.feed.cfg.Route
	if !r.Maps() {
		return db, key, true
	}
	to, name, stays, err := r.Key(nil, db, key)
	return to, name, err == nil && !stays
}
