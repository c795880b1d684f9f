package apply

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/resp"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// A primary deletes a key when its own clock says so. The source may have given it a
// longer life before that, by a command that is still on its way; that would find the
// key gone. So each lane is told by its shard which keys it lets expire, evicts, and
// which commands came too late to give a key a life: in the order in which it does
// so among the batches. Unless the source says the same of such a key, it is carried
// by value.

// notifySetting must have these for a shard to tell: keyevents, of keys that expire
// (x), are evicted (e), and of hashes, whose fields expire (h).
const (
	notifySetting = "notify-keyspace-events"
	notifyFlags   = "Exeh"
)

// events are what the shard tells, by the end of the channel's name.
var events = []string{"expired", "evicted", "hexpired"} //nolint:gochecknoglobals // a table

// listen has the shard tell. changed: see set.
func (l *lane) listen(ctx context.Context, changed func(node, was string) error) error {
	if _, err := l.conn.do("HELLO", "3"); err != nil {
		return err
	}
	unset, err := l.set(changed)
	if err != nil {
		return err
	}
	subscribe := []string{"PSUBSCRIBE"}
	for _, event := range events {
		subscribe = append(subscribe, "__keyevent@*__:"+event)
	}
	// It is answered once for each, with what the shard tells in between.
	if _, err := l.conn.do(subscribe...); err != nil || unset == nil {
		return err
	}
	return l.probe(ctx, unset)
}

// withFlags adds what is needed. A is all of them but K and E (notify.c).
func withFlags(was string) string {
	for _, flag := range notifyFlags {
		if !strings.ContainsRune(was, flag) && (flag == 'E' || !strings.ContainsRune(was, 'A')) {
			was += string(flag)
		}
	}
	return was
}

// loss is a key that a shard has not got any more of itself, or may not.
type loss struct {
	db    int // of the shard
	key   []byte
	since int64 // number of the first batch that may have met it so
}

// lose notes a loss for the dispatcher.
func (l *lane) lose(db int, key []byte, since int64) {
	if len(l.ever) > maxEver {
		clear(l.ever) // what is not known to be lost costs no more than a look
	}
	l.ever[string(key)] = struct{}{}
	l.mu.Lock()
	l.losses = append(l.losses, loss{db, key, since})
	l.flaws = append(l.flaws, flaw{from: l.answered, mended: unseen})
	l.mu.Unlock()
	l.lost.raise()
}

// maxEver bounds the keys of which it is remembered that they were lost.
const maxEver = 100_000

// told takes a push of the shard. The first batch that was not answered yet, with its
// PING, may have met the key so.
func (l *lane) told(texts [][]byte) {
	if len(texts) != 4 || string(texts[0]) != "pmessage" {
		return
	}
	number, _, _ := strings.Cut(strings.TrimPrefix(string(texts[2]), "__keyevent@"), "__:")
	if db, err := strconv.Atoi(number); err == nil { // it was subscribed to no other channel
		l.lose(db, texts[3], l.finished+1)
	}
}

// takeLosses gives what has been noted; mend is to be called after.
func (l *lane) takeLosses() []loss {
	l.mu.Lock()
	defer l.mu.Unlock()
	losses := l.losses
	l.losses = nil
	for i := range l.flaws {
		l.flaws[i].mended = min(l.flaws[i].mended, seen)
	}
	return losses
}

// heed handles what the lanes were told: keys on which commands are under way are
// carried by value at once, others when the next command concerns them.
func (d *dispatcher) heed(ctx context.Context) error {
	d.lost.raised.Store(false)
	for _, l := range d.lanes {
		now := map[int][][]byte{} // by db
		for _, x := range l.takeLosses() {
			if d.slots != nil && int(d.slots.owner[slot.Of(x.key)].Load()) != d.link.index {
				continue // what settles the slot looks for it
			}
			if l.recent[slot.Of(x.key)] >= x.since {
				now[x.db] = append(now[x.db], x.key)
			} else {
				d.gone[string(d.values.name(x.db, x.key))] = struct{}{}
			}
		}
		if err := d.carry(ctx, now); err != nil {
			return err
		}
		l.mend(len(now) > 0)
	}
	return nil
}

