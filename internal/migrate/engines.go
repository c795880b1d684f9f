package migrate

import (
	"context"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/apply"
	"godwit/internal/hold"
)

// engines carry from one side to the other: one does, or one for each of the servers that
// the other side is. Each of them reads all of the first side then, and leaves out what is
// not its server's.
type engines []engineTo

// engineTo is one that writes to a server, or to a cluster, of an address.
type engineTo struct {
	*apply.Engine
	to string
}

// linkView is a link of one of them.
type linkView struct {
	apply.View
	to string
}

// run carries until ctx is done, or until one of them cannot go on.
func (all engines) run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, e := range all {
		group.Go(func() error { return e.Run(ctx) })
	}
	return group.Wait()
}

func (all engines) views() []linkView {
	var views []linkView
	for _, e := range all {
		for _, v := range e.View() {
			views = append(views, linkView{v, e.to})
		}
	}
	return views
}

// each has something done by all of them at once.
func (all engines) each(ctx context.Context, do func(context.Context, *apply.Engine) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, e := range all {
		group.Go(func() error { return do(ctx, e.Engine) })
	}
	return group.Wait()
}

// join is that of package apply: with an error it has ended.
func (all engines) join(lifetime context.Context) error {
	var group errgroup.Group
	for _, e := range all {
		group.Go(func() error { return e.Join(lifetime) })
	}
	err := group.Wait()
	if err != nil {
		all.leave()
	}
	return err
}

func (all engines) leave() {
	for _, e := range all {
		e.Leave()
	}
}

func (all engines) acknowledge() {
	for _, e := range all {
		e.Acknowledge()
	}
}

func (all engines) confirm(ctx context.Context) error {
	return all.each(ctx, func(ctx context.Context, e *apply.Engine) error { return e.Confirm(ctx) })
}

func (all engines) settled(ctx context.Context) error {
	return all.each(ctx, settled)
}

// stood is how far each has come, where nobody writes.
func (all engines) stood(ctx context.Context) ([]apply.Progress, error) {
	progress := make([]apply.Progress, len(all))
	group, ctx := errgroup.WithContext(ctx)
	for i, e := range all {
		group.Go(func() (err error) {
			progress[i], err = e.Stood(ctx)
			return err
		})
	}
	return progress, group.Wait()
}

// refuted is what says that clients have not divided their keys by the rule, nil for nothing.
func (all engines) refuted() *apply.Refutation {
	for _, e := range all {
		if r := e.Refuted(); r != nil {
			return r
		}
	}
	return nil
}

// trailFrom is TrailFrom of all of them, or of none.
func (all engines) trailFrom(from string, delay time.Duration) (holds, error) {
	var held holds
	for _, e := range all {
		h, err := e.TrailFrom(from, delay)
		if err != nil {
			held.Release()
			return nil, err
		}
		held = append(held, h)
	}
	return held, nil
}

// holds are those of the engines that read one primary, which stop at the same offset of it.
// There is at least one.
type holds []*apply.Hold

// Stop is that of verify.Hold. What one of them has read by value is of its own server.
func (all holds) Stop(ctx context.Context, offset int64) (hold.Stand, error) {
	stands := make([]hold.Stand, len(all))
	group, ctx := errgroup.WithContext(ctx)
	for i, h := range all {
		group.Go(func() (err error) {
			stands[i], err = h.Stop(ctx, offset)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return hold.Stand{}, err
	}
	stand := stands[0]
	for _, s := range stands[1:] {
		stand.Ahead = slices.Concat(stand.Ahead, s.Ahead)
	}
	return stand, nil
}

// Err is that of verify.Hold: one that has ended is enough.
func (all holds) Err() error {
	for _, h := range all {
		if err := h.Err(); err != nil {
			return err
		}
	}
	return nil
}

// ended tells whether nothing is held any more.
func (all holds) ended() bool {
	for _, h := range all {
		if h.Err() == nil {
			return false
		}
	}
	return true
}

// Held is that of verify.Hold.
func (all holds) Held() (longest time.Duration) {
	for _, h := range all {
		longest = max(longest, h.Held())
	}
	return longest
}

// Release is that of verify.Hold.
func (all holds) Release() {
	for _, h := range all {
		h.Release()
	}
}

// unlock is apply.Hold.Unlock of all of them, or of none.
func (all holds) unlock() (lock func(), err error) {
	var locks []func()
	lock = func() {
		for _, l := range locks {
			l()
		}
	}
	for _, h := range all {
		l, err := h.Unlock()
		if err != nil {
			lock()
			return nil, err
		}
		locks = append(locks, l)
	}
	return lock, nil
}
