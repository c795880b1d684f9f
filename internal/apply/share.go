package apply

import (
	"context"

	"godwit/internal/command"
	"godwit/internal/divide"
	"godwit/internal/reserved"
	"godwit/internal/resp"
)

// A target may be one of several servers among which clients divide their keys: what is
// written to a cluster that they have become goes back to them by one engine each, and each
// leaves out what is another server's. Keys are looked at where a command comes in (ours),
// and where keys are carried by value for whatever reason (byValues, keysOfSlots).

// Share is the part of all keys that the target has.
type Share struct {
	Rule   *divide.Rule
	Server int // number of the target among the servers, from 0 on
}

// share is that of a dispatcher.
type share struct {
	Share

	// known has the answers for the keys that are in the dispatcher's buffer, where somebody
	// is asked; nil where nobody is.
	known map[string]int
}

func newShare(s *Share) *share {
	if s == nil {
		return nil
	}
	own := &share{Share: *s}
	if s.Rule.Asks() {
		own.known = map[string]int{}
	}
	return own
}

// has tells whether a key is the target's.
func (s *share) has(ctx context.Context, key []byte) (bool, error) {
	if of, known := s.known[string(key)]; known {
		return of == s.Server, nil
	}
	of, err := s.Rule.Of(ctx, key)
	if err == nil && s.known != nil {
		s.known[string(key)] = of
	}
	return of == s.Server, err
}

// only are those of some keys that are the target's, in their order, and how many of the
// first ones are among them.
func (s *share) only(ctx context.Context, keys [][]byte, first int) ([][]byte, int, error) {
	of, err := s.Rule.AppendOf(ctx, nil, keys)
	if err != nil {
		return nil, 0, err
	}
	own := make([][]byte, 0, len(keys))
	firsts := 0
	for i, key := range keys {
		if of[i] != s.Server {
			continue
		}
		own = append(own, key)
		if i < first {
			firsts++
		}
	}
	return own, firsts, nil
}

// foretell asks at once for all keys of the commands that have come, where somebody is asked.
func (d *dispatcher) foretell(ctx context.Context) error {
	if d.share == nil || d.share.known == nil {
		return nil
	}
	clear(d.share.known)
	var keys [][]byte
	for rest := d.buf; ; {
		args, size := d.scanAhead(rest)
		if size == 0 {
			break
		}
		rest = rest[size:]
		positions, err := d.placer.AppendKeyPositions(d.positions[:0], args)
		if d.positions = positions; err != nil {
			continue // it is met again, in its turn
		}
		for _, at := range positions {
			if _, known := d.share.known[string(args[at])]; !known {
				d.share.known[string(args[at])] = -1 // not twice
				keys = append(keys, args[at])
			}
		}
	}
	of, err := d.share.Rule.AppendOf(ctx, nil, keys)
	if err != nil {
		clear(d.share.known)
		return err
	}
	for i, key := range keys {
		d.share.known[string(key)] = of[i]
	}
	return nil
}

// ours says a command as it is for a target that has a share of the keys: all of it, none
// of it (left), without the keys of others where that is the same, or by value. What it
// returns is valid until the next call.
func (d *dispatcher) ours(ctx context.Context, placing command.Placing, args [][]byte, raw []byte) (_ command.Placing, _ [][]byte, _ []byte, left bool, err error) {
	if placing != command.Once && !keyed(placing) {
		return placing, args, raw, false, nil
	}
	if d.positions, err = d.placer.AppendKeyPositions(d.positions[:0], args); err != nil {
		return placing, args, raw, false, err
	}
	if len(d.positions) == 0 { // PUBLISH, SPUBLISH: to where clients would look for a key of that name
		if len(args) < 2 {
			return placing, args, raw, false, nil
		}
		d.positions = append(d.positions, 1)
	}
	if reserved.Is(args[d.positions[0]]) {
		return placing, args, raw, false, nil
	}
	own := 0
	for _, at := range d.positions {
		has, err := d.share.has(ctx, args[at])
		if err != nil {
			return placing, args, raw, false, err
		}
		if has {
			own++
		}
	}
	switch own {
	case len(d.positions):
		return placing, args, raw, false, nil
	case 0:
		return placing, args, raw, true, nil
	}
	var failed error
	kept, apart := d.placer.Keep(args, func(key []byte) bool {
		has, err := d.share.has(ctx, key)
		if err != nil {
			failed = err
		}
		return has
	})
	if failed != nil || !apart {
		return command.ByValue, args, raw, false, failed
	}
	d.renamed = resp.AppendArgs(d.renamed[:0], kept...)
	e, err := resp.Scan(d.renamed, d.kept)
	if d.kept = e.Args; err != nil {
		return placing, args, raw, false, err
	}
	return placing, e.Args, d.renamed, false, nil
}
