// Package refresh reads keys by value, each at an exact offset of the replication
// stream, and writes them elsewhere as they were.
package refresh

// Value is a key as a server had it at one moment.
type Value struct {
	DB       int
	Key      []byte
	Payload  []byte // as DUMP gives it; nil where the key was not there
	ExpireAt int64  // milliseconds since 1970; rdb.None if never
}

// Exists tells whether the key was there.
func (v Value) Exists() bool { return v.Payload != nil }

// Place is where in its replication stream a server stood.
type Place struct {
	ReplID string
	Offset int64
}
