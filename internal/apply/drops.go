package apply

import (
	"sync"

	"godwit/internal/rdb"
)

// Drops counts what a target is not given because it has no equal, as --drop allows. It is
// safe for concurrent use, and nil counts nothing. A command that is read again, because no
// checkpoint is behind it, is counted again.
type Drops struct {
	tell func(of string, first rdb.LeftOut)

	mu    sync.Mutex
	total rdb.Dropped // guarded by mu
}

// NewDrops begins with what was counted before. tell is called of the first of each
// feature that is left out of a copy, or of the stream.
func NewDrops(from rdb.Dropped, tell func(of string, first rdb.LeftOut)) *Drops {
	return &Drops{tell: tell, total: from.Clone()}
}

// All is everything that was left out so far.
func (d *Drops) All() rdb.Dropped {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.total.Clone()
}

// begin is called when a copy begins.
func (d *Drops) begin() {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.total = rdb.Dropped{}.Clone()
}

// ofCopy counts a key, or what else a snapshot has.
func (d *Drops) ofCopy(left rdb.LeftOut) {
	if d != nil {
		d.count("the copy", left, func(t rdb.Dropped) map[rdb.Feature]int64 { return t.Copy })
	}
}

// ofStream counts a command, or a key that was carried by value.
func (d *Drops) ofStream(left rdb.LeftOut) {
	if d != nil {
		d.count("the stream", left, func(t rdb.Dropped) map[rdb.Feature]int64 { return t.Stream })
	}
}

func (d *Drops) count(of string, left rdb.LeftOut, counts func(rdb.Dropped) map[rdb.Feature]int64) {
	d.mu.Lock()
	n := counts(d.total)
	n[left.Feature]++
	first := n[left.Feature] == 1
	d.mu.Unlock()
	if first && d.tell != nil {
		d.tell(of, left)
	}
}