// carry makes any number of keys, by db of the target, what they are at the source.
func (d *dispatcher) carry(ctx context.Context, keys map[int][][]byte) error {
	for _, db := range slices.Sorted(maps.Keys(keys)) {
		for some := range slices.Chunk(keys[db], carriedAtOnce) {
			if err := d.byValue(ctx, db, some, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// carriedAtOnce is how many keys are read at one offset: the source does nothing else
// meanwhile.
const carriedAtOnce = 200

// misses tells whether the target may have lost a key on whose value the effect of a
// command depends. It knows better from then on of one that the command overwrites: not of
// one that is ahead, as the command is left out there.
func (d *dispatcher) misses(args [][]byte) (bool, error) {
	if len(d.gone) == 0 {
		return false, nil
	}
	var err error
	if d.positions, err = d.placer.AppendKeyPositions(d.positions[:0], args); err != nil {
		return false, err
	}
	found := false
	for _, at := range d.positions {
		_, gone := d.gone[string(d.values.name(d.to, args[at]))]
		found = found || gone
	}
	if !found || !d.placer.Overwrites(args) {
		return found, nil
	}
	for _, at := range d.positions {
		if !d.values.has(d.to, args[at], d.end) {
			delete(d.gone, string(d.values.name(d.to, args[at])))
		}
	}
	return false, nil
}

// lookAhead looks which keys of the commands to come are not there any more, of those that
// were said before the lanes were told of losses.
func (d *dispatcher) lookAhead(ctx context.Context, buf []byte) error {
	keys := make([][]keyOf, len(d.lanes))
	seen := map[string]struct{}{}
	d.looked = d.offset
	there := d.selection // the commands to come may select other dbs
	for n := 0; n < looksAhead; n++ {
		e, err := resp.Scan(buf, d.args)
		d.args = e.Args
		if err != nil {
			break // it is met again, in its turn
		}
		buf = buf[e.Size:]
		d.looked += int64(e.Size)
		if len(e.Args) == 0 {
			continue
		}
		if there.follow(d.route, e.Args) || there.way == nil || there.way.Stays {
			continue
		}
		if d.late, err = d.placer.AppendRead(d.late[:0], e.Args); err != nil {
			return err
		}
		for _, key := range d.late {
			name, err := there.way.AppendName(nil, key)
			if err != nil {
				continue // it is met again, in its turn
			}
			if d.share != nil {
				if has, err := d.share.has(ctx, name); err != nil {
					return err
				} else if !has {
					continue
				}
			}
			x := keyOf{there.to, name}
			if at := string(d.values.name(x.db, name)); !has(seen, at) {
				seen[at] = struct{}{}
				i := d.shard[slot.Of(name)]
				keys[i] = append(keys[i], x)
			}
		}
	}
	for _, l := range d.lanes {
		l.flush()
	}
	for i, l := range d.lanes {
		if len(keys[i]) == 0 {
			continue
		}
		if err := l.drained(ctx); err != nil {
			return err
		}
		if err := d.absent(ctx, l.shard, keys[i]); err != nil {
			return err
		}
	}
	return nil
}

// looksAhead is how many commands are looked at together.
const looksAhead = 1000

// absent notes which keys a shard has not got.
func (d *dispatcher) absent(ctx context.Context, shard server.Endpoint, keys []keyOf) error {
	c, err := dial(ctx, shard)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // every reply was read
	slices.SortStableFunc(keys, func(a, b keyOf) int { return a.db - b.db })
	for len(keys) > 0 {
		n := 1
		for n < len(keys) && keys[n].db == keys[0].db {
			n++
		}
		if err := d.absentOf(c, keys[:n]); err != nil {
			return err
		}
		keys = keys[n:]
	}
	return nil
}

// absentOf is absent of keys of one db.
func (d *dispatcher) absentOf(c *conn, keys []keyOf) error {
	if err := c.enter(keys[0].db); err != nil {
		return err
	}
	var out []byte
	for _, x := range keys {
		out = append(out, "*2\r\n$6\r\nEXISTS\r\n"...)
		out = appendBulk(out, x.key)
	}
	if _, err := c.Write(out); err != nil { // the replies are few enough to wait
		return server.Failed(c.address, "EXISTS", err)
	}
	for _, x := range keys {
		reply, err := c.r.Next()
		if err != nil {
			return server.Failed(c.address, "EXISTS", eof(err))
		}
		if reply.Kind == resp.Failure {
			return server.Replied(c.address, "EXISTS", string(reply.Line))
		}
		if reply.N == 0 {
			d.gone[string(d.values.name(x.db, x.key))] = struct{}{}
		}
	}
	return nil
}

// expiry is the moment up to which a command gives its key, or fields of it, a life,
// in milliseconds since 1970; 0 if it gives none.
func expiry(args [][]byte) int64 {
	if len(args) < 3 {
		return 0
	}
	switch name := args[0]; {
	case is(name, "pexpireat"), is(name, "hpexpireat"), is(name, "restore"):
		return milliseconds(args[2])
	case is(name, "expireat"), is(name, "hexpireat"):
		return 1000 * milliseconds(args[2])
	case is(name, "set"), is(name, "hsetex"), is(name, "msetex"), is(name, "getex"), is(name, "hgetex"):
		for i := 2; i+1 < len(args); i++ {
			switch {
			case is(args[i], "pxat"):
				return milliseconds(args[i+1])
			case is(args[i], "exat"):
				return 1000 * milliseconds(args[i+1])
			}
		}
	}
	return 0
}

// mortal are the keys to which a command gives a life.
func mortal(args [][]byte) [][]byte {
	if !is(args[0], "msetex") {
		return args[1:2]
	}
	var keys [][]byte
	n, _ := strconv.Atoi(string(args[1])) // MSETEX count key value …
	for i := 2; i+1 < len(args) && len(keys) < n; i += 2 {
		keys = append(keys, args[i])
	}
	return keys
}

func milliseconds(b []byte) int64 {
	n, err := strconv.ParseInt(string(b), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
