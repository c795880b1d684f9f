package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"godwit/internal/command"
	"godwit/internal/reserved"
	"godwit/internal/resp"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// feeder says the commands of one shard's stream in the replica's words, in
// transactions, as long as a session lasts.
type feeder struct {
	link    *feedLink
	session *session

	placer   *command.Placer
	rewriter *command.Rewriter
	values   *carrier

	offset int64 // of the shard, up to which commands were given away
	end    int64 // where the command at hand ends
	mend   int64 // up to there the keys of commands are carried by value; 0 for nowhere
	db     int   // selected at the shard
	to     int   // the replica's db of the command at hand
	inside bool  // a transaction of the shard
	upTo   int64 // what a hold has let pass
	woken  alarm // by a hold
	beaten time.Time
	key    []byte // of the checkpoint

	now  *feedBatch // being filled, nil for none
	free chan *feedBatch
	dbs  []int // that the replica is known to have

	doubts []string // keys to be carried by value before anything else

	buf       []byte
	args      [][]byte
	came      [][]byte // the arguments of the command at hand
	made      []byte   // what the rewriter makes of a command
	parts     [][]byte // arguments of one of these
	renamer   route.Renamer
	renamed   []byte   // the command at hand by the replica's names
	written   [][]byte // scratch
	positions []int    // scratch
}

// feedWindow is how many transactions of a shard are being filled or sent.
const feedWindow = 4

func newFeeder(l *feedLink, s *session, at ShardStand, start *feedCheckpoint) (*feeder, error) {
	c := l.feed.cfg
	knows := c.Knows
	if c.Route.Maps() {
		knows.Databases = 0 // hasDB sees to that
	}
	x := &feeder{
		link: l, session: s, placer: command.NewPlacer(c.Cluster.Capabilities),
		rewriter: command.NewRewriter(c.Cluster.Capabilities, knows, command.Options{Drop: c.Transcoder.Drop, Now: c.Cluster.Now, Dropped: c.Drops.ofStream}),
		values:   &carrier{source: *l.primary.Load(), crc: l.feed.crc, to: c.Knows.Format, coding: c.Transcoder, drops: c.Drops, ahead: map[string]int64{}},
		offset:   at.Offset, db: at.DB, key: []byte(reserved.WayBack(c.Name)), free: make(chan *feedBatch, feedWindow), dbs: []int{0},
		mend: start.mend[at.Shard], doubts: start.doubted[at.Shard],
	}
	for range feedWindow {
		x.free <- &feedBatch{link: l, free: x.free}
	}
	for name, until := range start.ahead {
		key, err := keyAhead(name)
		if err != nil {
			return nil, &FatalError{err}
		}
		if l.slots[slot.Of(key)] {
			x.values.ahead[name] = until
			x.values.until = max(x.values.until, until)
		}
	}
	for _, name := range x.doubts {
		delete(x.values.ahead, name) // of the history that is no more
	}
	x.rewriter.Reset(at.DB)
	l.selects(at.Offset, at.DB)
	return x, nil
}

func (x *feeder) close() { x.values.close() }

// run reads the shard's stream until ctx is done, or something fails.
func (x *feeder) run(ctx context.Context) (err error) {
	x.link.opened(x)
	defer func() { x.link.closed(err) }()
	in := x.link.in
	position, ok := in.position(x.offset)
	if !ok {
		return fmt.Errorf("%s: %w", x.link.address(), errFullResync)
	}
	if err := x.doubted(ctx, x.doubts); err != nil {
		return err
	}
	for read := position; ; {
		x.woken.raised.Store(false)
		if err := x.link.gate.haltHere(ctx, x); err != nil {
			return err
		}
		if _, end := in.spool.Range(); end == read {
			if err := x.flush(ctx); err != nil {
				return err
			}
		}
		waiting, done := x.woken.waiting(ctx)
		chunk, err := in.next(waiting, read)
		woken := waiting.Err() != nil && ctx.Err() == nil
		done()
		if err != nil && woken {
			continue
		}
		if err != nil {
			return err
		}
		read += int64(len(chunk))
		x.buf = append(x.buf, chunk...)
		n, err := x.commands(ctx)
		if err != nil {
			return err
		}
		x.buf = append(x.buf[:0], x.buf[n:]...)
		x.link.read.Store(x.offset)
		if err := x.beat(ctx); err != nil {
			return err
		}
	}
}

