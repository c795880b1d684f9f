package migrate

import (
	"context"

	"golang.org/x/sync/errgroup"

	"godwit/internal/apply"
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
