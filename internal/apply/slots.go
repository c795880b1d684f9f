package apply

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"godwit/internal/command"
	"godwit/internal/hold"
	"godwit/internal/slot"
	"godwit/internal/topology"
)

// slotTable says from which link the commands of each slot are taken, where the source
// is a cluster.
//
// Each shard's stream has an order of its own only. A slot that changes its shard is in
// two streams, and which of two commands came first nobody can tell: a DEL may be the
// old owner's part of a MIGRATE, whose RESTORE the new owner's stream may have had
// already. So a slot has one link, whose commands are carried, or it is unsettled, and
// nobody's are. It becomes unsettled when a link meets a command on a slot that is
// another's, and when the map of the cluster says anything else than the table. Then,
// once all that links had taken of it has been carried out, what its owner has of it by
// now is carried by value, as a whole (carrySlots), and from there on the owner's
// commands.
//
// That is exact whatever the map said, and however late: as long as the table and the
// cluster agree in the end, the target has what the owner has. It is saved before it is
// acted upon.
type slotTable struct {
	owner [slot.Count]atomic.Int32 // index of a link, or unsettled
	// until is the offset in the owner's stream at which the slot had been carried by
	// value: keys that commands up to there write are carried by value, too, as these may
	// or may not have been in what was carried.
	until [slot.Count]atomic.Int64
	open  atomic.Int32 // slots that are unsettled

	mu   sync.Mutex // who changes it
	save func([]SlotsOf) error
	wake chan struct{} // something has become unsettled
}

// unsettled is the owner of a slot whose commands are not carried.
const unsettled = -1

// newSlotTable is one in which every slot is unsettled, unless was says otherwise.
func newSlotTable(was []SlotsOf, save func([]SlotsOf) error) *slotTable {
	t := &slotTable{save: save, wake: make(chan struct{}, 1)}
	for of := range t.owner {
		t.owner[of].Store(unsettled)
	}
	for _, s := range was {
		each(s.Slots, func(of uint16) {
			t.owner[of].Store(int32(s.Source))
			t.until[of].Store(s.Until)
		})
	}
	t.count()
	return t
}

func (t *slotTable) count() {
	open := int32(0)
	for of := range t.owner {
		if t.owner[of].Load() == unsettled {
			open++
		}
	}
	t.open.Store(open)
}

// present is what is to be saved of it. The caller holds mu, or is the only one.
func (t *slotTable) present() []SlotsOf {
	type kind struct {
		owner int32
		until int64
	}
	of := func(i uint16) kind {
		k := kind{t.owner[i].Load(), t.until[i].Load()}
		if k.owner == unsettled {
			k.until = 0
		}
		return k
	}
	var kinds []kind
	ranges := map[kind][]topology.SlotRange{}
	for i := range uint16(slot.Count) {
		k := of(i)
		r, known := ranges[k]
		switch last := len(r) - 1; {
		case known && r[last].Last+1 == i:
			r[last].Last = i
		default:
			if !known {
				kinds = append(kinds, k)
			}
			ranges[k] = append(r, topology.SlotRange{First: i, Last: i})
		}
	}
	all := make([]SlotsOf, 0, len(kinds))
	for _, k := range kinds {
		all = append(all, SlotsOf{Slots: ranges[k], Source: int(k.owner), Until: k.until})
	}
	return all
}

// unsettle has nobody's commands on the slots that f names be carried from now on, and
// tells how many of these were settled.
func (t *slotTable) unsettle(f func(of uint16) bool) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.change(f, unsettled, 0)
}

// settle has the commands on slots that are unsettled be carried from a link's stream:
// what it had at the offset until has been carried by value.
func (t *slotTable) settle(slots []uint16, link int, until int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_, err := t.change(func(of uint16) bool {
		_, in := slices.BinarySearch(slots, of)
		return in
	}, int32(link), until)
	return err
}

