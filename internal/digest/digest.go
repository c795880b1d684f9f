// Package digest reduces keys to numbers that are equal where the keys mean the
// same: encodings and the order of sets and hashes do not count; the order of
// lists, scores to the bit, IDs, groups and pending entries of streams, and expiry
// times to the millisecond do. A snapshot, a DUMP payload and a value read piece by
// piece all lead to the same number.
//
// What counts of each type:
//
//   - string: its bytes; of a HyperLogLog (hyperloglog.c) its registers, as servers
//     keep them dense or sparse, and cache the count or not, each for itself.
//   - list: the elements in their order. Set, hash, sorted set: the elements in any;
//     minus zero is zero as a score. When a hash's fields expire is a number by itself.
//   - stream: entries; length; last ID; greatest deleted ID and entries ever added;
//     groups with their last ID, entries read, consumers and pending entries, each
//     with its consumer, time and number of deliveries. Not when a consumer was seen
//     or active, which each server has by its own clock, and not the producers that
//     XADD IDMP remembers for a while.
//   - module: what it has saved, in its order. Vector set: elements, vectors and
//     attributes, as how its elements are linked is left to chance.
package digest

import "godwit/internal/rdb"

// Entry is one key of a snapshot, or a function library.
type Entry struct {
	DB       int    // -1 for a function library, which belongs to no db
	Key      []byte // valid until the next call
	ExpireAt int64  // milliseconds since 1970; rdb.None if never
	Size     int64  // bytes in the snapshot, everything included
	Value
}

// Value is what is known of a value. Two values mean the same if they are the
// same but for Sum's chance of 2⁻⁶⁴.
type Value struct {
	Type string // as TYPE tells it: string, list, set, hash, zset, stream, a module's type; "function" for a library
	Sum  uint64 // of the parts, without their expiry times
	TTLs uint64 // of the expiry times of a hash's fields; 0 if none has any
}

// Options say what counts. Both sides of a comparison need the same.
type Options struct {
	// Seed makes the sums of one run different from those of another: nobody can
	// prepare values that collide.
	Seed uint64
	// Formats are those that the data has gone through, or may have. What one of
	// them cannot hold, and servers leave out without a word, does not count: a
	// stream's counters. What has a name (rdb.Features) counts unless it is dropped.
	Formats []rdb.Format
	// Drop are features that were left out on purpose. A key that is nothing
	// without one does not count at all.
	Drop map[rdb.Feature]bool
	// NoEntriesRead leaves out how many entries a consumer group has read: Redis
	// 7.0 does not replicate it.
	NoEntriesRead bool
	// NoEmptyConsumers leaves out consumers without pending entries: one that
	// XREADGROUP makes by the way and gives nothing to is not replicated.
	NoEmptyConsumers bool
	// Expired is a time, in milliseconds since 1970: fields of hashes that expire then or
	// before count as none, as until a server deletes them they are there for nobody. A
	// hash that has no others does not count at all.
	Expired int64
}

// KeyHash hashes the name of a key.
func (o Options) KeyHash(key []byte) uint64 {
	h := newHasher(o.Seed)
	return h.two(isKey, h.bytes(key), 0)
}

// Mix is a number for all of an entry but its size. Entries in any order are
// equal if the sums of these numbers, modulo 2⁶⁴, are.
func (o Options) Mix(e *Entry) uint64 {
	h := newHasher(o.Seed)
	s := h.two(isKey, h.bytes(e.Key), uint64(e.DB))
	s = h.next(s, h.bytes([]byte(e.Type)))
	s = h.next(s, e.Sum)
	s = h.next(s, e.TTLs)
	return h.two(isKey, s, uint64(e.ExpireAt))
}

// Counts tells whether a key with a value of that type counts at all, which one
// does not that was left out on purpose.
func (o Options) Counts(typ string) bool {
	r := newRules(o)
	return r.counts(typ)
}

// rules are Options in the form in which they are asked for.
type rules struct {
	fieldTTLs, keyMetadata    bool
	streams, vectors, modules bool // of keys
	functions                 bool
	counters, entriesRead     bool // of streams
	idmp, emptyConsumers      bool
	expired                   int64 // Options.Expired
}

func newRules(o Options) rules {
	r := rules{
		fieldTTLs:   !o.Drop[rdb.FeatureHashFieldTTL],
		keyMetadata: !o.Drop[rdb.FeatureKeyMetadata],
		streams:     !o.Drop[rdb.FeatureStream],
		vectors:     !o.Drop[rdb.FeatureVectorSet],
		modules:     !o.Drop[rdb.FeatureModule],
		functions:   !o.Drop[rdb.FeatureFunction],
		counters:    true, entriesRead: !o.NoEntriesRead,
		idmp: true, emptyConsumers: !o.NoEmptyConsumers, expired: o.Expired,
	}
	for _, f := range o.Formats {
		// The counters came with Redis 7.0, idempotent producers with 8.6.
		r.counters = r.counters && f.HasType(rdb.TypeStreamListpacks2, rdb.Format{Family: rdb.Redis, Version: 10})
		r.idmp = r.idmp && f.HasType(rdb.TypeStreamListpacks4, rdb.Format{Family: rdb.Redis, Version: 13})
	}
	r.entriesRead = r.entriesRead && r.counters
	return r
}

// counts is Options.Counts.
func (r *rules) counts(typ string) bool {
	switch typ {
	case None:
		return false
	case typeString, typeList, typeSet, typeHash, typeZset:
		return true
	case typeStream:
		return r.streams
	case typeFunction:
		return r.functions
	case typeVectorSet:
		return r.vectors
	default:
		return r.modules
	}
}

// None is the type of a hash of which every field has expired, as TYPE says of a key
// that is not there.
const None = "none"

// What TYPE says, and typeFunction, which is no type.
const (
	typeString    = "string"
	typeList      = "list"
	typeSet       = "set"
	typeHash      = "hash"
	typeZset      = "zset"
	typeStream    = "stream"
	typeVectorSet = "vectorset"
	typeFunction  = "function"
)

func typeName(k rdb.ValueKind) string {
	switch k {
	case rdb.StringValue:
		return typeString
	case rdb.ListValue:
		return typeList
	case rdb.SetValue:
		return typeSet
	case rdb.HashValue:
		return typeHash
	case rdb.ZsetValue:
		return typeZset
	case rdb.StreamValue:
		return typeStream
	default:
		return "" // a module's is in its value
	}
}
