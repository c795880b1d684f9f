package apply

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"godwit/internal/refresh"
	"godwit/internal/reserved"
	"godwit/internal/resp"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/topology"
)

// Slots that have changed hands, at the target or at the source, may not have on the
// target what they have at the source: MIGRATE makes TTLs longer, an atomic move builds
// values by commands that say less than a snapshot. So all keys of these slots are
// carried by value once more, while the stream goes on: a few at a time, each at an
// exact offset, as everything that is carried by value.

const (
	// renewKeys is how many keys are carried between two commands, and renewBytes how
	// much memory these take at the source, unless it is one key alone.
	renewKeys  = 64
	renewBytes = 4 << 20
	// renewScan is how many keys a SCAN looks at.
	renewScan = 500
)

// Renew has the keys of slots carried by value once more: those that the source has, and
// those that only the target has, which are deleted. It returns as soon as that is noted
// durably; Renewing says what is still to be done.
func (l *Link) Renew(slots []topology.SlotRange) error {
	return l.renewAnd(slots, func(*SourceProgress) {})
}

// renewAnd is Renew that notes something else in the same moment.
func (l *Link) renewAnd(slots []topology.SlotRange, note func(*SourceProgress)) error {
	if l.slots != nil {
		if err := l.unsettle(slots); err != nil {
			return err
		}
		return l.change(func(p *SourceProgress) bool { note(p); return true })
	}
	l.mu.Lock()
	l.again = union(l.again, slots)
	l.mu.Unlock()
	err := l.change(func(p *SourceProgress) bool {
		p.Renew = union(p.Renew, slots)
		note(p)
		return true
	})
	if err == nil {
		l.countRenewing()
		select {
		case l.renewals <- struct{}{}:
		default: // it was told already
		}
	}
	return err
}

// Renewing are the slots whose keys are still to be carried by value once more.
func (l *Link) Renewing() []topology.SlotRange { return l.progress().Renew }

func (l *Link) countRenewing() { l.renewing.Store(int64(topology.CountSlots(l.Renewing()))) }

// renewer carries slots by value, beside a dispatcher.
type renewer struct {
	link  *Link
	to    *dispatcher
	now   *shards
	slots [slot.Count]bool
	after int64 // where the stream had been carried to behind it
}

// renew does what Renew has asked for until ctx is done.
func (l *Link) renew(ctx context.Context, d *dispatcher, now *shards) error {
	for {
		l.mu.Lock()
		l.again = nil // what was asked for up to here is done from its beginning
		l.mu.Unlock()
		if slots := l.Renewing(); len(slots) > 0 {
			r := &renewer{link: l, to: d, now: now}
			each(slots, func(of uint16) { r.slots[of] = true })
			began := time.Now()
			keys, err := r.run(ctx)
			if err != nil {
				return err
			}
			if err := l.change(func(p *SourceProgress) bool {
				done := l.renewed(slots)
				p.Renew, p.Renewed, p.RenewedTo = without(p.Renew, done), union(p.Renewed, done), max(p.RenewedTo, r.after)
				return true
			}); err != nil {
				return err
			}
			l.countRenewing()
			l.log.Info("slots were carried by value once more", "slots", len(slots), "keys", keys, "took", time.Since(began))
			continue
		}
		select {
		case <-l.renewals:
		case <-ctx.Done():
			return nil
		}
	}
}

// renewed are those of slots that were carried for which Renew has not been called since
// that began: they may have moved once more.
func (l *Link) renewed(slots []topology.SlotRange) []topology.SlotRange {
	l.mu.Lock()
	defer l.mu.Unlock()
	return without(slots, l.again)
}

func (r *renewer) run(ctx context.Context) (keys int, err error) {
	d := r.to
	// From now on no command makes one key of another.
	if err := d.between(ctx, func(context.Context) error { d.renewing = &r.slots; return nil }); err != nil {
		return 0, err
	}
	source, err := refresh.Dial(ctx, d.source)
	if err != nil {
		return 0, err
	}
	defer func() { _ = source.Close() }() // every reply was read
	for i, shard := range r.now.primaries {
		for _, db := range d.route.Targets() {
			if err := r.extra(ctx, i, shard, db, source); err != nil {
				return 0, err
			}
		}
	}
	for _, way := range d.route.Ways() {
		if way.Stays {
			continue
		}
		n, err := r.scan(ctx, source, source, way.From, func(names [][]byte) ([]wanted, error) {
			return r.chosen(d.atTarget(way, names)), nil
		})
		if keys += n; err != nil {
			return keys, err
		}
	}
	var last []int64
	err = d.between(ctx, func(context.Context) error {
		for _, l := range d.lanes {
			l.flush()
			last = append(last, l.number)
		}
		r.after = d.offset
		return nil
	})
	for i, l := range d.lanes {
		if err == nil {
			err = l.reached(ctx, last[i])
		}
	}
	if err == nil {
		err = d.between(ctx, func(context.Context) error { d.renewing = nil; return nil })
	}
	return keys, err
}

// relapsed has slots be carried by value again of whose values a shard may have lost some: it
// stands no further than when they were carried, as a replica may that was promoted.
func (l *Link) relapsed(p SourceProgress, at *standing) error {
	var in [slot.Count]bool
	each(p.Renewed, func(of uint16) { in[of] = at.had[at.mark[of]].at <= p.RenewedTo })
	slots := rangesOf(func(of uint16) bool { return in[of] })
	if len(slots) == 0 {
		return nil
	}
	return l.Renew(slots)
}

