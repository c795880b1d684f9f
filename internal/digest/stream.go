package digest

import "godwit/internal/rdb"

// Flags of a stream's entry (t_stream.c STREAM_ITEM_FLAG_*).
const (
	entryDeleted    = 1
	entrySameFields = 2 // as the node's first entry, so that only values follow
)

// entry is one of a stream, with its names and its values.
func (a *adder) entry(id rdb.StreamID, names, values chain) {
	e := a.next(a.two(isEntry, id.Ms, id.Seq), names.sum)
	a.sum += a.two(isEntry, a.next(e, values.sum), names.count)
}

// chain is texts in their order.
type chain struct{ sum, count uint64 }

func (c *chain) add(h *hasher, text uint64) {
	c.sum = h.next(c.sum, text)
	c.count++
}

// streamState is what counts of a stream beside its entries and groups.
type streamState struct {
	length       uint64
	lastID       rdb.StreamID
	maxDeletedID rdb.StreamID
	entriesAdded uint64
	idmp         rdb.StreamIDMP // zero where there is none
}

func (a *adder) state(s streamState) {
	a.count = s.length
	e := a.next(a.two(isValue, s.lastID.Ms, s.lastID.Seq), s.length)
	if a.counters {
		e = a.next(a.two(isValue, e, s.maxDeletedID.Ms), s.maxDeletedID.Seq)
		e = a.next(e, s.entriesAdded)
	}
	if a.idmp {
		e = a.next(a.two(isValue, e, s.idmp.Duration), s.idmp.MaxSize)
	}
	a.sum += e
}

// group is a consumer group whose pending entries and consumers are being added.
type group struct {
	name        uint64
	lastID      rdb.StreamID
	entriesRead int64
	sum         uint64
}

// pending is an entry that was delivered to one of the consumers.
func (a *adder) pending(g *group, p rdb.PendingEntry) {
	e := a.two(isPending, p.ID.Ms, p.ID.Seq)
	g.sum += a.two(isPending, a.next(e, uint64(p.DeliveredAt)), p.Deliveries)
}

// delivered says to which one.
func (a *adder) delivered(g *group, consumer uint64, id rdb.StreamID) {
	g.sum += a.two(isDelivered, a.next(consumer, id.Ms), id.Seq)
}

// consumer has that many pending entries.
func (a *adder) consumer(g *group, name, pending uint64) {
	if pending > 0 || a.emptyConsumers {
		g.sum += a.two(isConsumer, name, 0)
	}
}

func (a *adder) group(g group) {
	e := a.next(a.two(isGroup, g.name, g.lastID.Ms), g.lastID.Seq)
	if a.entriesRead {
		e = a.next(e, uint64(g.entriesRead))
	}
	a.sum += a.two(isGroup, e, g.sum)
}

// stream reads a value of any of the stream types.
func (d *digester) stream(r *rdb.Reader, t rdb.Type) {
	for n := r.Length(); n > 0 && r.Err() == nil; n-- {
		d.streamNode(r)
	}
	var s streamState
	s.length = r.Length()
	s.lastID = lengthID(r)
	s.entriesAdded = s.length // as rdbLoadObject does
	if t != rdb.TypeStreamListpacks {
		lengthID(r) // the first ID, which is that of the first entry
		s.maxDeletedID = lengthID(r)
		s.entriesAdded = r.Length()
	}
	for n := r.Length(); n > 0 && r.Err() == nil; n-- {
		d.streamGroup(r, t)
	}
	if t == rdb.TypeStreamListpacks4 {
		s.idmp = d.streamIDMP(r)
	}
	d.state(s)
}

// lengthID reads an ID saved as two lengths.
func lengthID(r *rdb.Reader) rdb.StreamID {
	ms := r.Length()
	return rdb.StreamID{Ms: ms, Seq: r.Length()}
}

