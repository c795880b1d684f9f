package rdb

import (
	"io"
	"strconv"
)

// Handler receives the parts of a value in the order in which they are saved.
// Slices are valid during the call only. An error ends the decoding and is
// returned as it is.
type Handler interface {
	// Element is called once for a string, and for each part of a list, set,
	// hash or zset.
	Element(e Element) error
	// Entry is called for each entry of a stream.
	Entry(e StreamEntry) error
	// Stream is called once for a stream, after its entries. The handler may keep
	// what it gets.
	Stream(s *Stream) error
	// Module is called once for a value of a module.
	Module(m ModuleData) error
}

// Ignore is a Handler that does nothing, to be embedded in those that have no use
// for some of its methods.
type Ignore struct{}

// Element does nothing.
func (Ignore) Element(Element) error { return nil }

// Entry does nothing.
func (Ignore) Entry(StreamEntry) error { return nil }

// Stream does nothing.
func (Ignore) Stream(*Stream) error { return nil }

// Module does nothing.
func (Ignore) Module(ModuleData) error { return nil }

// Decoder takes values apart. The zero value is ready; one that is used again and
// again allocates next to nothing. It is not safe for concurrent use.
type Decoder struct {
	r     Reader
	h     Handler
	own   []byte    // the reader's buffer for values that come in pieces
	spare []byte    // where a string is decompressed while one before is still in use
	texts [2][]byte // strings that are in no buffer as they are

	// Of a stream's node and of one of its entries: their texts, and the bytes of
	// those that are in no buffer.
	names, fields         [][]byte
	nameBytes, fieldBytes []byte
}

// decodeBuffer is the size of the buffer for a value that comes in pieces, and the
// most memory that is kept for the next one, in bytes.
const decodeBuffer = 64 << 10

// Decode takes a value of type t apart, as format f saves it. Errors are a
// *SyntaxError, or come from the handler. Whether a set, hash or zset holds the
// same member twice is not checked.
func (d *Decoder) Decode(f Format, t Type, value []byte, h Handler) error {
	d.r.Reset(value)
	return d.decode(f, t, h)
}

// DecodeReader is Decode for a value that comes in pieces. It holds no more of
// it in memory than one string, or all pending entries of a stream.
func (d *Decoder) DecodeReader(f Format, t Type, r io.Reader, h Handler) error {
	d.openReader(r)
	defer d.closeReader()
	return d.decode(f, t, h)
}

// DecodeValue collects a value's parts in memory of its own.
func DecodeValue(f Format, t Type, value []byte) (*Value, error) {
	var c collector
	if err := new(Decoder).Decode(f, t, value, &c); err != nil {
		return nil, err
	}
	c.value.Kind = t.Kind()
	return &c.value, nil
}

func (d *Decoder) openReader(r io.Reader) { d.r.resetReader(r, d.own, decodeBuffer) }

// closeReader keeps the buffer for the next reader, but not what a large string
// has made grow.
func (d *Decoder) closeReader() {
	d.own = d.r.buf
	for _, b := range []*[]byte{&d.texts[0], &d.texts[1], &d.nameBytes, &d.fieldBytes} {
		if cap(*b) > decodeBuffer {
			*b = nil
		}
	}
}

func (d *Decoder) decode(f Format, t Type, h Handler) error {
	if layoutOf(f, byte(t)) == "" || t.Kind() == 0 {
		d.r.Failf("%s does not have the type %s", f, t)
		return d.r.err
	}
	d.h = h
	d.value(f, t)
	d.r.End()
	return d.r.err
}

// value reads a value. What is wrong with it, or what the handler says, is the
// reader's error.
func (d *Decoder) value(f Format, t Type) {
	r := &d.r
	switch t {
	case TypeString:
		d.element(d.string(0))
	case TypeList, TypeSet:
		for n := r.Length(); n > 0 && r.err == nil; n-- {
			d.element(d.string(0))
		}
	case TypeHash:
		for n := r.Length(); n > 0 && r.err == nil; n-- {
			d.pair(None)
		}
	case TypeZset:
		for n := r.Length(); n > 0 && r.err == nil; n-- {
			member := d.held(0)
			d.deliver(Element{Value: member, Score: r.TextScore(), ExpireAt: None})
		}
	case TypeZset2:
		for n := r.Length(); n > 0 && r.err == nil; n-- {
			member := d.held(0)
			d.deliver(Element{Value: member, Score: r.Score(), ExpireAt: None})
		}
	case TypeListQuicklist:
		for n := r.Length(); n > 0 && r.err == nil; n-- {
			d.elements(r.Ziplist())
		}
	case TypeListQuicklist2:
		for n := r.Length(); n > 0 && r.err == nil; n-- {
			d.quicklistNode()
		}
	case TypeListZiplist:
		d.elements(r.Ziplist())
	case TypeSetListpack:
		d.elements(r.Listpack())
	case TypeSetIntset:
		d.integers(r.Intset())
	case TypeHashZipmap:
		d.pairs(r.Zipmap())
	case TypeHashZiplist:
		d.pairs(r.Ziplist())
	case TypeHashListpack:
		d.pairs(r.Listpack())
	case TypeZsetZiplist:
		d.members(r.Ziplist())
	case TypeZsetListpack:
		d.members(r.Listpack())
	case TypeHashListpackEx, TypeHashListpackExPreGA, TypeHashMetadata, TypeHash2: // also TypeHashMetadataPreGA
		d.expiringHash(f, t)
	case TypeStreamListpacks, TypeStreamListpacks2, TypeStreamListpacks3, TypeStreamListpacks4:
		d.stream(t)
	case TypeModule2:
		d.module()
	default:
		r.Failf("no decoder of the type %s", t)
	}
}

