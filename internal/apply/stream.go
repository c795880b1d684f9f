package apply

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"godwit/internal/command"
	"godwit/internal/reserved"
	"godwit/internal/resp"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// dispatcher cuts the commands out of a source's stream and gives each to the lane
// of its slot.
type dispatcher struct {
	several bool // there are sources beside this one that have nothing to do with it
	route   route.Route
	renamer route.Renamer
	share   *share        // of the keys, that the target has; nil for all
	proof   *proof        // see Config.Proves; nil where there is nothing to prove
	stirred bool          // the source says what it has selected further on in the stream, see takeOver
	refused time.Time     // when the source would not say it; zero if it was not asked since
	oneDB   bool          // the source, a shard of a cluster, has no other; asked for where it matters
	slots   *slotTable    // nil unless the source is a shard of a cluster
	held    *atomic.Int64 // see Link
	log     *slog.Logger

	source server.Endpoint
	in     *intake
	lanes  []*lane
	shard  *[slot.Count]uint16 // the lane of each slot

	// had says what the slots have had already: slots that were in one lane before
	// share a mark.
	had  []past
	mark *[slot.Count]uint16
	// doubtful are marks of slots that were in doubt about the command at hand.
	doubtful []uint16

	// gone are keys that the target may have lost, see keyspace.go, by the names of
	// carrier.name; lost is set when lanes were told of others.
	gone map[string]struct{}
	lost alarm
	// heard is the offset from which on the lanes were told of every loss.
	heard  int64
	looked int64 // up to there the keys of commands before heard were looked for
	doubts doubts

	errands  chan errand
	renewing *[slot.Count]bool // slots whose keys may not be right yet, see renew.go; nil for none

	link *Link // may be held back, see Hold
	upTo int64 // what a hold has let pass

	placer   *command.Placer
	rewriter *command.Rewriter
	values   *carrier

	read *atomic.Int64 // told how far it has come
	selection
	offset int64 // of the source, up to which commands were given to lanes
	end    int64 // where the command at hand ends
	inside bool  // a transaction of the source
	beaten time.Time

	buf       []byte
	rest      []byte   // of buf, behind the command at hand
	ahead     [][]byte // scratch
	args      [][]byte
	kept      [][]byte // arguments of the command at hand without the keys of others
	renamed   []byte   // the command at hand by the target's names
	made      []byte   // what the rewriter makes of a command
	parts     [][]byte // arguments of one of these
	size      int      // of it, in bytes
	body      []byte   // scratch
	piece     []byte   // scratch
	written   [][]byte // scratch
	late      [][]byte // scratch
	positions []int    // scratch
	touched   []bool   // lanes that the command at hand has given something
	counts    counts
}

// counts is what was seen of the stream.
type counts struct {
	commands int64
	apart    int64 // taken apart by slot
	byValue  int64
	split    int64 // transactions that went to several shards
}

// run reads the stream from the source's offset on until ctx is done or a lane or
// the source fails.
func (d *dispatcher) run(ctx context.Context) error {
	position, ok := d.in.position(d.offset)
	if !ok {
		return errFullResync
	}
	d.touched = make([]bool, len(d.lanes))
	read := position // up to there the spool is in buf
	for {
		if err := d.attend(ctx); err != nil {
			return err
		}
		if err := d.link.gate.haltHere(ctx, d); err != nil {
			return err
		}
		if _, end := d.in.spool.Range(); end == read {
			if err := d.idle(ctx); err != nil {
				return err
			}
		}
		waiting, done := d.lost.waiting(ctx)
		chunk, err := d.in.next(waiting, read)
		woken := waiting.Err() != nil && ctx.Err() == nil
		done()
		if err != nil && woken {
			continue
		}
		if err != nil {
			return err
		}
		read += int64(len(chunk))
		d.buf = append(d.buf, chunk...)
		if err := d.foretell(ctx); err != nil {
			return err
		}
		n, err := d.commands(ctx)
		if err == nil {
			err = d.proof.flush(ctx)
		}
		if err != nil {
			return err
		}
		d.buf = append(d.buf[:0], d.buf[n:]...)
		d.read.Store(d.offset)
		if err := d.beat(ctx); err != nil {
			return err
		}
	}
}

