package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/topology"
)

const (
	// targetEvery is how often the map of the target is read while nothing is wrong.
	targetEvery = 2 * time.Second
	// arriveEvery is how often, while a copy waits for slots to arrive.
	arriveEvery = 200 * time.Millisecond
	// nextMove is how soon one move follows another, where a tool makes several.
	nextMove = time.Second
)

// errSlotsMoved ends a stream, to go on with the shards as they are.
var errSlotsMoved = errors.New("slots of the target have changed their shard")

// MovingError says that slots of the target are being moved at once.
type MovingError struct{ Move topology.Move }

func (e *MovingError) Error() string {
	return fmt.Sprintf("slots of the target are being moved from %.8s to %.8s at once (%s)", e.Move.From, e.Move.To, e.Move.State)
}

// HintText is what the user can do about it.
func (e *MovingError) HintText() string {
	return "wait until they have arrived (CLUSTER GETSLOTMIGRATIONS, CLUSTER MIGRATION STATUS ALL): a copy that waits for them begins by itself"
}

// settledShards waits until no slots are moved at once, and none are about to be, where that
// was so a moment ago: to empty a shard ends a move (cluster_migrateslots.c
// clusterHandleFlushDuringSlotMigration), and what is copied until slots arrive has to be
// copied again.
func (e *Engine) settledShards(ctx context.Context) (*shards, error) {
	var moved time.Time // when that was seen last
	for {
		now, err := e.shards(ctx)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(now.moves, func(m topology.Move) bool { return m.Kind == topology.MoveAtomic })
		if i >= 0 || e.copiedTo != nil && e.copiedTo.of != now.of {
			moved = time.Now()
		}
		e.copiedTo = now
		if time.Since(moved) > nextMove {
			return now, nil
		}
		if i >= 0 {
			for _, l := range e.all() {
				l.set(Attaching, &MovingError{now.moves[i]})
			}
		}
		if !wait(ctx, arriveEvery) {
			return nil, ctx.Err()
		}
	}
}

// watchTarget has streams be read again from where the target stands once slots have
// changed their shard there. A command that finds its slot gone says so, too, but for some
// slots none may come any more, and some may be back.
func (e *Engine) watchTarget(ctx context.Context) error {
	for wait(ctx, targetEvery) {
		now, err := e.shards(ctx)
		if err != nil || !now.cluster {
			continue // one that cannot be looked at, is seen to by its lane
		}
		parted := e.parted(now)
		if len(parted) > 0 && wait(ctx, arriveEvery) { // nodes may have disagreed for a moment
			if now, err = e.shards(ctx); err != nil {
				continue
			}
			parted = e.parted(now)
		}
		for _, r := range parted {
			r.end(errSlotsMoved)
		}
		for _, l := range e.all() {
			if !l.progress().Begun {
				continue
			}
			if err := l.arrivals(now); err != nil {
				return err
			}
		}
	}
	return nil
}

// parted are the streams under way whose lanes are not the shards any more.
func (e *Engine) parted(now *shards) []*running {
	var list []*running
	for _, l := range e.all() {
		if r := l.running.Load(); r != nil && !now.same(l.progress().Lanes) {
			list = append(list, r)
		}
	}
	return list
}

// Settled sees that no slots of the target are being moved at once, and that those which
// have moved are as at the source: for a switch, which ends either.
func (e *Engine) Settled(ctx context.Context) error {
	now, err := e.shards(ctx)
	if err != nil || !now.cluster {
		return err
	}
	if i := slices.IndexFunc(now.moves, func(m topology.Move) bool { return m.Kind == topology.MoveAtomic }); i >= 0 {
		return &MovingError{now.moves[i]}
	}
	return e.stayed(now)
}

// stayed sees that all slots are where the streams have taken them to be, whether these are
// under way or not, and that those which have moved before are as at the source.
func (e *Engine) stayed(now *shards) error {
	if !now.cluster {
		return nil
	}
	for _, r := range e.parted(now) {
		r.end(errSlotsMoved)
	}
	for _, l := range e.all() {
		if !now.same(l.progress().Lanes) {
			return errSlotsMoved
		}
		if err := l.arrivals(now); err != nil {
			return err
		}
		if v := l.View(); v.Renewing+v.Unsettled > 0 {
			return fmt.Errorf("%s: %w", v.Source, errRenewing)
		}
	}
	return nil
}

// errRenewing says that a switch is too early.
var errRenewing = errors.New("slots that have changed their shard at the target are carried by value once more")

// jobs are the names of the atomic moves that were carried out.
func (s *shards) jobs() []string {
	var names []string
	for _, m := range s.arrived {
		names = append(names, m.Job)
	}
	return names
}

// arrivals has slots be carried by value once more that were moved at once since the last
// look, wherever they are by now: such a move leaves out what the server does not say in
// commands, such as that an entry is pending which was deleted from its stream.
func (l *Link) arrivals(now *shards) error {
	seen, jobs := l.progress().Seen, now.jobs()
	var slots []topology.SlotRange
	for _, m := range now.arrived {
		if !slices.Contains(seen, m.Job) {
			slots = union(slots, m.Slots)
		}
	}
	if len(slots) > 0 { // in one moment: a move that counts as seen is not looked at again
		return l.renewAnd(slots, func(p *SourceProgress) { p.Seen = jobs })
	}
	return l.change(func(p *SourceProgress) bool {
		changed := !slices.Equal(p.Seen, jobs)
		p.Seen = jobs
		return changed
	})
}

// The node that gives slots away at once holds writes back until it has heard that they are
// the other one's, but not for ever (cluster_migrateslots.c isSlotExportPauseTimedOut): if it
// stands still meanwhile, it carries out what it was sent, before it hears. What of that
// was about the slots is lost with them; they are carried by value anyway. If the checkpoint
// was among them, it does not know of what the slots had that stayed.

// strayed has the keys be carried by value that commands write which a shard may have
// carried out unknown to the checkpoint, as that has gone to another one.
func (l *Link) strayed(ctx context.Context, now *shards, lanes []LaneProgress, ids []identity, s *standing) error {
	var stray [slot.Count]bool
	found := false
	for _, lane := range lanes {
		if lane.Shard.becomes(ids[now.of[slot.Of([]byte(lane.Key))]]) {
			continue
		}
		found = true
		each(lane.Slots, func(of uint16) { stray[of] = true })
	}
	if !found {
		return nil
	}
	c, err := server.Dial(ctx, l.source.Endpoint, clientName)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	info, err := c.Info(ctx, "replication")
	if err != nil {
		return err
	}
	until := info.Int("master_repl_offset") // nobody was sent anything beyond
	marks := map[uint16]uint16{}
	for of := range stray {
		if !stray[of] {
			continue
		}
		was := s.mark[of]
		i, known := marks[was]
		if !known {
			m := s.had[was]
			m.until = max(m.until, until)
			i = uint16(len(s.had))
			s.had, marks[was] = append(s.had, m), i
		}
		s.mark[of] = i
	}
	return nil
}
