package relay

import (
	"sort"
	"sync"
)

// offsets relates the source's count of its stream to the target's, which
// differs once an edit has made the stream longer. A pair of offsets is of bytes
// that end together: what ends at one in the source's stream ends at the other
// in what the target got.
type offsets struct {
	mu sync.Mutex
	// base is the newest place that the target is known to have passed, between
	// two commands and outside of any transaction; marks are the stretches after
	// it within which there is none, or the difference or the db changed, in order.
	base  place
	marks []mark
}

// maxMarks bounds what is remembered while the target does not catch up: then
// neighbours become one, and where the target stands is known less exactly
// until it has come to where they end.
const maxMarks = 8192

type pair struct{ source, target int64 }

// place is a pair and the db that is selected there: whoever goes on from it is
// sent no SELECT before the next change.
type place struct {
	pair
	db int
}

// mark is a command, or several up to the last of them, that became others in
// the target's stream, or that selected a db.
type mark struct {
	before pair
	after  place
}

// reset begins anew where both have counted to these, in that db.
func (o *offsets) reset(source, target int64, db int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.base, o.marks = place{pair{source, target}, db}, nil
}

// changed notes that the size bytes after source, one command, became length
// bytes, after which db is selected. It may be several commands now, so until the
// target has all of them it stands nowhere in the source's stream.
func (o *offsets) changed(source int64, size, length, db int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.marks) == maxMarks {
		for i := range maxMarks / 2 {
			o.marks[i] = mark{o.marks[2*i].before, o.marks[2*i+1].after}
		}
		o.marks = o.marks[:maxMarks/2]
	}
	before := pair{source, o.last().target + source - o.last().source}
	after := pair{before.source + int64(size), before.target + int64(length)}
	o.marks = append(o.marks, mark{before, place{after, db}})
}

// last is the newest place. o.mu must be held.
func (o *offsets) last() place {
	if n := len(o.marks); n > 0 {
		return o.marks[n-1].after
	}
	return o.base
}

// toTarget is where the target stands that has all up to source, which must not
// lie before the base. Within a mark it is the place before it.
func (o *offsets) toTarget(source int64) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := sort.Search(len(o.marks), func(i int) bool { return o.marks[i].before.source >= source })
	if i == 0 {
		return o.base.target + source - o.base.source
	}
	m := o.marks[i-1]
	if source < m.after.source {
		return m.before.target
	}
	return m.after.target + source - m.after.source
}

// toSource is how much of the source's stream a target has that stands at
// target: of a mark nothing before all of it.
func (o *offsets) toSource(target int64) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	i := sort.Search(len(o.marks), func(i int) bool { return o.marks[i].before.target >= target })
	if i == 0 {
		return o.base.source + target - o.base.target
	}
	m := o.marks[i-1]
	if target < m.after.target {
		return m.before.source
	}
	return m.after.source + target - m.after.target
}

// passed notes that the target has applied everything up to target, which is
// outside of any transaction: a replica counts one as a whole. Within a mark it
// is not known which place of the source's that is.
func (o *offsets) passed(target int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := sort.Search(len(o.marks), func(i int) bool { return o.marks[i].after.target > target })
	if n < len(o.marks) && o.marks[n].before.target < target {
		return
	}
	last := o.base
	if n > 0 {
		last = o.marks[n-1].after
	}
	o.base = place{pair{last.source + target - last.target, target}, last.db}
	o.marks = append(o.marks[:0], o.marks[n:]...)
}

// checkpoint is the place from which the rest can be found again.
func (o *offsets) checkpoint() place {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.base
}
