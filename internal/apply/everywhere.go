package apply

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/resp"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// everywhere gives a command to every shard.
func (d *dispatcher) everywhere(ctx context.Context, args [][]byte, raw []byte) error {
	if is(args[0], "flushall") || is(args[0], "flushdb") {
		db := is(args[0], "flushdb")
		switch {
		case db && (d.way == nil || d.way.Stays):
			return nil // the target has nothing of it
		case d.slots != nil: // only the keys of this shard are gone
			return d.unsettle(func(of uint16) bool { return int(d.slots.owner[of].Load()) == d.link.index })
		case d.several:
			return fmt.Errorf("%s empties one source of several: %w", args[0], errCopyAgain)
		}
		switch {
		case db && d.route.Maps():
			return d.flushDB(ctx, d.selection)
		case d.route.IsInverse(): // what has stayed behind is there still
			for _, way := range d.route.Ways() {
				if err := d.flushDB(ctx, selects(d.route, way.From)); err != nil {
					return err
				}
			}
			return nil
		}
		return d.flushAll(ctx, len(args), bodyOf(raw))
	}
	command, name := again(args, raw)
	if err := d.outside(ctx, command, name); err != nil {
		return err
	}
	if d.several && takesLibraries(args) {
		return fmt.Errorf("%s takes libraries away that another source may have: %w", name, errCopyAgain)
	}
	return nil
}

// takesLibraries tells whether a command deletes function libraries.
func takesLibraries(args [][]byte) bool {
	return len(args) > 1 && is(args[0], "function") &&
		(is(args[1], "delete") || is(args[1], "flush") || len(args) > 3 && is(args[3], "flush"))
}

// again is a command as it may be said twice: after a crash it is.
func again(args [][]byte, raw []byte) (command []byte, name string) {
	name = string(args[0])
	if len(args) < 3 || !is(args[0], "function") {
		return raw, name
	}
	name += " " + string(args[1])
	switch {
	case is(args[1], "load") && !is(args[2], "replace"):
		raw = resp.AppendArgs(nil, slices.Insert(slices.Clone(args), 2, []byte("REPLACE"))...)
	case is(args[1], "restore") && len(args) == 3:
		raw = resp.AppendArgs(nil, append(slices.Clone(args), []byte("REPLACE"))...)
	}
	return raw, name
}

// flushAll empties the shards. What a slot has had of the commands after it, it gets
// again: they begin with nothing, as at the source.
func (d *dispatcher) flushAll(ctx context.Context, n int, body []byte) error {
	for i, l := range d.lanes {
		if d.hadBy(i) {
			continue
		}
		for of := range d.shard {
			if int(d.shard[of]) == i {
				d.mark[of] = d.fresh()
			}
		}
		// Neither is anything ahead any more.
		for name := range d.values.ahead {
			_, key, _ := strings.Cut(name, ":")
			if int(d.shard[slot.Of([]byte(key))]) == i {
				delete(d.values.ahead, name)
			}
		}
		d.touched[i] = true
		l.give(d.end)
		if err := l.enter(ctx, 0); err != nil {
			return err
		}
		if err := l.repeat(ctx, n, body, 0); err != nil {
			return err
		}
		// It has deleted the checkpoint, too.
		d.body = appendBulk(d.body[:0], []byte("HSET"))
		d.body = appendBulk(d.body, l.key)
		d.body = appendBulk(d.body, []byte("owner"))
		d.body = appendBulk(d.body, l.owner)
		if err := l.repeat(ctx, 4, d.body, 0); err != nil {
			return err
		}
	}
	return nil
}

// hadBy tells whether all slots of a lane have had the command at hand.
func (d *dispatcher) hadBy(lane int) bool {
	for of := range d.shard {
		if int(d.shard[of]) == lane && d.had[d.mark[of]].at < d.end {
			return false
		}
	}
	return true
}

// fresh is the mark of slots that have had nothing after the offset at hand.
func (d *dispatcher) fresh() uint16 {
	last := len(d.had) - 1
	if d.had[last] != (past{}) {
		d.had = append(d.had, past{})
		last++
	}
	return uint16(last)
}

// outside has every shard carry out what a script may not: the lanes come to a rest
// before and it is done again where it is not known to have been done.
func (d *dispatcher) outside(ctx context.Context, command []byte, name string) error {
	for _, l := range d.lanes {
		l.flush()
	}
	for _, l := range d.lanes {
		if err := l.drained(ctx); err != nil {
			return err
		}
		if err := tell(ctx, l.shard, command, name); err != nil {
			return err
		}
	}
	return nil
}

// tell sends one command on a connection of its own.
func tell(ctx context.Context, shard server.Endpoint, command []byte, name string) error {
	c, err := dial(ctx, shard)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	if _, err := c.Write(command); err != nil {
		return server.Failed(shard.Address, name, err)
	}
	reply, err := c.r.Next()
	if err != nil {
		return server.Failed(shard.Address, name, eof(err))
	}
	if _, err := c.texts(nil, reply); err != nil {
		return fmt.Errorf("%s: %s: %w", shard.Address, name, err)
	}
	if reply.Kind == resp.Failure {
		if name == "FUNCTION DELETE" && strings.Contains(string(reply.Line), "not found") {
			return nil // as it is to be
		}
		return server.Replied(shard.Address, name, string(reply.Line))
	}
	return nil
}
