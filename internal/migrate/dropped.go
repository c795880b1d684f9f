package migrate

import (
	"maps"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/relay"
)

// setDropped notes what was left out for want of it at a side.
func (r *record) setDropped(at Side, d relay.Dropped) {
	all := maps.Clone(r.Dropped) // what a record points to is not altered in place
	if all == nil {
		all = make(map[Side]relay.Dropped)
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
		for _, f := range command.Features() {
			if n := d.Of(f); n > 0 {
				list = append(list, DroppedStatus{Feature: string(f), Server: e.address(), Count: n, Copy: d.Copy[f], Stream: d.Stream[f]})
			}
		}
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