// change saves first, and lets others see it then.
func (t *slotTable) change(f func(of uint16) bool, owner int32, until int64) (int, error) {
	next := &slotTable{}
	n := 0
	for i := range uint16(slot.Count) {
		o, u := t.owner[i].Load(), t.until[i].Load()
		if o != owner && f(i) {
			o, u = owner, until
			n++
		}
		next.owner[i].Store(o)
		next.until[i].Store(u)
	}
	if n == 0 {
		return 0, nil
	}
	if err := t.save(next.present()); err != nil {
		return 0, err
	}
	for i := range t.owner {
		// A dispatcher that finds itself the owner must find until as well.
		t.until[i].Store(next.until[i].Load())
		t.owner[i].Store(next.owner[i].Load())
	}
	t.count()
	if owner == unsettled {
		signal(t.wake)
	}
	return n, nil
}

// signal wakes one that waits, or will.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// of are the slots whose commands are taken from a link, or that are unsettled.
func (t *slotTable) of(owner int) []uint16 {
	var slots []uint16
	for i := range t.owner {
		if int(t.owner[i].Load()) == owner {
			slots = append(slots, uint16(i))
		}
	}
	return slots
}

// takes tells whether a command on a slot is to be carried from this source's stream.
func (d *dispatcher) takes(of uint16) (bool, error) {
	if d.slots == nil {
		return true, nil
	}
	switch int(d.slots.owner[of].Load()) {
	case d.link.index:
		return true, nil
	case unsettled:
		d.hold()
		return false, nil
	}
	return false, d.unsettle(func(i uint16) bool { return i == of })
}

// unsettle does so because of the command at hand.
func (d *dispatcher) unsettle(f func(of uint16) bool) error {
	n, err := d.slots.unsettle(f)
	d.hold()
	if n > 0 {
		d.log.Debug("slots are unsettled", "source", d.source.Address, "slots", n, "offset", d.offset)
	}
	return err
}

// hold has no more be acknowledged as long as a slot is unsettled. Neither does the target
// have what the source had at an offset any more at which it is to be stopped.
func (d *dispatcher) hold() {
	d.held.CompareAndSwap(0, d.offset)
	if h := d.link.gate.hold.Load(); h != nil {
		h.end(&hold.BrokenError{Reason: "slots of the source are on the move"})
	}
}

// anew tells of a slot that the commands at hand may or may not be in what was carried of
// it by value.
func (d *dispatcher) anew(of uint16) bool {
	return d.slots != nil && d.end <= d.slots.until[of].Load()
}

// ofSlots handles a command about all keys of slots. What a shard of a cluster does to
// slots that it gives away, or takes over, is not done at the target: they are carried by
// value once that has ended.
func (d *dispatcher) ofSlots(placing command.Placing, of uint16, args [][]byte) error {
	if d.slots == nil {
		return fmt.Errorf("%s (%v) is not expected of a server that is of no cluster", args[0], placing)
	}
	if placing == command.WholeSlot {
		return d.unsettle(func(i uint16) bool { return i == of && int(d.slots.owner[i].Load()) == d.link.index })
	}
	move, err := d.placer.Move(args)
	if err != nil || move.Event == command.MoveDeletes || move.Event == command.MoveGoesOn {
		return err // what it deletes is not its own any more
	}
	moves := func(i uint16) bool {
		return slices.ContainsFunc(move.Slots, func(r command.Range) bool { return r.First <= i && i <= r.Last })
	}
	if d.route.Maps() && !d.oneDB {
		// Valkey 9.1 passes on what it imports with the SELECTs of the shard that it is from,
		// and none of its own after that: which db a command is of, its own replicas take
		// wrongly, too. So nothing of this shard is carried from here on, and once the import
		// has ended all of it is carried by value.
		if move.Event == command.MoveBegins {
			d.link.imports.Add(1)
		}
		d.selection, d.stirred = selects(d.route, unknownDB), false
		mine := int32(d.link.index)
		return d.unsettle(func(i uint16) bool { return d.slots.owner[i].Load() == mine || moves(i) })
	}
	return d.unsettle(moves)
}

// unsettle has slots be carried by value once more whose commands this link carries.
func (l *Link) unsettle(slots []topology.SlotRange) error {
	_, err := l.slots.unsettle(func(of uint16) bool {
		return int(l.slots.owner[of].Load()) == l.index &&
			slices.ContainsFunc(slots, func(r topology.SlotRange) bool { return r.Contains(of) })
	})
	return err
}
