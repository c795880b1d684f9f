package apply

import (
	"bytes"
	"context"
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
	key   []byte
	since int64 // number of the first batch that may have met it so
}

// lose notes a loss for the dispatcher.
func (l *lane) lose(key []byte, since int64) {
	if len(l.ever) > maxEver {
		clear(l.ever) // what is not known to be lost costs no more than a look
	}
	l.ever[string(key)] = struct{}{}
	l.mu.Lock()
	l.losses = append(l.losses, loss{key, since})
	l.flaws = append(l.flaws, flaw{from: l.answered, mended: unseen})
	l.mu.Unlock()
	l.lost.raise()
}

// maxEver bounds the keys of which it is remembered that they were lost.
const maxEver = 100_000

// told takes a push of the shard. The first batch that was not answered yet, with its
// PING, may have met the key so.
func (l *lane) told(texts [][]byte) {
	if len(texts) == 4 && string(texts[0]) == "pmessage" {
		l.lose(texts[3], l.finished+1)
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
		var now [][]byte
		for _, x := range l.takeLosses() {
			if d.slots != nil && int(d.slots.owner[slot.Of(x.key)].Load()) != d.link.index {
				continue // what settles the slot looks for it
			}
			if l.recent[slot.Of(x.key)] >= x.since {
				now = append(now, x.key)
			} else {
				d.gone[string(x.key)] = struct{}{}
			}
		}
		if err := d.carry(ctx, now); err != nil {
			return err
		}
		l.mend(len(now) > 0)
	}
	return nil
}

// carry makes any number of keys what they are at the source.
func (d *dispatcher) carry(ctx context.Context, keys [][]byte) error {
	for some := range slices.Chunk(keys, carriedAtOnce) {
		if err := d.byValue(ctx, some, true); err != nil {
			return err
		}
	}
	return nil
}

// carriedAtOnce is how many keys are read at one offset: the source does nothing else
// meanwhile.
const carriedAtOnce = 200

// misses tells whether the target may have lost a key on whose value the effect of a
// command depends. It knows better from then on of one that the command overwrites.
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
		_, gone := d.gone[string(args[at])]
		found = found || gone
	}
	if !found || !d.placer.Overwrites(args) {
		return found, nil
	}
	for _, at := range d.positions {
		delete(d.gone, string(args[at]))
	}
	return false, nil
}

// lookAhead looks which keys of the commands to come are not there any more, of those that
// were said before the lanes were told of losses.
func (d *dispatcher) lookAhead(ctx context.Context, buf []byte) error {
	keys := make([][][]byte, len(d.lanes))
	seen := map[string]struct{}{}
	d.looked = d.offset
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
		if d.late, err = d.placer.AppendRead(d.late[:0], e.Args); err != nil {
			return err
		}
		for _, key := range d.late {
			if _, twice := seen[string(key)]; !twice {
				seen[string(key)] = struct{}{}
				i := d.shard[slot.Of(key)]
				keys[i] = append(keys[i], bytes.Clone(key))
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
func (d *dispatcher) absent(ctx context.Context, shard server.Endpoint, keys [][]byte) error {
	c, err := dial(ctx, shard)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // every reply was read
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	var out []byte
	for _, key := range keys {
		out = append(out, "*2\r\n$6\r\nEXISTS\r\n"...)
		out = appendBulk(out, key)
	}
	if _, err := c.Write(out); err != nil { // the replies are few enough to wait
		return server.Failed(shard.Address, "EXISTS", err)
	}
	for _, key := range keys {
		reply, err := c.r.Next()
		if err != nil {
			return server.Failed(shard.Address, "EXISTS", eof(err))
		}
		if reply.Kind == resp.Failure {
			return server.Replied(shard.Address, "EXISTS", string(reply.Line))
		}
		if reply.N == 0 {
			d.gone[string(key)] = struct{}{}
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
