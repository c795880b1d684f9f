package relay

import (
	"log/slog"
	"sort"
	"sync"

	"godwit/internal/rdb"
)

// drops keeps the counts. A link that goes on from a checkpoint reads the stream
// again from there, so what is left out of the stream waits until the target has
// passed it, and is counted in the checkpoint only then.
type drops struct {
	mu      sync.Mutex
	total   rdb.Dropped
	settled map[rdb.Feature]int64 // of the stream, up to the last checkpoint
	waiting map[rdb.Feature][]waitingDrop
}

// waitingDrop is of commands that end at an offset of the source's or before it.
type waitingDrop struct{ end, count int64 }

// maxWaiting bounds what is remembered of a feature while the target does not
// catch up: then neighbours become one. Should godwit be killed with that many on
// their way, the next run counts too few.
const maxWaiting = 1 << 16

// reset begins with what an earlier link has counted.
func (d *drops) reset(from rdb.Dropped) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total, d.settled = from.Clone(), from.Clone().Stream
	d.waiting = make(map[rdb.Feature][]waitingDrop)
}

// ofCopy counts something that was left out of the snapshot. It tells whether it
// is the first of its feature.
func (d *drops) ofCopy(f rdb.Feature) (first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total.Copy[f]++
	return d.total.Copy[f] == 1
}

// ofStream counts a command that ends at an offset of the source's. It tells
// whether it is the first of its feature.
func (d *drops) ofStream(f rdb.Feature, end int64) (first bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	waiting := d.waiting[f]
	if len(waiting) == maxWaiting {
		for i := range maxWaiting / 2 {
			a, b := waiting[2*i], waiting[2*i+1]
			waiting[i] = waitingDrop{b.end, a.count + b.count}
		}
		waiting = waiting[:maxWaiting/2]
	}
	d.waiting[f] = append(waiting, waitingDrop{end, 1})
	d.total.Stream[f]++
	return d.total.Stream[f] == 1
}

// settle is what was left out up to an offset of the source's, which the target
// has passed.
func (d *drops) settle(offset int64) rdb.Dropped {
	d.mu.Lock()
	defer d.mu.Unlock()
	for f, waiting := range d.waiting {
		n := sort.Search(len(waiting), func(i int) bool { return waiting[i].end > offset })
		for _, w := range waiting[:n] {
			d.settled[f] += w.count
		}
		d.waiting[f] = append(waiting[:0], waiting[n:]...)
	}
	return rdb.Dropped{Copy: d.total.Copy, Stream: d.settled}.Clone()
}

// all is everything that was left out so far.
func (d *drops) all() rdb.Dropped {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.total.Clone()
}

// tellDropped says what was left out first, and that more of it will be.
func (l *Link) tellDropped(of string, left rdb.LeftOut) {
	l.cfg.Notify(slog.LevelWarn, left.Say(of, l.cfg.Target))
}
