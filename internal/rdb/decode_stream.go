package rdb

import "bytes"

// Flags of a stream's entry (t_stream.c STREAM_ITEM_FLAG_*).
const (
	entryDeleted    = 1
	entrySameFields = 2 // as the node's first entry, so that only values follow
)

// stream reads a value of any of the stream types.
func (d *Decoder) stream(t Type) {
	r, s := &d.r, new(Stream)
	for n := r.Length(); n > 0 && r.err == nil; n-- {
		d.streamNode(s)
	}
	s.Length = r.Length()
	s.LastID = r.lengthID()
	if t == TypeStreamListpacks {
		s.EntriesAdded = s.Length // as rdbLoadObject does
	} else {
		s.FirstID, s.MaxDeletedID = r.lengthID(), r.lengthID()
		s.EntriesAdded = r.Length()
	}
	for n := r.Length(); n > 0 && r.err == nil; n-- {
		s.Groups = append(s.Groups, d.streamGroup(t, s))
	}
	if t == TypeStreamListpacks4 {
		s.IDMP = d.streamIDMP()
	}
	if r.err == nil {
		r.Fail(d.h.Stream(s))
	}
}

// streamNode reads a listpack of entries and the ID that theirs count from: how
// many there are, how many of them deleted, the names of the first one's fields,
// and the entries (t_stream.c streamAppendItem). It counts the entries and takes
// down the first one's ID.
func (d *Decoder) streamNode(s *Stream) {
	master := d.r.NodeID()
	p := d.r.Listpack()
	live, deleted := p.Integer(), p.Integer()
	d.names, d.nameBytes = d.names[:0], d.nameBytes[:0]
	for n := count(p); n > 0 && p.in.err == nil; n-- {
		var name []byte
		name, d.nameBytes = entryText(p, d.nameBytes)
		d.names = append(d.names, name)
	}
	if end := p.Integer(); end != 0 || live < 0 || deleted < 0 {
		p.Failf("a stream's node is malformed")
	}
	for p.More() && d.r.err == nil {
		e, isDeleted := d.streamEntry(p)
		if isDeleted {
			deleted--
			continue
		}
		live--
		e.ID = StreamID{Ms: master.Ms + e.ID.Ms, Seq: master.Seq + e.ID.Seq} // modulo 2^64
		if s.Length == 0 {
			s.FirstID = e.ID
		}
		s.Length++
		if d.r.err == nil {
			d.r.Fail(d.h.Entry(e))
		}
	}
	p.End()
	if live != 0 || deleted != 0 {
		p.Failf("a stream's node has another number of entries than it says")
	}
}

// streamEntry reads an entry, whose ID counts from that of its node.
func (d *Decoder) streamEntry(p *Pack) (e StreamEntry, isDeleted bool) {
	flags := p.Integer()
	e.ID.Ms = uint64(p.Integer())
	e.ID.Seq = uint64(p.Integer())
	fields, texts := d.fields[:0], d.fieldBytes[:0]
	pieces := 3 // of the entry, without the last, which counts them
	var name, value []byte
	if flags&entrySameFields != 0 {
		for _, name := range d.names {
			value, texts = entryText(p, texts)
			fields = append(fields, name, value)
		}
		pieces += len(d.names)
	} else {
		for n := count(p); n > 0 && p.in.err == nil; n-- {
			name, texts = entryText(p, texts)
			value, texts = entryText(p, texts)
			fields = append(fields, name, value)
		}
		pieces += 1 + len(fields)
	}
	if p.Integer() != int64(pieces) {
		p.Failf("a stream's entry is malformed")
	}
	d.fields, d.fieldBytes = fields, texts
	e.Fields = fields
	return e, flags&entryDeleted != 0
}

// count reads a number of things, each of which takes at least one entry.
func count(p *Pack) int64 {
	n := p.Integer()
	if n < 0 || n > p.Left() {
		p.Failf("a stream's node or entry with %d fields", n)
	}
	return n
}

// entryText reads a text that stays valid while more is read. If it is in no
// buffer that stays, it is appended to texts, which are returned.
func entryText(p *Pack, texts []byte) (text, all []byte) {
	t, ok := p.Next()
	switch {
	case !ok:
		p.Failf("a stream's node is malformed")
		return nil, texts
	case p.in.src == nil && !t.IsInt && !t.Large():
		return t.Bytes, texts
	}
	start := len(texts)
	texts = appendText(texts, t)
	return texts[start:], texts
}

func (d *Decoder) streamGroup(t Type, s *Stream) (g StreamGroup) {
	r := &d.r
	g.Name = d.name()
	g.LastID = r.lengthID()
	if t == TypeStreamListpacks {
		g.EntriesRead = s.estimateEntriesRead(g.LastID)
	} else {
		g.EntriesRead = int64(r.Length()) // -1 is saved so
	}
	for n := r.Length(); n > 0 && r.err == nil; n-- {
		g.Pending = append(g.Pending, PendingEntry{
			ID: r.StreamID(), DeliveredAt: int64(r.Uint64()), Deliveries: r.Length(),
		})
	}
	for n := r.Length(); n > 0 && r.err == nil; n-- {
		g.Consumers = append(g.Consumers, d.consumer(t))
	}
	return g
}

// name reads a string that is kept.
func (d *Decoder) name() []byte { return bytes.Clone(d.string(0)) }

func (d *Decoder) consumer(t Type) (c StreamConsumer) {
	r := &d.r
	c.Name = d.name()
	c.SeenAt = int64(r.Uint64())
	c.ActiveAt = c.SeenAt // the best estimate, as in rdbLoadObject
	if t != TypeStreamListpacks && t != TypeStreamListpacks2 {
		c.ActiveAt = int64(r.Uint64())
	}
	for n := r.Length(); n > 0 && r.err == nil; n-- {
		c.Pending = append(c.Pending, r.StreamID())
	}
	return c
}

func (d *Decoder) streamIDMP() *StreamIDMP {
	r := &d.r
	m := &StreamIDMP{Duration: r.Length(), MaxSize: r.Length()}
	for n := r.Length(); n > 0 && r.err == nil; n-- {
		p := StreamProducer{Name: d.name()}
		for n := r.Length(); n > 0 && r.err == nil; n-- {
			p.IDs = append(p.IDs, ProducedID{ID: d.name(), Entry: r.lengthID()})
		}
		m.Producers = append(m.Producers, p)
	}
	m.Added, m.Duplicates = r.Length(), r.Length()
	return m
}

// estimateEntriesRead is what a server takes for a group's entries read where
// they are not saved (t_stream.c streamEstimateDistanceFromFirstEverEntry).
func (s *Stream) estimateEntriesRead(id StreamID) int64 {
	added, length := int64(s.EntriesAdded), int64(s.Length)
	fromLast, fromFirst := id.Compare(s.LastID), id.Compare(s.FirstID)
	switch {
	case added == 0:
		return 0
	case length == 0 && fromLast <= 0, fromLast == 0:
		return added
	case fromLast > 0:
		return None
	case s.MaxDeletedID != StreamID{} && s.MaxDeletedID.Compare(s.FirstID) >= 0:
		return None
	case fromFirst < 0:
		return added - length
	case fromFirst == 0:
		return added - length + 1
	default:
		return None
	}
}
