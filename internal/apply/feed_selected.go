package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"godwit/internal/reserved"
	"godwit/internal/resp"
	"godwit/internal/server"
)

// Which db is selected where a shard's stream begins to count, the shard does not tell:
// it says so only where that changes (replication.c replicationFeedReplicas), and to who
// begins with a snapshot. So the stream is followed from before that place on.

// selected is a place of a shard's stream from which on a db is selected.
type selected struct {
	offset int64
	db     int
}

// maxSelected bounds how many of these are remembered: for as long as a replica of a shard
// may be behind.
const maxSelected = 10_000

// selects notes which db is selected behind an offset.
func (l *feedLink) selects(offset int64, db int) {
	l.selecting.Lock()
	defer l.selecting.Unlock()
	i := len(l.selected)
	for i > 0 && l.selected[i-1].offset >= offset {
		i-- // it is read again
	}
	l.selected = append(l.selected[:i], selected{offset, db})
	if len(l.selected) > maxSelected {
		l.selected = slices.Delete(l.selected, 0, maxSelected/2)
	}
}

// dbAt is the db that is selected behind an offset.
func (l *feedLink) dbAt(offset int64) int {
	l.selecting.Lock()
	defer l.selecting.Unlock()
	db := 0
	for i, s := range l.selected {
		if s.offset > offset && i > 0 {
			break
		}
		db = s.db
	}
	return db
}

// stir has a shard whose cluster has several dbs select one, so that it is known which:
// by writing a key of godwit's own, and deleting it. Any other shard has db 0 selected.
func (l *feedLink) stir(ctx context.Context, shard server.Endpoint) error {
	own := l.feed.cfg.Own
	own.Address, own.Network = shard.Address, shard.Network
	c, err := dial(ctx, own)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // every reply was read
	ranges, err := slotsOf(l.name)
	if err != nil {
		return err
	}
	key := reserved.Checkpoint(l.feed.cfg.Name+":stir", 0, 0, ranges[0].First)
	for _, db := range []int{1, 0} {
		err := c.enter(db)
		if db > 0 && server.IsCode(err, "ERR") { // it has no other
			return nil
		}
		if err != nil {
			return err
		}
		for _, command := range [][]string{{"SET", key, ""}, {"DEL", key}} {
			if _, err := c.do(command...); err != nil {
				return err
			}
		}
	}
	return nil
}

// follow notes the SELECTs in what was read of the shard. Nobody else reads it meanwhile.
func (l *feedLink) follow(ctx context.Context) error {
	for {
		position, there := l.in.position(l.followed + int64(len(l.rest)))
		if _, end := l.in.spool.Range(); !there || position >= end {
			return nil
		}
		chunk, err := l.in.next(ctx, position)
		if err != nil {
			return err
		}
		l.rest = append(l.rest, chunk...)
		at := 0
		for at < len(l.rest) {
			e, err := resp.Scan(l.rest[at:], nil)
			if errors.Is(err, resp.ErrIncomplete) {
				break
			}
			if err != nil {
				return fmt.Errorf("the shard of slots %s: stream at offset %d: %w", l.name, l.followed, err)
			}
			at += e.Size
			l.followed += int64(e.Size)
			if len(e.Args) == 2 && is(e.Args[0], "select") {
				db, err := strconv.Atoi(string(e.Args[1]))
				if err != nil {
					return err
				}
				l.selects(l.followed, db)
			}
		}
		l.rest = append(l.rest[:0], l.rest[at:]...)
	}
}

// selectedAt is the db that is selected behind an offset, which the shard has said already.
func (l *feedLink) selectedAt(ctx context.Context, offset int64) (int, error) {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		l.attaching.Lock()
		err := l.follow(ctx)
		reached := l.followed >= offset
		l.attaching.Unlock()
		if err != nil || reached {
			return l.dbAt(offset), err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}