// commands gives away those that are in buf as a whole, and returns how many bytes
// they are.
func (d *dispatcher) commands(ctx context.Context) (int, error) {
	at := 0
	for at < len(d.buf) {
		e, err := resp.Scan(d.buf[at:], d.args)
		d.args = e.Args
		if errors.Is(err, resp.ErrIncomplete) {
			return at, nil
		}
		if err != nil {
			return at, fmt.Errorf("%s: stream at offset %d: %w", d.source.Address, d.offset, err)
		}
		if err := d.link.gate.allow(ctx, d, d.offset+int64(e.Size), &d.upTo); err != nil {
			return at, err
		}
		if d.lost.raised.Load() || d.doubts.keys != nil {
			if err := d.attend(ctx); err != nil {
				return at, err
			}
		}
		if d.offset < d.heard && d.offset >= d.looked {
			if err := d.lookAhead(ctx, d.buf[at:]); err != nil {
				return at, err
			}
			if e, err = resp.Scan(d.buf[at:], d.args); err != nil {
				return at, err
			}
			d.args = e.Args
		}
		d.end, d.rest = d.offset+int64(e.Size), d.buf[at+e.Size:]
		if len(e.Args) > 0 {
			if err := d.command(ctx, e.Args, d.buf[at:at+e.Size]); err != nil {
				return at, err
			}
		}
		at += e.Size
		d.offset = d.end
	}
	return at, nil
}

// command carries one command of the source. raw is how it came.
func (d *dispatcher) command(ctx context.Context, args [][]byte, raw []byte) error {
	d.counts.commands++
	placing, of, err := d.placer.Place(args)
	if err == nil && d.proof != nil && keyed(placing) {
		err = d.prove(ctx, args)
	}
	if err == nil && d.share != nil {
		var left bool
		if placing, args, raw, left, err = d.ours(ctx, placing, args, raw); left {
			return nil
		}
	}
	if err == nil && !d.plain && keyed(placing) {
		var left bool
		if args, raw, left, err = d.rename(args, raw); left {
			return nil
		}
		if err == nil {
			placing, of, err = d.placer.Place(args)
		}
	}
	if err != nil {
		return d.broken(err)
	}
	switch placing {
	case command.OneSlot:
		if len(args) > 1 && reserved.Is(args[1]) {
			break // a checkpoint that is kept there, by an engine in the other direction
		}
		err = d.say(ctx, of, args, bodyOf(raw), true)
	case command.Parts:
		d.counts.apart++
		err = d.placer.Split(args, func(of uint16, part [][]byte) error {
			d.body = d.body[:0]
			for _, a := range part {
				d.body = appendBulk(d.body, a)
			}
			return d.say(ctx, of, part, d.body, false)
		})
	case command.ByValue:
		d.counts.byValue++
		err = d.effect(ctx, args)
	case command.Once:
		err = d.one(ctx, slot.Of(args[1]), len(args), bodyOf(raw), 0, true)
	case command.Everywhere:
		err = d.everywhere(ctx, args, raw)
	case command.Dbs:
		d.counts.byValue++
		err = d.beyond(ctx, args)
	case command.WholeSlot, command.Moving:
		err = d.ofSlots(placing, of, args)
	case command.NoData:
		// The rewriter follows the db and transactions, too.
		if d.made, _, err = d.rewriter.Rewrite(d.made[:0], args); err == nil {
			d.state(args)
		}
		if is(args[0], "replconf") { // GETACK: somebody waits for it
			d.in.question.Store(d.offset)
		}
	default:
		err = fmt.Errorf("%s (%v) cannot be carried to a cluster", args[0], placing)
	}
	if err != nil {
		return d.broken(err)
	}
	return d.settle(ctx)
}

// broken says where in the stream an error was met, unless a shard is the reason.
func (d *dispatcher) broken(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%s: stream at offset %d: %w", d.source.Address, d.offset, err)
}

// effect carries a command by the values of the keys that it wrote.
func (d *dispatcher) effect(ctx context.Context, args [][]byte) error {
	written, err := d.placer.AppendWritten(d.late[:0], args)
	if d.late = written; err != nil {
		return err
	}
	late := d.behind(written)
	if len(late) == 0 {
		return nil
	}
	needed := len(late)
	if late, err = d.foresee(late); err != nil {
		return err
	}
	return d.byValues(ctx, d.to, late, needed, false)
}

// behind are those of some keys that have not had the effect of the command at hand.
func (d *dispatcher) behind(keys [][]byte) [][]byte {
	late := keys[:0]
	for _, key := range keys {
		if d.end > d.had[d.mark[slot.Of(key)]].at && !d.values.has(d.to, key, d.end) {
			late = append(late, key)
		}
	}
	return late
}

// say gives away a command with keys of one slot in the target's words. whole says
// that it is all of what the source said.
func (d *dispatcher) say(ctx context.Context, of uint16, args [][]byte, body []byte, whole bool) error {
	if carried, err := d.otherwise(ctx, of, args); carried || err != nil {
		return err
	}
	made, verdict, err := d.rewriter.Rewrite(d.made[:0], args)
	if d.made = made; err != nil {
		return err
	}
	if verdict == command.Pass {
		if len(args) > maxArgs {
			return d.long(ctx, of, args)
		}
		return d.one(ctx, of, len(args), body, d.expires(args), whole)
	}
	for rest := made; len(rest) > 0; rest = rest[d.size:] {
		if err := d.scanMade(rest); err != nil {
			return err
		}
		// A script calls no other, and hands over so many arguments.
		if is(d.parts[0], "eval") || len(d.parts) > maxArgs {
			return d.effect(ctx, args)
		}
	}
	for rest := made; len(rest) > 0; rest = rest[d.size:] {
		if err := d.scanMade(rest); err != nil {
			return err
		}
		if is(d.parts[0], "multi") || is(d.parts[0], "exec") {
			continue // it goes into one batch anyway
		}
		if err := d.one(ctx, of, len(d.parts), bodyOf(rest[:d.size]), d.expires(d.parts), false); err != nil {
			return err
		}
	}
	return nil
}

