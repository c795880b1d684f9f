package apply

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"godwit/internal/command"
	"godwit/internal/resp"
	"godwit/internal/slot"
)

// A key that was carried by value is ahead of the stream: up to the offset at which it
// was read its commands have had their effect. That is noted in the checkpoint of its
// shard by the batch that carries it, and forgotten once the shard has come so far.

// lead is how far a key is ahead.
type lead struct {
	name string // see carrier.name
	at   int64
}

// leads gives the lanes what their checkpoints have of keys that are ahead.
func (d *dispatcher) leads(ahead map[string]int64) {
	for name, at := range ahead {
		_, key, _ := strings.Cut(name, ":")
		l := d.lanes[d.shard[slot.Of([]byte(key))]]
		l.leads = append(l.leads, lead{name, at})
		d.values.until = max(d.values.until, at)
	}
	for _, l := range d.lanes {
		slices.SortFunc(l.leads, func(a, b lead) int { return cmp.Compare(a.at, b.at) })
	}
}

// forgottenAtOnce is how many keys one command forgets.
const forgottenAtOnce = 1000

// forgetLeads forgets the keys that are not ahead any more where a lane's next command
// will be: the batch which says so begins there, or behind it.
func (d *dispatcher) forgetLeads(ctx context.Context, l *lane) error {
	done := 0
	for done < len(l.leads) && l.leads[done].at <= l.next.at {
		d.body = appendBulk(d.body[:0], []byte("HDEL"))
		d.body = appendBulk(d.body, l.key)
		n := 2
		for ; done < len(l.leads) && l.leads[done].at <= l.next.at && n < forgottenAtOnce; done++ {
			x := l.leads[done]
			if d.values.ahead[x.name] != x.at {
				continue // it was carried once more since
			}
			delete(d.values.ahead, x.name)
			d.body = appendBulk(d.body, []byte(aheadField+x.name))
			n++
		}
		if n == 2 {
			continue
		}
		if err := l.enter(ctx, 0); err != nil {
			return err
		}
		if err := l.repeat(ctx, n, d.body, 0); err != nil {
			return err
		}
	}
	l.leads = append(l.leads[:0], l.leads[done:]...)
	return nil
}

const (
	// foreseenCommands is how far by-value reading looks ahead in the stream,
	// foreseenKeys how many keys it reads at once then, and foreseenBytes how large these
	// may be.
	foreseenCommands = 2000
	foreseenKeys     = 100
	foreseenBytes    = 256 << 10
)

// foresee adds to the keys that are to be carried by value those of commands which have
// come already and are to be carried so, too: one question to the source for all, which
// they are then ahead of.
func (d *dispatcher) foresee(keys [][]byte) ([][]byte, error) {
	if d.link.gate.hold.Load() != nil {
		return keys, nil // which these would be ahead of
	}
	seen := map[string]struct{}{}
	for _, key := range keys {
		seen[string(key)] = struct{}{}
	}
	rest := d.rest
	for range foreseenCommands {
		args, size := d.scanAhead(rest)
		if size == 0 || len(keys) >= foreseenKeys {
			break
		}
		rest = rest[size:]
		if len(args) == 0 {
			continue
		}
		placing, _, err := d.placer.Place(args)
		if err != nil {
			return keys, err
		}
		if placing == command.Everywhere || placing == command.Dbs || is(args[0], "select") {
			break
		}
		if placing != command.ByValue {
			continue
		}
		before := len(keys)
		if keys, err = d.appendWritten(keys, args); err != nil {
			return keys, err
		}
		keys = append(keys[:before], slices.DeleteFunc(keys[before:], func(key []byte) bool {
			_, twice := seen[string(key)]
			seen[string(key)] = struct{}{}
			return twice
		})...)
	}
	return keys, nil
}

// appendWritten appends what the target calls the keys that a command to come writes, of
// the selected db. One that clashes is met again, in its turn.
func (d *dispatcher) appendWritten(keys, args [][]byte) ([][]byte, error) {
	before := len(keys)
	keys, err := d.placer.AppendWritten(keys, args)
	if d.plain || err != nil {
		return keys, err
	}
	names := keys[:before]
	for _, key := range keys[before:] {
		if name, err := d.way.AppendName(nil, key); err == nil {
			names = append(names, name)
		}
	}
	return names, nil
}

// scanAhead is a command that has come, of size bytes; 0 if there is no whole one. One
// that is malformed is met again, in its turn.
func (d *dispatcher) scanAhead(rest []byte) (args [][]byte, size int) {
	e, err := resp.Scan(rest, d.ahead)
	d.ahead = e.Args
	if err != nil {
		return nil, 0
	}
	return e.Args, e.Size
}
