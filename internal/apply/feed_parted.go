package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/command"
	"godwit/internal/reserved"
	"godwit/internal/resp"
	"godwit/internal/slot"
)

// A replica that takes over from a crashed primary may lack what that one said last, and
// what the old primary that is fed has got already. Their histories part where the new
// one began to count by itself (second_repl_offset). The commands after that are still in
// the spool: the keys that they wrote are carried by value, and the new history is read
// from where the two part.

// parted finds out where a shard's history has parted from what was read of it, if the
// replica stands beyond: where to go on, and the keys that may differ, as a carrier names
// them. Without any the replica does not stand beyond. The link's spool must not have been
// reset since.
func (l *feedLink) parted(ctx context.Context, at ShardStand, ahead map[string]int64) (ShardStand, []string, error) {
	now, second, err := l.feed.history(ctx, l.name)
	if err != nil || !strings.EqualFold(second.ReplID, at.ReplID) || at.Offset <= second.Offset {
		return at, nil, err // the shard's own answer tells
	}
	position, there := l.in.position(second.Offset)
	if !there {
		return at, nil, nil // which they are is not known any more
	}
	names, err := l.wrote(ctx, position, second.Offset, at.Offset)
	if err != nil {
		return at, nil, err
	}
	for name, until := range ahead {
		key, err := keyAhead(name)
		if err != nil {
			return at, nil, &FatalError{err}
		}
		if l.slots[slot.Of(key)] && until > second.Offset {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	l.feed.cfg.Log.Warn("a shard's new primary lacks what the old one said last: keys are carried by value",
		"shard", l.name, "from", second.Offset, "to", at.Offset, "keys", len(names))
	return ShardStand{Shard: l.name, ReplID: now.ReplID, Offset: second.Offset, DB: l.dbAt(second.Offset)}, slices.Compact(names), nil
}

// debt is from where on a shard's stream is to be carried, and the keys that are to be
// carried by value before.
type debt struct {
	from  ShardStand
	names []string
}

// wrote are the keys that commands of the spool wrote, from one offset, which is at a
// position, to another.
func (l *feedLink) wrote(ctx context.Context, position, from, to int64) ([]string, error) {
	placer := command.NewPlacer(l.feed.cfg.Cluster.Capabilities)
	db := l.dbAt(from)
	var buf []byte
	var names []string
	for from < to {
		chunk, err := l.in.next(ctx, position)
		if err != nil {
			return nil, err
		}
		position += int64(len(chunk))
		buf = append(buf, chunk...)
		for from < to {
			e, err := resp.Scan(buf, nil)
			if errors.Is(err, resp.ErrIncomplete) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("the shard of slots %s: stream at offset %d: %w", l.name, from, err)
			}
			if len(e.Args) > 0 && is(e.Args[0], "select") && len(e.Args) == 2 {
				if db, err = strconv.Atoi(string(e.Args[1])); err != nil {
					return nil, err
				}
			}
			keys, err := l.writes(placer, e.Args)
			if err != nil {
				return nil, err
			}
			for _, key := range keys {
				if !reserved.Is(key) {
					names = append(names, strconv.Itoa(db)+":"+string(key))
				}
			}
			from += int64(e.Size)
			buf = buf[e.Size:]
		}
	}
	return names, nil
}

// writes are the keys that a command writes which the shard has forgotten.
func (l *feedLink) writes(placer *command.Placer, args [][]byte) ([][]byte, error) {
	placing, _, err := placer.Place(args)
	if err != nil {
		return nil, err
	}
	switch placing {
	case command.NoData, command.Once:
		return nil, nil
	case command.OneSlot, command.Parts, command.ByValue:
		return placer.AppendWritten(nil, args)
	default:
		return nil, &WayBackLostError{
			Replica: l.feed.cfg.Replica.Address, Shard: l.name,
			Reason: fmt.Sprintf("its primary has crashed, and the new one lacks a %s that has been carried", args[0]),
		}
	}
}

// doubted carries keys by value, all in one transaction with the place from which on the
// shard's stream counts: whoever goes on knows nothing of them.
func (x *feeder) doubted(ctx context.Context, names []string) error {
	if len(names) == 0 {
		return nil
	}
	x.end = x.offset
	for _, name := range names {
		db, key, err := named(name)
		if err != nil {
			return err
		}
		if err := x.byValue(ctx, db, [][]byte{key}); err != nil {
			return err
		}
	}
	return x.flush(ctx)
}
