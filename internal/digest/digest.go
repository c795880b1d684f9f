// Package digest reduces keys to numbers that are equal where the keys mean the
// same: encodings and the order of sets and hashes do not count; the order of
// lists, scores to the bit, IDs, groups and pending entries of streams, and expiry
// times to the millisecond do. A snapshot, a DUMP payload and a value read piece by
// piece all lead to the same number.
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
	// Formats are those that the data has gone through, or may have: what one of
	// them cannot hold does not count.
	Formats []rdb.Format
	// Drop are features that were left out on purpose. A key that is nothing
	// without one does not count at all.
	Drop map[rdb.Feature]bool
	// NoEntriesRead leaves out how many entries a consumer group has read.
	NoEntriesRead bool
}