// deliver calls the handler, unless something has failed.
func (d *Decoder) deliver(e Element) {
	if d.r.err == nil {
		if err := d.h.Element(e); err != nil {
			d.r.Fail(err)
		}
	}
}

// string reads a string. It is valid until the slot is used again, or the next
// read.
func (d *Decoder) string(slot int) []byte {
	if b, ok := d.r.plain(); ok {
		return b
	}
	if n, ok := d.r.integer(); ok {
		return d.digits(slot, n)
	}
	return d.text(slot, d.r.anyString())
}

// held reads a string that stays valid while more is read, until two more are.
func (d *Decoder) held(slot int) []byte {
	if d.r.src == nil { // what is in the buffer stays there
		if b, ok := d.r.plain(); ok {
			return b
		}
	}
	if n, ok := d.r.integer(); ok {
		return d.digits(slot, n)
	}
	t := d.r.anyString()
	d.r.scratch, d.spare = d.spare, d.r.scratch // where the next one may be decompressed
	return d.hold(slot, t, &d.r)
}

// digits gives an integer as a text, as long as held does.
func (d *Decoder) digits(slot int, n int64) []byte {
	d.texts[slot] = strconv.AppendInt(d.texts[slot][:0], n, 10)
	return d.texts[slot]
}

// text gives a text as a whole, as long as string does.
func (d *Decoder) text(slot int, t Text) []byte {
	if !t.IsInt && !t.Large() {
		return t.Bytes
	}
	d.texts[slot] = appendText(d.texts[slot][:0], t)
	return d.texts[slot]
}

// hold gives a text that in has read, as long as held does.
func (d *Decoder) hold(slot int, t Text, in *Reader) []byte {
	if in.src == nil {
		return d.text(slot, t)
	}
	d.texts[slot] = appendText(d.texts[slot][:0], t)
	return d.texts[slot]
}

func (d *Decoder) element(value []byte) {
	d.deliver(Element{Value: value, ExpireAt: None})
}

// pair reads a field, which expires at that time, and its value.
func (d *Decoder) pair(expireAt int64) {
	field := d.held(0)
	d.deliver(Element{Field: field, Value: d.string(1), ExpireAt: expireAt})
}

// expiringHash reads a hash whose fields may have TTLs.
func (d *Decoder) expiringHash(f Format, t Type) {
	r := &d.r
	least := uint64(1)
	switch {
	case t == TypeHashListpackEx:
		r.Uint64() // the least TTL, for the server's own use
		d.triples(r.Listpack())
		return
	case t == TypeHashListpackExPreGA:
		d.triples(r.Listpack())
		return
	case t == TypeHashMetadata:
		least = r.LeastTTL()
	case f.Family == Valkey: // TypeHash2
		for n := r.Length(); n > 0 && r.err == nil; n-- {
			field, value := d.held(0), d.held(1)
			d.deliver(Element{Field: field, Value: value, ExpireAt: r.AbsoluteTTL()})
		}
		return
	}
	for n := r.Length(); n > 0 && r.err == nil; n-- {
		d.pair(r.RelativeTTL(least))
	}
}

func (d *Decoder) module() {
	r := &d.r
	id := r.Length()
	data := d.rest()
	if r.err != nil {
		return
	}
	r.walker.beginPart(layoutModule)
	n, done, err := r.walker.walk(data)
	if done && n == len(data) {
		if err := d.h.Module(ModuleData{ID: ModuleID(id), Data: data}); err != nil {
			r.Fail(err)
		}
		return
	}
	at, reason := r.Offset(), "the value is cut short"
	switch {
	case err != nil:
		at, reason = at-int64(len(data)-n), err.Error()
	case done:
		at, reason = at-int64(len(data)-n), "the value should end here"
	}
	r.Fail(&SyntaxError{Offset: at, Reason: reason})
}

// rest returns all that comes before the end.
func (d *Decoder) rest() []byte {
	r := &d.r
	if r.src == nil {
		rest := r.buf[r.at:]
		r.at = len(r.buf)
		return rest
	}
	rest := d.texts[0][:0]
	for r.at < len(r.buf) || r.try(1) {
		rest = append(rest, r.buf[r.at:]...)
		r.at = len(r.buf)
	}
	d.texts[0] = rest
	return rest
}