// streamNode reads a listpack of entries and the ID that theirs count from: how
// many there are, how many of them deleted, the names of the first one's fields,
// and the entries (t_stream.c streamAppendItem).
func (d *digester) streamNode(r *rdb.Reader) {
	master := r.NodeID()
	p := r.Listpack()
	live, deleted := p.Integer(), p.Integer()
	count := p.Integer()
	if count < 0 || count > p.Left() {
		p.Failf("a stream's node with %d fields", count)
	}
	names := d.texts(p, count)
	if end := p.Integer(); end != 0 || live < 0 || deleted < 0 {
		p.Failf("a stream's node is malformed")
	}
	for p.More() {
		if d.streamEntry(p, master, names) {
			live--
		} else {
			deleted--
		}
	}
	p.End()
	if live != 0 || deleted != 0 {
		p.Failf("a stream's node has another number of entries than it says")
	}
}

// texts reads n entries of a node, or as many as there are.
func (d *digester) texts(p *rdb.Pack, n int64) (c chain) {
	for range n {
		t, ok := p.Next()
		if !ok {
			break
		}
		c.add(&d.hasher, d.hash(t))
	}
	return c
}

// streamEntry reads an entry, and tells whether it has not been deleted.
func (d *digester) streamEntry(p *rdb.Pack, master rdb.StreamID, names chain) (live bool) {
	flags := p.Integer()
	id := rdb.StreamID{Ms: master.Ms + uint64(p.Integer())} // a difference, modulo 2⁶⁴
	id.Seq = master.Seq + uint64(p.Integer())
	pieces := int64(3) // of the entry, without the last, which counts them
	var values chain
	if flags&entrySameFields != 0 {
		values = d.texts(p, int64(names.count))
		pieces += int64(names.count)
	} else {
		count := p.Integer()
		if count < 0 || count > p.Left() {
			p.Failf("a stream's entry with %d fields", count)
		}
		names = chain{}
		for range count {
			t, ok := p.Next()
			if !ok {
				break
			}
			names.add(&d.hasher, d.hash(t))
			if t, ok = p.Next(); !ok {
				break
			}
			values.add(&d.hasher, d.hash(t))
		}
		pieces += 1 + 2*count
	}
	if p.Integer() != pieces {
		p.Failf("a stream's entry is malformed")
	}
	if flags&entryDeleted != 0 {
		return false
	}
	d.entry(id, names, values)
	return true
}

func (d *digester) streamGroup(r *rdb.Reader, t rdb.Type) {
	g := group{name: d.hash(r.String()), lastID: lengthID(r), entriesRead: rdb.None}
	if t != rdb.TypeStreamListpacks {
		g.entriesRead = int64(r.Length()) // -1 is saved so
	}
	for n := r.Length(); n > 0 && r.Err() == nil; n-- {
		p := rdb.PendingEntry{ID: r.StreamID()}
		p.DeliveredAt = int64(r.Uint64())
		p.Deliveries = r.Length()
		d.pending(&g, p)
	}
	for n := r.Length(); n > 0 && r.Err() == nil; n-- {
		d.streamConsumer(r, t, &g)
	}
	d.group(g)
}

func (d *digester) streamConsumer(r *rdb.Reader, t rdb.Type, g *group) {
	name := d.hash(r.String())
	r.Uint64() // when it was seen
	if t != rdb.TypeStreamListpacks && t != rdb.TypeStreamListpacks2 {
		r.Uint64() // when it was active
	}
	pending := r.Length()
	for n := pending; n > 0 && r.Err() == nil; n-- {
		d.delivered(g, name, r.StreamID())
	}
	d.consumer(g, name, pending)
}

// streamIDMP reads what a stream remembers of its producers, and returns what
// counts of it.
func (d *digester) streamIDMP(r *rdb.Reader) (m rdb.StreamIDMP) {
	m.Duration, m.MaxSize = r.Length(), r.Length()
	for n := r.Length(); n > 0 && r.Err() == nil; n-- {
		d.hash(r.String()) // the producer
		for ids := r.Length(); ids > 0 && r.Err() == nil; ids-- {
			d.hash(r.String())
			lengthID(r)
		}
	}
	m.Added, m.Duplicates = r.Length(), r.Length()
	return m
}