// beat notes every so often how far a stream was read that has nothing to be carried.
func (x *feeder) beat(ctx context.Context) error {
	behind := x.offset - x.link.given.Load()
	if x.inside || behind == 0 || behind < beatBytes && time.Since(x.beaten) < beatTime {
		return nil
	}
	x.beaten = time.Now()
	if _, err := x.filling(ctx); err != nil {
		return err
	}
	x.link.given.Store(x.offset)
	return nil // it is sent with the next, or when there is nothing more to read
}

// commands gives away those that are in buf as a whole, and returns how many bytes they
// are.
func (x *feeder) commands(ctx context.Context) (int, error) {
	at := 0
	for at < len(x.buf) {
		e, err := resp.Scan(x.buf[at:], x.args)
		x.args = e.Args
		if errors.Is(err, resp.ErrIncomplete) {
			return at, nil
		}
		if err == nil {
			x.end = x.offset + int64(e.Size)
			err = x.link.gate.allow(ctx, x, x.end, &x.upTo)
		}
		if err == nil && len(e.Args) > 0 {
			err = x.command(ctx, e.Args, x.buf[at:at+e.Size])
		}
		if err != nil {
			return at, x.broken(err)
		}
		at += e.Size
		x.offset = x.end
		if x.now != nil && x.now.full() {
			if err := x.flush(ctx); err != nil {
				return at, err
			}
		}
	}
	return at, nil
}

// broken says where in the stream an error was met.
func (x *feeder) broken(err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("the shard of slots %s: stream at offset %d: %w", x.link.name, x.offset, err)
}

// command carries one command of the shard. raw is how it came.
func (x *feeder) command(ctx context.Context, args [][]byte, raw []byte) error {
	placing, of, err := x.placer.Place(args)
	if err != nil {
		return err
	}
	if x.came, x.to = args, x.db; x.link.feed.cfg.Route.Maps() {
		x.to = 0 // of what has no keys
	}
	switch placing {
	case command.OneSlot, command.Parts, command.ByValue, command.Dbs:
		return x.keyed(ctx, placing, of, args, raw)
	case command.Once:
		return x.say(ctx, args, raw)
	case command.Everywhere:
		return x.everywhere(ctx, args, raw)
	case command.WholeSlot:
		return x.emptied(ctx, nil, func(at uint16) bool { return at == of })
	case command.Moving:
		return x.moving(args)
	case command.NoData:
		// The rewriter follows the db and transactions, too.
		if x.made, _, err = x.rewriter.Rewrite(x.made[:0], args); err != nil {
			return err
		}
		return x.state(ctx, args)
	default:
		return fmt.Errorf("%s (%v): %w", args[0], placing, errUnfit)
	}
}

// moving is for what a shard says of slots on the move. Where nothing moves in the end it
// is of no consequence.
func (x *feeder) moving(args [][]byte) error {
	m, err := x.placer.Move(args)
	if err != nil || m.Event == command.MoveGoesOn && len(m.Slots) == 0 {
		return err
	}
	e := &SlotMovedError{Shard: x.link.name, Command: string(args[0]), Offset: x.offset}
	if len(m.Slots) > 0 {
		e.Slot = m.Slots[0].First
	}
	return e
}

// keyed carries a command that has keys, unless these are godwit's own.
func (x *feeder) keyed(ctx context.Context, placing command.Placing, of uint16, args [][]byte, raw []byte) error {
	var err error
	if x.positions, err = x.placer.AppendKeyPositions(x.positions[:0], args); err != nil {
		return err
	}
	ours := 0
	ahead := false
	for _, at := range x.positions {
		if reserved.Is(args[at]) {
			ours++
			continue
		}
		if of := slot.Of(args[at]); !x.link.slots[of] {
			return x.elsewhere(of, args)
		}
		ahead = ahead || x.values.has(x.db, args[at], x.end)
	}
	switch {
	case ours > 0 && ours == len(x.positions):
		return nil
	case len(x.positions) == 0 && placing == command.OneSlot && !x.link.slots[of]: // SPUBLISH
		return x.elsewhere(of, args)
	case placing == command.Dbs && len(x.positions) == 0:
		// SWAPDB of one shard is of its slots alone.
		return fmt.Errorf("%s: %w", args[0], errUnfit)
	case placing == command.Dbs:
		return x.beyond(ctx, args)
	case ahead, x.end <= x.mend && len(x.positions) > 0:
		return x.otherwise(ctx, args)
	case x.link.feed.cfg.Route.Maps() && len(x.positions) > 0:
		return x.mapped(ctx, placing, args)
	}
	return x.say(ctx, args, raw)
}

