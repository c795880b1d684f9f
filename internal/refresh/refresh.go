// Package refresh reads keys by value, each at an exact offset of the replication
// stream, and writes them elsewhere as they were. It has a connection of its own,
// on which commands are pipelined and buffers reused.
package refresh

import (
	"fmt"

	"godwit/internal/rdb"
)

// Libraries is the db of function libraries, which belong to none: there a key is
// the name of a library, and a payload its source.
const Libraries = -1

// Value is a key as a server had it at one moment.
type Value struct {
	DB       int // or Libraries
	Key      []byte
	Payload  []byte     // as DUMP gives it; nil where the key was not there, or is TooLarge
	ExpireAt int64      // milliseconds since 1970; rdb.None if never
	Family   rdb.Family // whose numbers the payload has
	// TooLarge is the payload's size in bytes if that is beyond the connection's limit.
	TooLarge int64
}

// Exists tells whether the key was there.
func (v Value) Exists() bool { return v.Payload != nil || v.TooLarge > 0 }

// Place is where in its replication stream a server stood.
type Place struct {
	ReplID string
	Offset int64
	Time   int64 // by the server's clock, milliseconds since 1970
}

// TooLargeError says that a value is beyond the limit of what is read at once.
type TooLargeError struct {
	DB          int
	Key         []byte
	Size, Limit int64 // of the payload, in bytes
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("db %d, key %.200q: a payload of %d bytes is beyond the limit of %d", e.DB, e.Key, e.Size, e.Limit)
}

// HintText is what the user can do about it; commands print it after the error.
func (e *TooLargeError) HintText() string {
	return "copy this key by itself, or make it smaller: servers take no payload beyond their proto-max-bulk-len"
}
