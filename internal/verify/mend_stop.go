package verify

import (
	"context"
	"errors"
	"fmt"

	"godwit/internal/hold"
	"godwit/internal/refresh"
)

// stoppedError says that a feed could not be stopped where its shard was read.
type stoppedError struct{ err error }

func (e *stoppedError) Error() string { return e.err.Error() }
func (e *stoppedError) Unwrap() error { return e.err }

// stopAt is readAll that stops the feed of each shard at the place where that is read, and
// has its values be what the target is ahead by. It gives where the target stands as the
// first of the feeds says. Errors: a *stoppedError, and those of reading.
func (m *mender) stopAt(ctx context.Context, held *trailed, db int, names [][]byte) ([]glimpse, hold.Stand, error) {
	stopping, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stands := make([]hold.Stand, len(held.holds))
	all, err := m.pair.source.readAll(ctx, db, names, func(n int, p refresh.Place) (err error) {
		if stands[n], err = held.holds[n].Stop(stopping, p.Offset); err != nil {
			cancel(err) // the others need not be stopped any more
			return &stoppedError{context.Cause(stopping)}
		}
		return nil
	})
	if err != nil {
		return nil, hold.Stand{}, err
	}
	for i, stand := range stands {
		newAhead(m.run.ahead(stand.Ahead)).replace(all[i].values)
	}
	return all, stands[0], nil
}

// errTwice is why a key is not repaired that several servers of the source have.
var errTwice = errors.New("several servers of the source have it, and which of them is right only its clients know: delete it at the others, then repair it")

// sole are the values of keys that were read together, of each the one that there is. Those
// of which there are several are not to be written.
func (m *mender) sole(all []glimpse, keys []*ailing) []refresh.Value {
	values := all[0].values
	for i, a := range keys {
		had := all[0].shard
		for _, g := range all[1:] {
			v := g.values[i]
			switch {
			case !v.Exists() || a.db == libraries && string(v.Payload) == string(values[i].Payload):
			case values[i].Exists():
				a.failed(fmt.Errorf("%s: %w", m.pair.source.side.addresses([]int{had, g.shard}), errTwice))
			default:
				values[i], had = v, g.shard
			}
		}
	}
	return values
}
