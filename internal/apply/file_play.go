package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/persist"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// play carries the commands of the file, from where the checkpoints stand. The snapshot
// has been read.
func (e *FileEngine) play(parent context.Context, source *persist.Source, now *shards) error {
	p := e.present()
	e.note(Streaming, nil)
	e.mu.Lock()
	e.dropped = maps.Clone(p.Dropped) // all commands are said again, and counted
	e.left.Store(p.Left)
	e.mu.Unlock()
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	x := &player{ctx: ctx, route: e.cfg.Route, shard: new([slot.Count]uint16), left: &e.left}
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() {
		cancel(nil)
		for _, l := range x.lanes {
			l.stop()
		}
	}()
	for i, lane := range p.Lanes {
		where := now.primaries[now.of[lane.Slots[0].First]]
		at, err := fileCheckpoint(ctx, where, lane.Key, p.Owner)
		if err != nil {
			return err
		}
		l, err := connectLane(ctx, where, lane.Key, p.Owner, fileScript)
		if err != nil {
			return err
		}
		x.lanes, x.had, x.skip, x.touched = append(x.lanes, l), append(x.had, at), append(x.skip, at.more), append(x.touched, false)
		each(lane.Slots, func(of uint16) { x.shard[of] = uint16(i) })
	}
	for i, l := range x.lanes {
		l.start(ctx, x.had[i], x.had[i])
		wg.Go(func() {
			select {
			case err := <-l.failed:
				cancel(err)
			case <-ctx.Done():
			}
		})
	}
	wg.Go(func() { watchLanes(ctx, x.lanes) })
	err := e.playAll(ctx, source, x, now.cluster, p)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	if err != nil {
		return e.placed(err, source.Describe())
	}
	v := e.View()
	p.Played, p.Dropped, p.Left, p.Commands = true, v.Dropped, v.Left, v.Commands
	for _, l := range x.lanes {
		p.Ends = append(p.Ends, l.next.at)
	}
	return e.set(p)
}

// playAll gives all commands to the lanes, and waits until the shards have them.
func (e *FileEngine) playAll(ctx context.Context, source *persist.Source, x *player, cluster bool, p FileProgress) error {
	s := newSayer(e.cfg, e.crc, p.Now, cluster, e.leftOut, x)
	s.checkpoint = p.Lanes[0].Key
	e.commands.Store(0)
	for n := int64(1); ; n++ {
		c, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		x.begin(c, s.within)
		if err := s.command(c); err != nil {
			return err
		}
		if err := x.settle(); err != nil {
			return err
		}
		e.commands.Store(n)
		e.read.Store(c.Offset)
		if n%256 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	for _, l := range x.lanes {
		l.flush()
	}
	for _, l := range x.lanes {
		if err := l.drained(ctx); err != nil {
			return err
		}
	}
	return nil
}

// fileCheckpoint is how far a shard has come.
func fileCheckpoint(ctx context.Context, shard server.Endpoint, key, owner string) (mark, error) {
	c, err := dial(ctx, shard)
	if err != nil {
		return mark{}, err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	got, err := c.do("HMGET", key, "owner", "at", "more")
	if err != nil {
		return mark{}, err
	}
	if len(got) != 3 || string(got[0]) != owner {
		return mark{}, fmt.Errorf("%s has lost data: the checkpoint %s is not there: %w", shard.Address, key, errCopyAgain)
	}
	at, err1 := strconv.ParseInt(string(got[1]), 10, 64)
	more, err2 := strconv.Atoi(string(got[2]))
	if err := errors.Join(err1, err2); err != nil {
		return mark{}, fmt.Errorf("%s: the checkpoint %s: %w", shard.Address, key, err)
	}
	return mark{at: at, more: more}, nil
}

// watchLanes ends lanes whose shards owe an answer for too long.
func watchLanes(ctx context.Context, lanes []*lane) {
	again := time.NewTicker(time.Second)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			for _, l := range lanes {
				l.silent()
			}
		}
	}
}

// placed says where in the file a shard has refused a command.
func (e *FileEngine) placed(err error, d persist.Description) error {
	var refused *CommandError
	if !errors.As(err, &refused) || refused.Offset < 0 {
		return err
	}
	at := persist.Position{Offset: refused.Offset}
	for _, part := range d.Parts {
		if at.Path = filepath.Join(filepath.Dir(d.Path), part.File); at.Offset < part.Bytes {
			break
		}
		at.Offset -= part.Bytes
	}
	return &FileCommandError{Command: refused.Command, At: at, Later: true, Err: err}
}

// player gives what a sayer says to the lanes.
type player struct {
	ctx   context.Context //nolint:containedctx // that of play
	route route.Route
	left  *atomic.Int64 // commands of dbs that stay behind
	lanes []*lane
	shard *[slot.Count]uint16 // the lane of each slot
	had   []mark              // by lane: where it stood when this began
	skip  []int               // by lane: parts that it has had of the first command that it has not

	end     int64  // of the present command
	inside  bool   // a transaction
	touched []bool // lanes that have got a part of it
}

// begin is called before the sayer is given a command.
func (x *player) begin(c persist.Command, inside bool) {
	x.end, x.inside = c.Offset, inside
}

// has tells whether a lane has had the command, or the part of it that is about to be
// given away.
func (x *player) has(i uint16) bool {
	if x.end <= x.had[i].at {
		return true
	}
	if x.skip[i] > 0 {
		x.skip[i]--
		x.touched[i] = true // it is to be told of the end
		return true
	}
	return false
}

func (x *player) one(db int, of uint16, n int, body []byte, whole bool) error {
	return x.give(x.shard[of], db, n, body, whole)
}

func (x *player) give(i uint16, db, n int, body []byte, whole bool) error {
	if x.has(i) {
		return nil
	}
	end := int64(0)
	if whole && !x.touched[i] {
		end = x.end
	} else {
		x.touched[i] = true
	}
	return x.lanes[i].add(x.ctx, n, body, db, end, 0, x.inside)
}

func (x *player) all(db, n int, body []byte) error {
	for i := range x.lanes {
		if err := x.give(uint16(i), db, n, body, true); err != nil {
			return err
		}
	}
	return nil
}

func (x *player) beside(n int, body []byte) error {
	for i, l := range x.lanes {
		if x.end > x.had[i].at && x.skip[i] == 0 {
			if err := l.repeat(x.ctx, n, body, 0); err != nil {
				return err
			}
		}
	}
	return nil
}

// outside comes to a rest before. It is done again where it is not known to have been done.
func (x *player) outside(command []byte, name string) error {
	for _, l := range x.lanes {
		l.flush()
	}
	for i, l := range x.lanes {
		if err := l.drained(x.ctx); err != nil {
			return err
		}
		if x.end <= x.had[i].at {
			continue
		}
		if err := tell(x.ctx, l.shard, command, name); err != nil {
			return err
		}
	}
	return nil
}

func (x *player) stays() { x.left.Add(1) }

func (x *player) ends() {
	x.inside = false
	x.divide()
}

// divide lets what came of a transaction so far be sent.
func (x *player) divide() {
	for _, l := range x.lanes {
		if l.now != nil {
			l.now.inside = false
		}
	}
}

// settle tells the lanes that have got parts of the present command that it ends.
func (x *player) settle() error {
	for i, touched := range x.touched {
		if !touched {
			continue
		}
		x.touched[i] = false
		if err := x.lanes[i].add(x.ctx, 0, nil, 0, x.end, 0, x.inside); err != nil {
			return err
		}
	}
	return nil
}
