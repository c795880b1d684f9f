package apply

import (
	"context"
	"errors"
	"slices"
	"strings"

	"godwit/internal/refresh"
	"godwit/internal/server"
)

// End leaves the target as an end that godwit has nothing to do with any more: settings
// are put back, at replicas that have been promoted and primaries that have been demoted
// as well, and the checkpoints are deleted. Run must have returned, and must not be called
// again. What could not be put back, because a node is out of reach, say, is a
// *RestoreError each, and is tried again by the next End; all else is done.
func (e *Engine) End(ctx context.Context) error {
	var failed []error
	for _, s := range e.present().Settings {
		if err := e.putBack(ctx, s); err != nil {
			failed = append(failed, &RestoreError{s, err})
			continue
		}
		if err := e.forgetSetting(s); err != nil {
			return err
		}
	}
	now, err := e.shards(ctx)
	if err != nil {
		return errors.Join(append(failed, err)...)
	}
	for _, shard := range now.primaries {
		if err := sweep(ctx, shard, checkpointPrefix+e.cfg.Name+":"); err != nil {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (e *Engine) forgetSetting(s Setting) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	next := e.progress
	next.Settings = slices.DeleteFunc(slices.Clone(next.Settings), func(x Setting) bool { return x == s })
	return e.saveLocked(next)
}

// sweep deletes the checkpoints of a shard whose names begin so, those of earlier
// generations, too.
func sweep(ctx context.Context, shard server.Endpoint, own string) error {
	scan, err := refresh.Dial(ctx, shard)
	if err != nil {
		return err
	}
	defer func() { _ = scan.Close() }() // every reply was read
	c, err := dial(ctx, shard)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // every reply was read
	for cursor := uint64(0); ; {
		next, keys, err := scan.Scan(ctx, 0, cursor, checkpointPrefix+"*", renewScan)
		if err != nil {
			return err
		}
		for _, key := range keys {
			if !strings.HasPrefix(string(key), own) {
				continue
			}
			if _, err := c.do("DEL", string(key)); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
