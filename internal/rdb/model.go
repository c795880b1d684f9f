package rdb

import "slices"

// ValueKind is what a value is, whatever its encoding: what TYPE tells.
type ValueKind uint8

// The kinds of values.
const (
	StringValue ValueKind = iota + 1
	ListValue
	SetValue
	HashValue
	ZsetValue
	StreamValue
	ModuleValue
)

// Kind is what values of the type are, 0 if there is no such type.
func (t Type) Kind() ValueKind {
	switch t {
	case TypeString:
		return StringValue
	case TypeList, TypeListZiplist, TypeListQuicklist, TypeListQuicklist2:
		return ListValue
	case TypeSet, TypeSetIntset, TypeSetListpack:
		return SetValue
	case TypeHash, TypeHashZipmap, TypeHashZiplist, TypeHashListpack, TypeHashMetadataPreGA, // also TypeHash2
		TypeHashListpackExPreGA, TypeHashMetadata, TypeHashListpackEx:
		return HashValue
	case TypeZset, TypeZset2, TypeZsetZiplist, TypeZsetListpack:
		return ZsetValue
	case TypeStreamListpacks, TypeStreamListpacks2, TypeStreamListpacks3, TypeStreamListpacks4:
		return StreamValue
	case TypeModule2:
		return ModuleValue
	default:
		return 0
	}
}

// Element is one part of a string, list, set, hash or zset. A string has one.
type Element struct {
	Value    []byte  // the element or member; of a hash, the field's value
	Field    []byte  // of a hash: the field's name
	ExpireAt int64   // of a hash: when the field expires, milliseconds since 1970; None if never
	Score    float64 // of a zset
}

// StreamID is the ID of a stream's entry. The zero value is before all others.
type StreamID struct {
	Ms, Seq uint64
}

// Compare is negative if a is before b, 0 if they are the same.
func (a StreamID) Compare(b StreamID) int {
	switch {
	case a == b:
		return 0
	case a.Ms < b.Ms || a.Ms == b.Ms && a.Seq < b.Seq:
		return -1
	default:
		return 1
	}
}

// StreamEntry is one entry of a stream that has not been deleted.
type StreamEntry struct {
	ID     StreamID
	Fields [][]byte // names and values in turn
}

// Stream is what a stream has beside its entries. Where its encoding does not
// know something, it has what the servers take for it.
type Stream struct {
	Length       uint64 // entries that have not been deleted
	LastID       StreamID
	FirstID      StreamID
	MaxDeletedID StreamID
	EntriesAdded uint64 // ever
	Groups       []StreamGroup
	IDMP         *StreamIDMP // nil where the encoding has none
}

// StreamGroup is a consumer group.
type StreamGroup struct {
	Name        []byte
	LastID      StreamID
	EntriesRead int64 // None if unknown
	Pending     []PendingEntry
	Consumers   []StreamConsumer
}

// PendingEntry is an entry that was delivered and not acknowledged. Its consumer
// has it in its own list.
type PendingEntry struct {
	ID          StreamID
	DeliveredAt int64 // milliseconds since 1970
	Deliveries  uint64
}

// StreamConsumer is a consumer of a group.
type StreamConsumer struct {
	Name     []byte
	SeenAt   int64 // milliseconds since 1970
	ActiveAt int64 // milliseconds since 1970; None if it has never got an entry
	Pending  []StreamID
}

// StreamIDMP is what a stream remembers in order to add nothing twice.
type StreamIDMP struct {
	Duration   uint64 // seconds for which it remembers
	MaxSize    uint64 // how many IDs of each producer
	Producers  []StreamProducer
	Added      uint64 // entries with such an ID, ever
	Duplicates uint64 // that were not added, ever
}

// StreamProducer is a producer with the IDs it has given, in their order.
type StreamProducer struct {
	Name []byte
	IDs  []ProducedID
}

// ProducedID is an ID that a producer gave to an entry.
type ProducedID struct {
	ID    []byte
	Entry StreamID
}

// ModuleData is the value of a module, whose meaning only the module knows.
type ModuleData struct {
	ID   ModuleID
	Data []byte // opcodes and items, the end mark included
}

// ModuleID names a module's type and the version of its encoding.
type ModuleID uint64

// Name is the type's nine characters (module.c moduleTypeNameByID).
func (id ModuleID) Name() string {
	const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var name [9]byte
	for i := range name {
		name[len(name)-1-i] = characters[id>>(10+6*i)&63]
	}
	return string(name[:])
}

// Version is that of the module's encoding.
func (id ModuleID) Version() int { return int(id & 1023) }

// vectorSet is the name of the type of vector sets, a module within Redis 8.
const vectorSet = "vectorset"

// feature is what a type of a module is called when it cannot be carried.
func (id ModuleID) feature() Feature {
	if id.Name() == vectorSet {
		return FeatureVectorSet
	}
	return FeatureModule
}

// Value is a value as a whole, in memory. What its kind has no use for is zero.
type Value struct {
	Kind     ValueKind
	Elements []Element
	Entries  []StreamEntry
	Stream   Stream
	Module   ModuleData
}

// collector makes a Value of what a decoder finds.
type collector struct {
	value Value
	arena []byte // bytes are copied into large pieces
}

func (c *collector) keep(b []byte) []byte {
	if b == nil {
		return nil
	}
	if len(b) > cap(c.arena)-len(c.arena) {
		c.arena = make([]byte, 0, max(len(b), min(2*cap(c.arena)+256, 64<<10)))
	}
	start := len(c.arena)
	c.arena = append(c.arena, b...)
	return c.arena[start:len(c.arena):len(c.arena)]
}

func (c *collector) Element(e Element) error {
	e.Field, e.Value = c.keep(e.Field), c.keep(e.Value)
	c.value.Elements = append(c.value.Elements, e)
	return nil
}

func (c *collector) Entry(e StreamEntry) error {
	e.Fields = slices.Clone(e.Fields)
	for i, f := range e.Fields {
		e.Fields[i] = c.keep(f)
	}
	c.value.Entries = append(c.value.Entries, e)
	return nil
}

// Stream keeps what it gets: the decoder makes it for this call.
func (c *collector) Stream(s *Stream) error {
	c.value.Stream = *s
	return nil
}

func (c *collector) Module(m ModuleData) error {
	c.value.Module = ModuleData{ID: m.ID, Data: slices.Clone(m.Data)}
	return nil
}
