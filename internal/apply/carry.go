package apply

import (
	"context"
	"fmt"
	"slices"

	"godwit/internal/refresh"
	"godwit/internal/reserved"
	"godwit/internal/resp"
	"godwit/internal/route"
	"godwit/internal/slot"
	"godwit/internal/topology"
)

// carrySlots makes of some slots, in ascending order, at the target what they are at the
// source: of every key that either has there, in every db that has a way. It returns an
// offset of the source that was passed after the last of them was read: a command up to
// there may or may not be in what was carried. When it returns, the target has everything.
func (d *dispatcher) carrySlots(ctx context.Context, slots []uint16) (int64, error) {
	for _, way := range d.route.Ways() {
		if way.Stays {
			continue
		}
		keys, err := d.keysOfSlots(ctx, way, slots)
		if err != nil {
			return 0, err
		}
		for some := range slices.Chunk(keys, lookedAtOnce) {
			if err := d.carryKeys(ctx, way, some); err != nil {
				return 0, err
			}
		}
	}
	for _, l := range d.lanes {
		l.flush()
	}
	for _, l := range d.lanes {
		if err := l.reached(ctx, l.number); err != nil {
			return 0, err
		}
	}
	_, until, err := d.values.read(ctx, d.in.history(), 0, nil)
	return until, err
}

// lookedAtOnce is how many values are held at once.
const lookedAtOnce = 64

// keysOfSlots are the names of all keys of a db of the source that it or the target has in
// some slots.
func (d *dispatcher) keysOfSlots(ctx context.Context, way *route.Way, slots []uint16) ([][]byte, error) {
	seen := map[string]struct{}{}
	note := func(key []byte) {
		if !reserved.Is(key) {
			seen[string(key)] = struct{}{}
		}
	}
	if err := d.values.dial(ctx); err != nil {
		return nil, err
	}
	if err := keysInSlots(ctx, d.values.conn, way.From, slots, note); err != nil {
		return nil, err
	}
	byLane := make([][]uint16, len(d.lanes))
	for _, of := range slots {
		byLane[d.shard[of]] = append(byLane[d.shard[of]], of)
	}
	for i, l := range d.lanes {
		if len(byLane[i]) == 0 {
			continue
		}
		c, err := refresh.Dial(ctx, l.shard)
		if err != nil {
			return nil, err
		}
		err = keysInSlots(ctx, c, way.To, byLane[i], note)
		_ = c.Close() // every reply was read, or there is an error that tells more
		if err != nil {
			return nil, err
		}
	}
	keys := make([][]byte, 0, len(seen))
	for key := range seen {
		keys = append(keys, []byte(key))
	}
	if d.share != nil {
		var err error
		keys, _, err = d.share.only(ctx, keys, 0)
		return keys, err
	}
	return keys, nil
}