// elsewhere is met where the shard has a command of a slot that was not its own when the way
// back began.
func (x *feeder) elsewhere(of uint16, args [][]byte) error {
	return &SlotMovedError{Shard: x.link.name, Slot: of, Command: string(args[0]), Offset: x.offset}
}

// say gives away a command in the replica's words. What these cannot say is carried by the
// values of the keys that it wrote.
func (x *feeder) say(ctx context.Context, args [][]byte, raw []byte) error {
	made, verdict, err := x.rewriter.Rewrite(x.made[:0], args)
	x.made = made
	var noEqual *command.NoEqualError
	if errors.As(err, &noEqual) {
		if x.written, _ = x.placer.AppendWritten(x.written[:0], x.came); len(x.written) > 0 {
			return x.byValue(ctx, x.db, x.written)
		}
	}
	if err != nil {
		return err
	}
	if verdict == command.Pass {
		return x.add(ctx, raw)
	}
	for len(made) > 0 {
		e, err := resp.Scan(made, x.parts)
		if err != nil {
			return fmt.Errorf("rewritten: %w", err)
		}
		x.parts = e.Args
		if !is(e.Args[0], "multi") && !is(e.Args[0], "exec") { // it is in a transaction anyway
			if err := x.add(ctx, made[:e.Size]); err != nil {
				return err
			}
		}
		made = made[e.Size:]
	}
	return nil
}

// add appends a command to the transaction at hand.
func (x *feeder) add(ctx context.Context, raw []byte) error {
	b, err := x.filling(ctx)
	if err != nil {
		return err
	}
	if err := x.hasDB(ctx, x.to); err != nil {
		return err
	}
	b.add(x.to, raw)
	x.link.given.Store(x.end)
	return nil
}

// hasDB sees that the replica has a db.
func (x *feeder) hasDB(ctx context.Context, db int) error {
	if slices.Contains(x.dbs, db) {
		return nil
	}
	replica := x.link.feed.cfg.Replica
	c, err := dial(ctx, replica)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	_, err = c.do("SELECT", strconv.Itoa(db))
	switch {
	case server.IsCode(err, "ERR"):
		return &noDBError{replica.Address, db}
	case err == nil:
		x.dbs = append(x.dbs, db)
	}
	return err
}

// filling is the transaction to add to. It waits while the window is full.
func (x *feeder) filling(ctx context.Context) (*feedBatch, error) {
	if x.now != nil {
		return x.now, nil
	}
	select {
	case x.now = <-x.free:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	x.now.begin()
	x.now.inside = x.inside
	return x.now, nil
}

// flush sends what has been gathered, with how far it goes, unless it is the middle of a
// transaction.
func (x *feeder) flush(ctx context.Context) error {
	b := x.now
	if b == nil || b.inside {
		return nil
	}
	x.now = nil
	at := ShardStand{Shard: x.link.name, ReplID: x.link.in.history(), Offset: x.offset, DB: x.db}
	b.to = x.offset
	fields := x.values.passed(x.offset)
	if x.mend > 0 && x.mend <= x.offset {
		fields = append(fields, []byte(mendField+x.link.name))
		x.mend = 0
	}
	if len(fields) > 0 {
		b.put(checkpointDB, append([][]byte{[]byte("HDEL"), x.key}, fields...)...)
	}
	b.note(x.key, at.Shard, at.text())
	return x.session.put(ctx, b)
}

// rest waits until the replica has all that it was given of the shard.
func (x *feeder) rest(ctx context.Context) error {
	if err := x.flush(ctx); err != nil {
		return err
	}
	f := x.link.feed
	f.waiting.Add(1)
	defer f.waiting.Add(-1)
	again := time.NewTicker(drainInterval)
	defer again.Stop()
	for x.link.applied.Load() < min(x.link.given.Load(), x.offset) {
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// state follows what the shard's connection is in.
func (x *feeder) state(ctx context.Context, args [][]byte) error {
	switch name := args[0]; {
	case is(name, "select"):
		n, err := strconv.Atoi(string(args[1]))
		if err != nil {
			return fmt.Errorf("SELECT: %w", err)
		}
		if x.db != n {
			x.link.selects(x.end, n)
		}
		x.db = n
	case is(name, "multi"):
		if x.now == nil {
			break
		}
		if x.now.full() { // a transaction is not divided
			if err := x.flush(ctx); err != nil {
				return err
			}
			break
		}
		x.now.inside = true
	case is(name, "exec") && x.now != nil:
		x.now.inside = false
	}
	switch name := args[0]; {
	case is(name, "multi"):
		x.inside = true
	case is(name, "exec"):
		x.inside = false
	}
	return nil
}
