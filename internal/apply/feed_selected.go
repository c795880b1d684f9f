package apply

import (
	"context"

	"godwit/internal/server"
)

// stir has the shard select a db, so that it is known which, see stir.
func (l *feedLink) stir(ctx context.Context, shard server.Endpoint) error {
	own := l.feed.cfg.Own
	own.Address, own.Network = shard.Address, shard.Network
	ranges, err := slotsOf(l.name)
	if err != nil {
		return err
	}
	return stir(ctx, own, l.feed.cfg.Name, ranges[0].First)
}
