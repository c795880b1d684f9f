package rdb

import (
	"encoding/binary"
	"io"
	"math"
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
	in     input
	h      Handler
	own    []byte // what a reader is read into
	packed [3]packed
	digits [2][20]byte // integers as text
	ids    []byte      // the same, for an entry of a stream
	fields [][]byte
}

// Decode takes a value of type t apart, as format f saves it. Errors are a
// *SyntaxError, or come from the handler. Whether a set, hash or zset holds the
// same member twice is not checked.
func (d *Decoder) Decode(f Format, t Type, value []byte, h Handler) error {
	d.open(value)
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

func (d *Decoder) open(value []byte) {
	d.in = input{buf: value, scratch: d.in.scratch[:0]}
}

func (d *Decoder) openReader(r io.Reader) {
	d.in = input{r: r, buf: d.own[:0], scratch: d.in.scratch[:0]}
}

// closeReader keeps the buffer for the next reader, unless a large string has
// made it grow.
func (d *Decoder) closeReader() {
	if d.own = d.in.buf; cap(d.own) > inputBuffer {
		d.own = nil
	}
}

func (d *Decoder) decode(f Format, t Type, h Handler) error {
	if layoutOf(f, byte(t)) == "" || t.Kind() == 0 {
		return d.in.errorf("%s does not have the type %s", f, t)
	}
	d.h = h
	if err := d.value(f, t); err != nil {
		return err
	}
	return d.in.end()
}

func (d *Decoder) value(f Format, t Type) error {
	switch t {
	case TypeString:
		value, err := d.in.string()
		if err != nil {
			return err
		}
		return d.h.Element(Element{Value: value, ExpireAt: None})
	case TypeList, TypeSet:
		return d.counted(d.element)
	case TypeHash:
		return d.counted(d.pair)
	case TypeZset:
		return d.counted(d.memberWithText)
	case TypeZset2:
		return d.counted(d.member)
	case TypeListQuicklist:
		return d.counted(func() error { return d.packedElements(true) })
	case TypeListQuicklist2:
		return d.counted(d.quicklistNode)
	case TypeListZiplist:
		return d.packedElements(true)
	case TypeSetListpack:
		return d.packedElements(false)
	case TypeSetIntset:
		return d.intset()
	case TypeHashZipmap:
		return d.zipmap()
	case TypeHashZiplist:
		return d.packedPairs(true, 2)
	case TypeHashListpack:
		return d.packedPairs(false, 2)
	case TypeZsetZiplist:
		return d.packedMembers(true)
	case TypeZsetListpack:
		return d.packedMembers(false)
	case TypeHashListpackExPreGA:
		return d.packedPairs(false, 3)
	case TypeHashListpackEx:
		if _, err := d.in.take(8); err != nil { // the least TTL, for the server's own use
			return err
		}
		return d.packedPairs(false, 3)
	case TypeHashMetadata:
		return d.hashMetadata()
	case TypeHash2: // also TypeHashMetadataPreGA
		if f.Family == Valkey {
			return d.counted(d.hash2Pair)
		}
		return d.counted(func() error { return d.pairWithTTL(1) })
	case TypeStreamListpacks, TypeStreamListpacks2, TypeStreamListpacks3, TypeStreamListpacks4:
		return d.stream(t)
	case TypeModule2:
		return d.module()
	default:
		return d.in.errorf("no decoder of the type %s", t)
	}
}

// counted reads a length and calls f that many times.
func (d *Decoder) counted(f func() error) error {
	n, err := d.in.length()
	if err != nil {
		return err
	}
	for range n {
		d.in.release()
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

func (d *Decoder) element() error {
	value, err := d.in.string()
	if err != nil {
		return err
	}
	return d.h.Element(Element{Value: value, ExpireAt: None})
}

func (d *Decoder) pair() error {
	field, value, err := d.twoStrings()
	if err != nil {
		return err
	}
	return d.h.Element(Element{Field: field, Value: value, ExpireAt: None})
}

func (d *Decoder) twoStrings() (first, second []byte, err error) {
	if first, err = d.in.string(); err == nil {
		second, err = d.in.string()
	}
	return first, second, err
}

func (d *Decoder) member() error {
	member, err := d.in.string()
	if err != nil {
		return err
	}
	bits, err := d.in.take(8)
	if err != nil {
		return err
	}
	score := math.Float64frombits(binary.LittleEndian.Uint64(bits))
	if math.IsNaN(score) {
		return d.in.errorf("a score that is no number")
	}
	return d.h.Element(Element{Value: member, Score: score, ExpireAt: None})
}

func (d *Decoder) memberWithText() error {
	member, err := d.in.string()
	if err != nil {
		return err
	}
	score, err := d.textScore()
	if err != nil {
		return err
	}
	return d.h.Element(Element{Value: member, Score: score, ExpireAt: None})
}

// textScore reads a score as it was saved before version 8.
func (d *Decoder) textScore() (float64, error) {
	size, err := d.in.take(1)
	if err != nil {
		return 0, err
	}
	switch size[0] {
	case scoreInf:
		return math.Inf(1), nil
	case scoreNegInf:
		return math.Inf(-1), nil
	case scoreNaN:
		return 0, d.in.errorf("a score that is no number")
	}
	text, err := d.in.take(uint64(size[0]))
	if err != nil {
		return 0, err
	}
	return d.parseScore(text)
}

func (d *Decoder) parseScore(text []byte) (float64, error) {
	score, err := strconv.ParseFloat(string(text), 64)
	if err != nil || math.IsNaN(score) {
		return 0, d.in.errorf("%.40q is no score", text)
	}
	return score, nil
}

// maxFieldTTL is the last time at which a field may expire in Redis, in
// milliseconds since 1970 (ebuckets.h EB_EXPIRE_TIME_MAX).
const maxFieldTTL = 1<<48 - 1

func (d *Decoder) hashMetadata() error {
	least, err := d.leastTTL()
	if err != nil {
		return err
	}
	return d.counted(func() error { return d.pairWithTTL(least) })
}

// leastTTL reads what the TTLs of TypeHashMetadata count from.
func (d *Decoder) leastTTL() (uint64, error) {
	b, err := d.in.take(8)
	if err != nil {
		return 0, err
	}
	least := binary.LittleEndian.Uint64(b)
	if least > maxFieldTTL+1 { // that itself says that no field has any
		return 0, d.in.errorf("%d is no time at which a field may expire", least)
	}
	return least, nil
}

// pairWithTTL reads a field whose TTL counts from least, 1 being least itself.
func (d *Decoder) pairWithTTL(least uint64) error {
	expireAt, err := d.relativeTTL(least)
	if err != nil {
		return err
	}
	field, value, err := d.twoStrings()
	if err != nil {
		return err
	}
	return d.h.Element(Element{Field: field, Value: value, ExpireAt: expireAt})
}

func (d *Decoder) relativeTTL(least uint64) (int64, error) {
	ttl, err := d.in.length()
	if err != nil || ttl == 0 {
		return None, err
	}
	if ttl > maxFieldTTL || ttl+least-1 > maxFieldTTL {
		return None, d.in.errorf("a field expires %d milliseconds after %d", ttl-1, least)
	}
	return int64(ttl + least - 1), nil // at most maxFieldTTL
}

func (d *Decoder) hash2Pair() error {
	field, value, err := d.twoStrings()
	if err != nil {
		return err
	}
	expireAt, err := d.absoluteTTL()
	if err != nil {
		return err
	}
	return d.h.Element(Element{Field: field, Value: value, ExpireAt: expireAt})
}

// absoluteTTL reads when a field expires as Valkey saves it, -1 if never.
func (d *Decoder) absoluteTTL() (int64, error) {
	expireAt, err := d.millisecondTime()
	if err == nil && expireAt < None {
		err = d.in.errorf("%d is no time at which a field may expire", expireAt)
	}
	return expireAt, err
}

func (d *Decoder) module() error {
	id, err := d.in.length()
	if err != nil {
		return err
	}
	data, err := d.in.rest()
	if err != nil {
		return err
	}
	var w walker
	w.beginPart(layoutModule)
	n, done, err := w.walk(data)
	d.in.at += n - len(data)
	switch {
	case err != nil:
		return d.in.errorf("%v", err)
	case !done:
		return d.in.truncated()
	case n < len(data):
		return d.in.errorf("the value should end here")
	}
	return d.h.Module(ModuleData{ID: ModuleID(id), Data: data})
}
