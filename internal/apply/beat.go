package apply

import (
	"context"
	"time"
)

// idle sends what was gathered: there is no more to come for the moment. A lane that was
// last given what does not count has its checkpoint moved on: nobody could tell
// otherwise, until the source says something again, that the shard has it.
func (d *dispatcher) idle(ctx context.Context) error {
	for _, l := range d.lanes {
		to := l.next
		if l.now != nil {
			to = l.now.to
		}
		if !d.inside && to.at < l.given.Load() {
			if err := l.add(ctx, 0, nil, d.db, d.offset, 0, false); err != nil {
				return err
			}
		}
		l.flush()
	}
	return nil
}

const (
	// beatBytes and beatTime are how far, and for how long, a checkpoint stays behind
	// the stream of which nothing is for its shard.
	beatBytes = 1 << 20
	beatTime  = time.Second
)

// beat moves the checkpoints on of shards that the stream had nothing for.
func (d *dispatcher) beat(ctx context.Context) error {
	if d.inside {
		return nil
	}
	due := time.Since(d.beaten) > beatTime
	if due {
		d.beaten = time.Now()
	}
	for _, l := range d.lanes {
		if behind := d.offset - l.given.Load(); behind > beatBytes || due && behind > 0 {
			l.give(d.offset)
			if err := l.add(ctx, 0, nil, d.db, d.offset, 0, false); err != nil {
				return err
			}
		}
		if due || len(l.leads) > forgottenAtOnce {
			if err := d.forgetLeads(ctx, l); err != nil {
				return err
			}
		}
	}
	return nil
}
