package apply

import (
	"context"
	"fmt"
	"strings"
	"time"
)

const (
	// drainInterval is how often it is looked whether the replica has come far enough.
	drainInterval = 500 * time.Microsecond
	// countPatience is how long a replica may seem to have another number of transactions
	// than it was sent: it may have been started again, which is noticed soon.
	countPatience = 3 * time.Second
)

// Drain waits until the replica has everything that the shards have said up to these
// places, or, if there are none, up to where they stand now. Then it has carried out
// every transaction that it was sent. The writers must be stopped for it to be all there
// is. A shard whose history has parted from that of its place never comes there.
func (f *Feed) Drain(ctx context.Context, to []ShardStand) error {
	f.waiting.Add(1)
	defer f.waiting.Add(-1)
	if to == nil {
		var err error
		if to, err = f.places(ctx); err != nil {
			return err
		}
	}
	again := time.NewTicker(drainInterval)
	defer again.Stop()
	var miscounted time.Time
	for {
		if s := f.reached(to); s != nil {
			whole, err := f.whole(ctx, s)
			switch {
			case err != nil && !unanswered(err):
				return err
			case whole:
				return nil
			case miscounted.IsZero():
				miscounted = time.Now()
			case time.Since(miscounted) > countPatience:
				return &WayBackLostError{Replica: f.cfg.Replica.Address, Reason: "it has not carried out every transaction that it was sent: its log says which command it refused"}
			}
		} else {
			miscounted = time.Time{}
		}
		select {
		case <-again.C:
		case <-f.done:
			return f.failure()
		case <-ctx.Done():
			return fmt.Errorf("the replica has not got everything: %+v: %w", f.View(), ctx.Err())
		}
	}
}

// reached is the session in which the replica has come to places of the shards; nil if it
// has not. An offset says that only in the history of the shard that it is of.
func (f *Feed) reached(to []ShardStand) *session {
	f.mu.Lock()
	s := f.session
	f.mu.Unlock()
	if s == nil || !s.live.Load() {
		return nil
	}
	links := f.all()
	found := 0
	for _, at := range to {
		for _, l := range links {
			if l.name == at.Shard && strings.EqualFold(l.in.history(), at.ReplID) && l.reached() >= at.Offset {
				found++
			}
		}
	}
	if found != len(links) || found != len(to) || found == 0 {
		return nil
	}
	return s
}

// whole sees that the replica has counted as many transactions as it has been sent: it
// says nothing of one that it refuses.
func (f *Feed) whole(ctx context.Context, s *session) (bool, error) {
	least := s.confirmed()
	p, err := f.readCheckpoint(ctx)
	if err != nil || p == nil {
		return false, err
	}
	return p.count >= least && p.count <= s.begun.Load() && s.live.Load(), nil
}
