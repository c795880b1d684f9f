package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strconv"
)

// Flags of a stream's entry (t_stream.c STREAM_ITEM_FLAG_*).
const (
	entryDeleted    = 1
	entrySameFields = 2 // as the node's first entry, so that only values follow
)

var (
	errOdd    = errors.New("an entry without its partner")
	errTTL    = errors.New("a field's TTL is none")
	errScore  = errors.New("a score that is no number")
	errStream = errors.New("a stream's node is malformed")
)

// stream reads a value of any of the stream types.
func (d *Decoder) stream(t Type) error {
	var first *StreamID
	err := d.counted(func() error {
		return d.streamNode(func(e StreamEntry) error {
			if first == nil {
				id := e.ID
				first = &id
			}
			return d.h.Entry(e)
		})
	})
	if err != nil {
		return err
	}
	s := new(Stream)
	if err := d.lengths(&s.Length, &s.LastID.Ms, &s.LastID.Seq); err != nil {
		return err
	}
	if t == TypeStreamListpacks {
		s.EntriesAdded = s.Length // as rdbLoadObject does
		if first != nil {
			s.FirstID = *first
		}
	} else if err := d.lengths(&s.FirstID.Ms, &s.FirstID.Seq, &s.MaxDeletedID.Ms, &s.MaxDeletedID.Seq, &s.EntriesAdded); err != nil {
		return err
	}
	err = d.counted(func() error {
		g, err := d.streamGroup(t, s)
		s.Groups = append(s.Groups, g)
		return err
	})
	if err != nil {
		return err
	}
	if t == TypeStreamListpacks4 {
		if s.IDMP, err = d.streamIDMP(); err != nil {
			return err
		}
	}
	return d.h.Stream(s)
}

