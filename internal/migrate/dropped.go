package migrate

import (
	"log/slog"

	"godwit/internal/apply"
	"maps"

	"godwit/internal/command"
	"godwit/internal/rdb"
)

// setDropped notes what was left out for want of it at a side.
func (r *header) setDropped(at Side, d rdb.Dropped) {
	all := maps.Clone(r.Dropped) // what a record points to is not altered in place
	if all == nil {
		all = make(map[Side]rdb.Dropped)
	}
	all[at] = d
	r.Dropped = all
}

// keepCopyDropped notes what the present link has left out of its copy, which no
// restart counts again. m.mu must be held.
func (m *Migration) keepCopyDropped() {
	if m.link == nil {
		return
	}
	at := m.link.from.other()
	d := m.rec.Dropped[at]
	if now := m.link.link.Snapshot().Dropped.Copy; !maps.Equal(d.Copy, now) {
		d.Copy = now
		m.rec.setDropped(at, d)
	}
}

// dropped is what was left out so far, by the present link, or the last one, and
// by those in the other direction. m.mu must be held.
func (m *Migration) dropped(link *linkRun) []DroppedStatus {
	list := []DroppedStatus{}
	for _, e := range []*end{m.target, m.source} {
		d := m.rec.Dropped[e.side]
		if link.from != e.side {
			d = link.link.Snapshot().Dropped
		}
		list = appendDropped(list, e.address(), d)
	}
	return list
}

// appendDropped adds what was left out for want of it at a server.
func appendDropped(list []DroppedStatus, server string, d rdb.Dropped) []DroppedStatus {
	for _, f := range command.Features() {
		if n := d.Of(f); n > 0 {
			list = append(list, DroppedStatus{Feature: string(f), Server: server, Count: n, Copy: d.Copy[f], Stream: d.Stream[f]})
		}
	}
	return list
}

// drops count what an apply engine leaves out, and the way back, by the side that does not
// have it. They go on from what the journal says.
type drops struct {
	sides   map[Side]*apply.Drops
	servers map[Side]string // their addresses
}

func (c *core) newDrops(source, target string) drops {
	d := drops{sides: make(map[Side]*apply.Drops), servers: map[Side]string{Source: source, Target: target}}
	for side, server := range d.servers {
		d.sides[side] = apply.NewDrops(c.head.Dropped[side], func(of string, first rdb.LeftOut) {
			c.event(slog.LevelWarn, first.Say(of, server))
		})
	}
	return d
}

// journal has the record say what was left out by now.
func (d drops) journal(r *header) {
	for side, counts := range d.sides {
		r.setDropped(side, counts.All())
	}
}

// status is what is shown of them.
func (d drops) status() []DroppedStatus {
	list := []DroppedStatus{}
	for _, side := range []Side{Target, Source} {
		list = appendDropped(list, d.servers[side], d.sides[side].All())
	}
	return list
}

// leftOutOfStream are the features that a server has been seen to be without.
func (s Status) leftOutOfStream(address string) []rdb.Feature {
	var features []rdb.Feature
	for _, d := range s.Dropped {
		if d.Server == address && d.Stream > 0 {
			features = append(features, rdb.Feature(d.Feature))
		}
	}
	return features
}
