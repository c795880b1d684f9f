package verify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/hold"
	"godwit/internal/psync"
)

// attached are the snapshots of one look that servers have begun.
type attached struct{ source, target []*incoming }

func (a *attached) close() {
	for _, list := range [][]*incoming{a.source, a.target} {
		for _, in := range list {
			if in != nil {
				in.close()
			}
		}
	}
}

// attach has every shard of both sides begin a snapshot, at the same offset if the
// target is fed. The forks have been taken when it returns; nothing has been read.
func (r *run) attach(ctx context.Context, l *look) (*attached, error) {
	if err := r.quiet(ctx); err != nil {
		return nil, err
	}
	if r.cfg.Feeds != nil {
		return r.attachAligned(ctx, l)
	}
	return r.attachApart(ctx)
}

// quiet waits until no server writes a snapshot or rewrites its AOF: each would put
// ours off to its end, and one of another replica's would be given to us as it was
// at its beginning.
func (r *run) quiet(ctx context.Context) error {
	for _, s := range []*side{r.source, r.target} {
		for _, shard := range s.shards {
			if err := shard.quiet(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *shard) quiet(ctx context.Context) error {
	for wait := 20 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		info, err := s.client.Info(ctx, "persistence")
		if err != nil {
			return fmt.Errorf("the %s: %w", s.side.role, err)
		}
		if info.Int("rdb_bgsave_in_progress") == 0 && info.Int("aof_rewrite_in_progress") == 0 && info.Int("module_fork_in_progress") == 0 {
			return nil
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

// attachApart attaches to all shards at the same time.
func (r *run) attachApart(ctx context.Context) (*attached, error) {
	a := &attached{make([]*incoming, len(r.source.shards)), make([]*incoming, len(r.target.shards))}
	group, ctx := errgroup.WithContext(ctx)
	always := func(*shard) bool { return true }
	group.Go(func() error { return askAll(ctx, r.source.shards, a.source, always) })
	group.Go(func() error { return askAll(ctx, r.target.shards, a.target, always) })
	if err := group.Wait(); err != nil {
		a.close()
		return nil, err
	}
	return a, nil
}

const (
	// stopLimit is for how long the target may take to come to the source's offset.
	stopLimit = 30 * time.Second
	// holdLimit is for how long its feed is held for the answer of a server that is to
	// begin its snapshot: for its own, and for those of the source's other shards.
	holdLimit = 3 * time.Second
)

// attachAligned has every shard of the target begin its snapshot while all that it
// has of each of the source's is what was there at the offset of that one's snapshot.
// The feeds are held for as long as that takes, no longer.
func (r *run) attachAligned(ctx context.Context, l *look) (_ *attached, err error) {
	a := &attached{make([]*incoming, len(r.source.shards)), make([]*incoming, len(r.target.shards))}
	all := make([]int, len(r.source.shards))
	for i := range all {
		all[i] = i
	}
	held, err := r.trail(ctx, all)
	if err != nil {
		return nil, notHeld(ctx, err)
	}
	defer func() {
		held.release()
		if err != nil {
			a.close()
		}
	}()
	stands, err := r.stopAll(ctx, held, a.source)
	if err != nil {
		return nil, err
	}
	soon, cancel := context.WithTimeout(ctx, holdLimit)
	defer cancel()
	if err := askAll(soon, r.target.shards, a.target, (*shard).disklessAtOnce); err != nil {
		return nil, notBegun(ctx, soon, r.target, err)
	}
	if err := held.err(); err != nil {
		return nil, notHeld(ctx, err)
	}
	if to, stand := a.target[0], stands[0]; stand.ReplID != "" && (to.answer.ReplID != stand.ReplID || to.answer.Offset != stand.Offset) {
		return nil, &passingError{
			fmt.Errorf("the target %s began its snapshot at %s %d, and stood at %s %d", to.shard.address(), to.answer.ReplID, to.answer.Offset, stand.ReplID, stand.Offset),
			"it has another primary than godwit, or takes its snapshots for others too",
		}
	}
	l.aligned = true
	for _, stand := range stands {
		l.ahead = append(l.ahead, r.ahead(stand.Ahead))
	}
	if len(a.source) == 1 {
		l.replid, l.offset = a.source[0].answer.ReplID, a.source[0].answer.Offset
	}
	return a, nil
}

// askAll has shards begin their snapshots at the same time; eof as in ask.
func askAll(ctx context.Context, shards []*shard, into []*incoming, eof func(*shard) bool) error {
	group, ctx := errgroup.WithContext(ctx)
	for i, shard := range shards {
		group.Go(func() (err error) {
			into[i], err = shard.ask(ctx, eof(shard))
			return err
		})
	}
	return group.Wait()
}

// stopAll has the source's shards begin their snapshots, and stops each feed where that
// of its shard was taken, as soon as that is known.
func (r *run) stopAll(ctx context.Context, held *trailed, into []*incoming) ([]hold.Stand, error) {
	eof := func(*shard) bool { return true }
	stands := make([]hold.Stand, len(held.holds))
	group, within := errgroup.WithContext(ctx)
	soon := within
	if len(held.holds) > 1 { // while one is waited for the others are held
		eof = (*shard).disklessAtOnce
		var cancel context.CancelFunc
		soon, cancel = context.WithTimeout(within, holdLimit)
		defer cancel()
	}
	for i, shard := range r.source.shards {
		group.Go(func() (err error) {
			if into[i], err = shard.ask(soon, eof(shard)); err != nil {
				return notBegun(within, soon, r.source, err)
			}
			if stands[i], err = stop(within, held.holds[i], into[i].answer.Offset); err != nil {
				return notStopped(within, err)
			}
			return nil
		})
	}
	return stands, group.Wait()
}

func stop(ctx context.Context, h Hold, offset int64) (hold.Stand, error) {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	return h.Stop(ctx, offset)
}

// notBegun says why a side has not begun its snapshots in the time that ctx was given as
// soon.
func notBegun(ctx, soon context.Context, s *side, err error) error {
	if soon.Err() == nil || ctx.Err() != nil {
		return err
	}
	return &passingError{
		fmt.Errorf("the %s did not begin a snapshot within %v: %w", s.role, holdLimit, err),
		"something keeps it from forking at once: a BGSAVE or a rewrite of its AOF, or its repl-diskless-sync-delay; or use --method scan",
	}
}

// notStopped says why the target is not where the source's snapshot was taken.
func notStopped(ctx context.Context, err error) error {
	var passed *hold.PassedError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &passed):
		return &passingError{err, "the source's answers come later than its stream: compare when it is less busy, or use --method scan"}
	case errors.Is(err, context.DeadlineExceeded):
		return &passingError{fmt.Errorf("the target was not at the source's offset within %v", stopLimit), "wait until the target has caught up"}
	}
	return notHeld(ctx, err)
}

// notHeld says that the feed, broken for a moment or for long, cannot be held.
func notHeld(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &passingError{fmt.Errorf("holding the target's feed: %w", err), "see that the migration follows (`godwit status`)"}
}

// ask has the shard begin a snapshot on a connection of its own. eof lets it send
// that without writing it to its disk.
func (s *shard) ask(ctx context.Context, eof bool) (*incoming, error) {
	conn, err := s.node.Endpoint.DialConn(ctx)
	if err != nil {
		return nil, s.lost(ctx, err)
	}
	v := s.node.Version
	stream, answer, err := psync.Attach(ctx, conn, psync.Hello{
		Username: s.node.Endpoint.Username, Password: s.node.Endpoint.Password, EOF: eof, PSYNC2: true, RDBOnly: true,
		Version: fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch), // for Valkey to send the format that it writes itself
	}, "?", psync.NoOffset, nil)
	if err != nil {
		_ = conn.Close() // the handshake's error is the one that tells
		return nil, s.refused(ctx, err)
	}
	in := &incoming{s, stream, answer}
	if !answer.Full {
		in.close()
		return nil, fmt.Errorf("the %s %s: PSYNC ? -1 was not answered with a full resync", s.side.role, s.address())
	}
	return in, nil
}

func (s *shard) address() string { return s.node.Endpoint.Address }

// disklessAtOnce tells whether the shard begins a diskless snapshot as soon as it is
// asked for one. One to its disk it always does (replication.c syncCommand).
func (s *shard) disklessAtOnce() bool {
	delay, known := s.node.Settings.Int("repl-diskless-sync-delay")
	return known && delay == 0
}

// time is the shard's clock, or ours where it does not tell, in milliseconds since 1970.
func (s *shard) time(ctx context.Context) int64 {
	now, err := s.client.Redis().Time(ctx).Result()
	if err != nil {
		return time.Now().UnixMilli()
	}
	return now.UnixMilli()
}