// lengths reads several numbers saved as lengths.
func (d *Decoder) lengths(to ...*uint64) (err error) {
	for _, n := range to {
		if *n, err = d.in.length(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Decoder) streamID() (id StreamID, err error) {
	err = d.lengths(&id.Ms, &id.Seq)
	return id, err
}

// rawStreamID reads an ID as it is in a radix tree, 128 bits, big endian.
func (d *Decoder) rawStreamID() (StreamID, error) {
	b, err := d.in.take(16)
	if err != nil {
		return StreamID{}, err
	}
	return rawID(b), nil
}

func rawID(b []byte) StreamID {
	return StreamID{Ms: binary.BigEndian.Uint64(b), Seq: binary.BigEndian.Uint64(b[8:])}
}

// millisecondTime reads a time, in milliseconds since 1970.
func (d *Decoder) millisecondTime() (int64, error) {
	b, err := d.in.take(8)
	if err != nil {
		return 0, err
	}
	return signed(b), nil
}

// streamNode reads a listpack of entries and the ID that theirs count from.
func (d *Decoder) streamNode(f func(StreamEntry) error) error {
	start := d.in.offset()
	key, err := d.in.string()
	if err != nil {
		return err
	}
	if len(key) != 16 {
		return &SyntaxError{Offset: start, Reason: "a stream's node is not named by an ID"}
	}
	master := rawID(key)
	return d.blob(func(blob []byte) error {
		p, err := openListpack(blob)
		if err != nil {
			return err
		}
		n := node{p: &p}
		return d.entries(&n, master, f)
	})
}

// node reads a listpack whose entries have their meaning by their place.
type node struct {
	p   *packs
	err error // of any of the methods
}

func (n *node) next() packed {
	if n.err != nil {
		return packed{}
	}
	e, ok, err := n.p.next()
	if n.err = err; err == nil && !ok {
		n.err = errStream
	}
	return e
}

func (n *node) integer() int64 {
	e := n.next()
	if n.err == nil && !e.isInt {
		n.err = errStream
	}
	return e.integer
}

// count reads a number of things, each of which takes at least one entry.
func (n *node) count() int {
	c := n.integer()
	if n.err == nil && (c < 0 || c > int64(n.p.left())) {
		n.err = errStream
	}
	if n.err != nil {
		return 0
	}
	return int(c)
}

// fail is why the node cannot be read on.
func (n *node) fail() error {
	if n.err != nil {
		return n.err
	}
	return errStream
}

// entries reads a node: how many entries there are, how many of them deleted,
// the fields of the first, and the entries (t_stream.c streamAppendItem).
func (d *Decoder) entries(n *node, master StreamID, f func(StreamEntry) error) error {
	live, deleted, names := n.integer(), n.integer(), n.count()
	namesAt := *n.p
	for range names {
		n.next()
	}
	if end := n.integer(); n.err != nil || end != 0 || live < 0 || deleted < 0 {
		return n.fail()
	}
	for n.p.at < len(n.p.blob)-1 {
		flags := n.integer()
		id := StreamID{Ms: master.Ms + uint64(n.integer()), Seq: master.Seq + uint64(n.integer())} // differences, modulo 2^64
		d.ids, d.fields = d.ids[:0], d.fields[:0]
		pieces := int64(3) // of the entry, without the last, which counts them
		if flags&entrySameFields != 0 {
			again := namesAt
			for range names {
				name, _, _ := again.next() // read before
				d.fields = append(d.fields, d.entryText(name), d.entryText(n.next()))
			}
			pieces += int64(names)
		} else {
			count := n.count()
			for range 2 * count {
				d.fields = append(d.fields, d.entryText(n.next()))
			}
			pieces += 1 + 2*int64(count)
		}
		if n.integer() != pieces || n.err != nil {
			return n.fail()
		}
		if flags&entryDeleted != 0 {
			deleted--
			continue
		}
		live--
		if err := f(StreamEntry{ID: id, Fields: d.fields}); err != nil {
			return handlerError{err}
		}
	}
	if _, _, err := n.p.next(); err != nil { // compares the listpack's header
		return err
	}
	if live != 0 || deleted != 0 {
		return errStream
	}
	return nil
}

// entryText gives a packed entry as text, valid until the next stream entry.
func (d *Decoder) entryText(e packed) []byte {
	if !e.isInt {
		return e.text
	}
	start := len(d.ids)
	d.ids = strconv.AppendInt(d.ids, e.integer, 10)
	return d.ids[start:]
}

func (d *Decoder) streamGroup(t Type, s *Stream) (g StreamGroup, err error) {
	if g.Name, err = d.name(); err != nil {
		return g, err
	}
	if g.LastID, err = d.streamID(); err != nil {
		return g, err
	}
	if t == TypeStreamListpacks {
		g.EntriesRead = s.estimateEntriesRead(g.LastID)
	} else {
		read, err := d.in.length()
		if err != nil {
			return g, err
		}
		g.EntriesRead = int64(read) // -1 is saved so
	}
	err = d.counted(func() error {
		p, err := d.pendingEntry()
		g.Pending = append(g.Pending, p)
		return err
	})
	if err != nil {
		return g, err
	}
	err = d.counted(func() error {
		c, err := d.consumer(t)
		g.Consumers = append(g.Consumers, c)
		return err
	})
	return g, err
}

// name reads a string that is kept.
func (d *Decoder) name() ([]byte, error) {
	name, err := d.in.string()
	return bytes.Clone(name), err
}

func (d *Decoder) pendingEntry() (p PendingEntry, err error) {
	if p.ID, err = d.rawStreamID(); err != nil {
		return p, err
	}
	if p.DeliveredAt, err = d.millisecondTime(); err != nil {
		return p, err
	}
	p.Deliveries, err = d.in.length()
	return p, err
}

func (d *Decoder) consumer(t Type) (c StreamConsumer, err error) {
	if c.Name, err = d.name(); err != nil {
		return c, err
	}
	if c.SeenAt, err = d.millisecondTime(); err != nil {
		return c, err
	}
	c.ActiveAt = c.SeenAt // the best estimate, as in rdbLoadObject
	if t != TypeStreamListpacks && t != TypeStreamListpacks2 {
		if c.ActiveAt, err = d.millisecondTime(); err != nil {
			return c, err
		}
	}
	err = d.counted(func() error {
		id, err := d.rawStreamID()
		c.Pending = append(c.Pending, id)
		return err
	})
	return c, err
}

func (d *Decoder) streamIDMP() (*StreamIDMP, error) {
	m := new(StreamIDMP)
	if err := d.lengths(&m.Duration, &m.MaxSize); err != nil {
		return nil, err
	}
	err := d.counted(func() error {
		name, err := d.name()
		if err != nil {
			return err
		}
		p := StreamProducer{Name: name}
		err = d.counted(func() error {
			id, err := d.name()
			if err != nil {
				return err
			}
			entry, err := d.streamID()
			p.IDs = append(p.IDs, ProducedID{ID: id, Entry: entry})
			return err
		})
		m.Producers = append(m.Producers, p)
		return err
	})
	if err != nil {
		return nil, err
	}
	return m, d.lengths(&m.Added, &m.Duplicates)
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