// scanMade finds the first of the commands that the rewriter has made: parts, of size
// bytes.
func (d *dispatcher) scanMade(made []byte) error {
	e, err := resp.Scan(made, d.parts)
	if err != nil {
		return fmt.Errorf("rewritten: %w", err)
	}
	d.parts, d.size = e.Args, e.Size
	return nil
}

// expires is expiry, and remembers a key that will not be there for the next command.
func (d *dispatcher) expires(args [][]byte) int64 {
	at := expiry(args)
	if at > 0 && d.offset < d.heard && at <= time.Now().UnixMilli() {
		for _, key := range mortal(args) {
			d.gone[string(d.values.name(d.to, key))] = struct{}{}
		}
	}
	return at
}

// otherwise tells whether a command is not to be carried out as the source did. About
// keys that are ahead alone it has had its effect already. Where a key is ahead or lost,
// or the command was carried out in part, perhaps, the keys that it wrote are carried by
// value.
func (d *dispatcher) otherwise(ctx context.Context, of uint16, args [][]byte) (bool, error) {
	at := d.mark[of]
	if d.end <= d.had[at].at {
		if d.end > d.had[at].sound.at {
			return true, d.suspect(args)
		}
		return true, nil
	}
	if takes, err := d.takes(of); !takes || err != nil {
		return true, err
	}
	doubtful := d.had[at].more != 0
	if doubtful {
		d.doubtful = append(d.doubtful, at)
	}
	missing, err := d.misses(args)
	if err != nil {
		return false, err
	}
	ahead := false
	if d.values.until >= d.end {
		if d.positions, err = d.placer.AppendKeyPositions(d.positions[:0], args); err != nil {
			return false, err
		}
		for _, at := range d.positions {
			ahead = ahead || d.values.has(d.to, args[at], d.end)
		}
	}
	others, err := d.makesOthers(of, args)
	if err != nil {
		return false, err
	}
	if !ahead && !missing && !doubtful && !others && !d.anew(of) && d.end > d.had[at].until {
		return false, nil
	}
	if d.late, err = d.placer.AppendWritten(d.late[:0], args); err != nil {
		return false, err
	}
	late := d.behind(d.late)
	if len(late) == 0 {
		return true, nil
	}
	return true, d.byValue(ctx, d.to, late, false)
}

// one gives a command, or a part of one, to the lane of a slot, unless the slot has
// had it.
func (d *dispatcher) one(ctx context.Context, of uint16, n int, body []byte, expires int64, whole bool) error {
	if d.end <= d.had[d.mark[of]].at {
		return nil
	}
	i := d.shard[of]
	l := d.lanes[i]
	l.give(d.end)
	end := int64(0)
	if whole && !d.touched[i] {
		end = d.end
	} else {
		d.touched[i] = true
	}
	if err := l.enter(ctx, d.to); err != nil {
		return err
	}
	if err := l.add(ctx, n, body, d.db, end, expires, d.inside); err != nil {
		return err
	}
	l.recent[of] = l.number
	return nil
}

// settle tells the lanes that have got parts of the command that it ends.
func (d *dispatcher) settle(ctx context.Context) error {
	for _, at := range d.doubtful {
		d.had[at].more = 0
	}
	d.doubtful = d.doubtful[:0]
	for i, touched := range d.touched {
		if !touched {
			continue
		}
		d.touched[i] = false
		if err := d.lanes[i].add(ctx, 0, nil, d.db, d.end, 0, d.inside); err != nil {
			return err
		}
	}
	return nil
}

// state follows what the source's connection is in.
func (d *dispatcher) state(args [][]byte) {
	switch name := args[0]; {
	case d.follow(d.route, args):
	case is(name, "multi"):
		d.inside = true
	case is(name, "exec"):
		d.inside = false
		shards := 0
		for _, l := range d.lanes {
			if l.now != nil && l.now.inside {
				l.now.inside = false
				shards++
			}
		}
		if shards > 1 {
			d.counts.split++
		}
	}
}

// is compares a command's name with one in small letters.
func is(name []byte, small string) bool {
	if len(name) != len(small) {
		return false
	}
	for i, c := range name {
		if c|0x20 != small[i] {
			return false
		}
	}
	return true
}
