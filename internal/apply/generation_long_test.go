//go:build fault

package apply

import (
	"context"
	"errors"
	"slices"
	"testing"

	"godwit/internal/load"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

// Ended between a generation's being saved and its checkpoints, which slots that move on
// do as well as a kill, an engine goes on with all that it knew: keys that were carried by
// value do not get the commands once more that they have the effect of.
func TestEndedBeforeAGenerationBegins(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--repl-backlog-size 64mb"}})
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	var m memory
	c := configure(t, source, target)
	l := begin(t, load.Config{Endpoints: []server.Endpoint{source.Endpoint()}, Mix: load.AnySlots, Rate: 4000})
	ahead := 0
	for i := range uint16(6) {
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
		loaded := m.load(t, c)
		loaded.Save = func(p Progress) error {
			err := m.save(p)
			if slices.ContainsFunc(p.Sources, func(s SourceProgress) bool { return s.Generation > 1 && !s.Begun }) {
				ahead += len(p.Sources[0].Ahead)
				cancel()
				return context.Canceled
			}
			return err
		}
		e := New(loaded)
		ended := make(chan error, 1)
		go func() { ended <- e.Run(ctx) }()
		until(t, func() (bool, string) { return e.View()[0].State == Streaming, "not streaming" })
		if err := target.Move(t.Context(), sandbox.SlotRange{First: i, Last: i}, 2, sandbox.MoveOptions{}); err != nil {
			t.Error(err)
			cancel()
		}
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the engine ended: %v", err)
		}
		cancel()
	}
	e := New(m.load(t, c))
	run(t, e)
	l.Stop()
	caughtUp(t, e, source)
	renewed(t, e)
	t.Log(same(t, source, target, nil), "keys;", ahead, "were ahead")
	if ahead == 0 {
		t.Error("no key was ahead")
	}
	found(t, l, target.Endpoints()...)
}