// chosen are keys of slots that are being renewed.
func (r *renewer) chosen(x wanted) []wanted {
	some := wanted{db: x.db, from: x.from}
	for i, key := range x.keys {
		if r.slots[slot.Of(key)] {
			some.keys, some.names = append(some.keys, key), append(some.names, x.names[i])
		}
	}
	return []wanted{some}
}

// extra carries what a shard has in a db and the source has not, or had not a moment ago.
func (r *renewer) extra(ctx context.Context, i int, shard server.Endpoint, db int, source *refresh.Conn) error {
	in := func(of uint16) bool { return r.slots[of] && int(r.now.of[of]) == i }
	if len(rangesOf(in)) == 0 {
		return nil
	}
	target, err := refresh.Dial(ctx, shard)
	if err != nil {
		return err
	}
	defer func() { _ = target.Close() }() // every reply was read
	_, err = r.scan(ctx, target, source, db, func(keys [][]byte) ([]wanted, error) {
		keys = slices.DeleteFunc(keys, func(key []byte) bool { return !in(slot.Of(key)) })
		all := r.to.atSource(db, keys, len(keys))
		for n, x := range all {
			if all[n], err = r.missing(ctx, source, x); err != nil {
				return nil, err
			}
		}
		return all, nil
	})
	return err
}

// missing are those of some keys of the target that the source has not got.
func (r *renewer) missing(ctx context.Context, source *refresh.Conn, x wanted) (wanted, error) {
	exists := make([][][]byte, len(x.names))
	for i, name := range x.names {
		exists[i] = [][]byte{[]byte("EXISTS"), name}
	}
	extra := wanted{db: x.db, from: x.from}
	err := source.Pipe(ctx, x.from, exists, func(i int, reply resp.Reply, conn *resp.ReplyReader) error {
		if reply.N == 0 {
			extra.keys, extra.names = append(extra.keys, x.keys[i]), append(extra.names, x.names[i])
		}
		return conn.Skip(reply)
	})
	if err == nil && len(extra.keys) > 0 && r.link.several {
		r.link.log.Warn("keys of slots that have moved are not at this source", "source", r.to.source.Address,
			"keys", len(extra.keys), "first", fmt.Sprintf("%.200q", extra.keys[0]))
		return wanted{}, nil // another source may have them
	}
	return extra, err
}

// scan carries keys that a server has in a db, those that choose leaves of them.
func (r *renewer) scan(ctx context.Context, where, source *refresh.Conn, db int, choose func([][]byte) ([]wanted, error)) (keys int, err error) {
	for cursor := uint64(0); ; {
		next, found, err := where.Scan(ctx, db, cursor, "", renewScan)
		if err != nil {
			return keys, err
		}
		var names [][]byte
		for _, key := range found {
			if !reserved.Is(key) {
				names = append(names, bytes.Clone(key))
			}
		}
		chosen, err := choose(names)
		if err != nil {
			return keys, err
		}
		for _, x := range chosen {
			keys += len(x.keys)
			if err := r.carry(ctx, source, x); err != nil {
				return keys, err
			}
		}
		if cursor = next; cursor == 0 {
			return keys, nil
		}
	}
}

// carry has the dispatcher carry keys, a few at a time. In between the stream has as
// much time as they took.
func (r *renewer) carry(ctx context.Context, source *refresh.Conn, x wanted) error {
	if len(x.keys) == 0 {
		return nil
	}
	sizes, err := source.Sizes(ctx, x.from, x.names)
	if err != nil {
		return err
	}
	for keys := x.keys; len(keys) > 0; {
		n := 0
		for size := int64(0); n < min(len(keys), renewKeys) && (n == 0 || size+sizes[n] <= renewBytes); n++ {
			size += sizes[n]
		}
		var took time.Duration
		err := r.to.between(ctx, func(ctx context.Context) error {
			began := time.Now()
			err := r.to.byValue(ctx, x.db, keys[:n], true)
			took = time.Since(began)
			return err
		})
		if err != nil {
			return err
		}
		keys, sizes = keys[n:], sizes[n:]
		if !wait(ctx, took) {
			return context.Cause(ctx)
		}
	}
	return nil
}

// unsettled is the key on which a shard refused a command because it has not got it as
// the source has, perhaps, for its slot has moved; nil if that is not the cause.
func (l *Link) unsettled(err error) *keyOf {
	var refused *CommandError
	if !errors.As(err, &refused) || refused.Key == nil || refused.again() {
		return nil
	}
	of := slot.Of(refused.Key)
	before := func(k keyOf) bool { return k.db == refused.DB && bytes.Equal(k.key, refused.Key) }
	for _, r := range l.Renewing() {
		if of >= r.First && of <= r.Last && !slices.ContainsFunc(l.refused, before) {
			return &keyOf{refused.DB, refused.Key}
		}
	}
	return nil
}

// makesOthers tells whether a command is to be carried by value because it makes a key
// of another one that may not be as at the source.
func (d *dispatcher) makesOthers(of uint16, args [][]byte) (bool, error) {
	if d.renewing == nil || !d.renewing[of] {
		return false, nil
	}
	var err error
	d.positions, err = d.placer.AppendKeyPositions(d.positions[:0], args)
	return len(d.positions) > 1, err
}
