package apply

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/server"
	"godwit/internal/slot"
)

// confirmTimeout bounds it: nobody may write meanwhile.
const confirmTimeout = 5 * time.Second

// Confirm sees that the target has, where clients would look for it now, what its shards
// have answered to have. A replica that was promoted may have less than its primary said,
// and of a shard that nothing is sent to, no answer tells so. Nor does any tell of what slots
// lack that have moved since Settled: no more may arrive when it is called.
func (e *Engine) Confirm(ctx context.Context) error {
	type answered struct {
		where server.Endpoint
		key   []byte
		at    int64
	}
	var all []answered
	for _, l := range e.all() {
		r := l.running.Load()
		if r == nil {
			return fmt.Errorf("%s: %w", l.View().Source, errNotNow)
		}
		for _, x := range r.d.lanes {
			all = append(all, answered{key: x.key, at: x.applied.Load()})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, confirmTimeout)
	defer cancel()
	now, err := e.shards(ctx)
	if err != nil {
		return err
	}
	if err := e.stayed(now); err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	for _, a := range all {
		a.where = now.primaries[now.of[slot.Of(a.key)]]
		group.Go(func() error {
			c, err := dial(ctx, a.where)
			if err != nil {
				return err
			}
			defer func() { _ = c.Close() }() // nothing was left unsent
			fields, err := c.do("HMGET", string(a.key), "at")
			if err != nil {
				return err
			}
			if len(fields) != 1 {
				return errors.New("unexpected reply to HMGET")
			}
			if at, err := strconv.ParseInt(string(fields[0]), 10, 64); err != nil || at < a.at {
				return fmt.Errorf("%s has lost data: the checkpoint %s stands at %q, not at %d", a.where.Address, a.key, fields[0], a.at)
			}
			return nil
		})
	}
	return group.Wait()
}