// keysInSlots finds the names of a db's keys in some slots: by CLUSTER GETKEYSINSLOT, which
// goes by the selected db (Valkey 9.1), or by SCAN of a server that is of no cluster.
func keysInSlots(ctx context.Context, c *refresh.Conn, db int, slots []uint16, each func(key []byte)) error {
	if !c.Cluster() {
		for cursor := uint64(0); ; {
			next, keys, err := c.Scan(ctx, db, cursor, "", scanCount)
			if err != nil {
				return err
			}
			for _, key := range keys {
				if _, in := slices.BinarySearch(slots, slot.Of(key)); in {
					each(key)
				}
			}
			if cursor = next; cursor == 0 {
				return nil
			}
		}
	}
	for some := range slices.Chunk(slots, slotsAtOnce) {
		counts := make([]int64, len(some))
		var commands [][][]byte
		for _, of := range some {
			commands = append(commands, [][]byte{[]byte("CLUSTER"), []byte("COUNTKEYSINSLOT"), fmt.Append(nil, of)})
		}
		err := c.Pipe(ctx, db, commands, func(i int, reply resp.Reply, r *resp.ReplyReader) error {
			counts[i] = reply.N
			return r.Skip(reply)
		})
		if err != nil {
			return err
		}
		for i, of := range some {
			if err := keysInSlot(ctx, c, db, of, counts[i], each); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	scanCount   = 1000
	slotsAtOnce = 256
)

// keysInSlot finds those of one that has about so many.
func keysInSlot(ctx context.Context, c *refresh.Conn, db int, of uint16, about int64, each func(key []byte)) error {
	if about == 0 {
		return nil // what comes from now on is in the stream
	}
	for most := about + about/8 + 16; ; most *= 2 {
		var keys [][]byte
		command := [][]byte{[]byte("CLUSTER"), []byte("GETKEYSINSLOT"), fmt.Append(nil, of), fmt.Append(nil, most)}
		err := c.Pipe(ctx, db, [][][]byte{command}, func(_ int, reply resp.Reply, r *resp.ReplyReader) error {
			for range reply.N {
				element, err := r.Next()
				if err != nil {
					return err
				}
				key, err := r.Body(make([]byte, 0, max(element.N, 0)))
				if err != nil {
					return err
				}
				keys = append(keys, key)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if int64(len(keys)) < most {
			for _, key := range keys {
				each(key)
			}
			return nil
		}
	}
}

// carryKeys gives some keys of a db of the source to their lanes as they are there now.
func (d *dispatcher) carryKeys(ctx context.Context, way *route.Way, keys [][]byte) error {
	c := d.values
	if err := c.dial(ctx); err != nil {
		return err
	}
	values, err := c.conn.Look(ctx, way.From, keys)
	if err != nil {
		c.close()
		return err
	}
	for _, v := range values {
		v.DB = way.To
		delete(d.gone, string(c.name(v.DB, v.Key)))
		if err := d.place(ctx, v); err != nil {
			return err
		}
		if l := d.lanes[d.shard[slot.Of(v.Key)]]; l.now.full() {
			l.flush()
		}
	}
	return nil
}

// redirected tells whether the source does not serve a key's slot, or not this key.
func redirected(err error) bool {
	_, ok := topology.ParseRedirection(err)
	return ok
}

// takeOver has the link's dispatcher take over slots, some at a time: it does nothing else
// meanwhile. A target that is no cluster has to be looked through as a whole, though. may
// is asked before each time.
func (l *Link) takeOver(slots []uint16, may func() (bool, error)) error {
	for len(slots) > 0 {
		r := l.running.Load()
		if r == nil {
			return errNotNow
		}
		n := len(slots)
		if r.cluster {
			n = min(n, takenAtOnce)
		}
		some := slots[:n]
		imports := l.imports.Load()
		if ok, err := may(); !ok || err != nil {
			return err
		}
		refused := false
		err := r.d.between(r.ctx, func(ctx context.Context) (err error) {
			if l.imports.Load() != imports {
				return nil // another has begun
			}
			refused, err = r.d.takeOver(ctx, some)
			return err
		})
		if err != nil || refused {
			return err
		}
		slots = slots[n:]
	}
	return nil
}

const takenAtOnce = 64

// takeOver has the commands on some slots be carried from this source's stream, after what
// it has of them by now. Slots whose shard is another meanwhile stay unsettled. refused
// tells that the source does not say for now which db it has selected.
func (d *dispatcher) takeOver(ctx context.Context, slots []uint16) (refused bool, err error) {
	if d.inside || d.link.gate.hold.Load() != nil {
		return false, nil // what belongs to the transaction is not sent before its end, and nothing goes beyond a hold
	}
	if d.unknown && !d.stirred {
		if told, err := d.stir(ctx, slots[len(slots)-1]); !told || err != nil {
			return true, err
		}
	}
	until, err := d.carrySlots(ctx, slots)
	if err == nil {
		err = d.homeless(ctx)
	}
	if redirected(err) {
		d.log.Debug("slots are on the move again", "source", d.source.Address, "error", err)
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return false, d.slots.settle(slots, d.link.index, until)
}
