package route

import "fmt"

const forms = "say for instance 1:prefix=db1: to have the keys of db 1 in db 0 with that prefix, 1:drop to leave db 1 behind, or 1:2 to have it as db 2"

// ParseError says what is wrong with a mapping.
type ParseError struct {
	Flag   string // the value of --db-map
	Reason string
	Hint   string
}

func (e *ParseError) Error() string { return fmt.Sprintf("--db-map %s: %s", e.Flag, e.Reason) }

// HintText is what the user can do about it; commands print it after the error.
func (e *ParseError) HintText() string { return e.Hint }

// UnmappedError says that a db has keys, and nobody has said where they go.
type UnmappedError struct {
	DB   int
	Back bool // it is a db of the target, on the way back
	Same bool // keys must keep their names
}

func (e *UnmappedError) Error() string {
	if e.Back {
		return fmt.Sprintf("db %d of the target belongs to no db of the source by --db-map", e.DB)
	}
	return fmt.Sprintf("db %d has no place in the target: no --db-map is given for it", e.DB)
}

// HintText is what the user can do about it.
func (e *UnmappedError) HintText() string {
	if e.Back {
		return hintBack
	}
	if e.Same {
		return fmt.Sprintf("say --db-map %d:N to have its keys in a db N of the target, or --db-map %d:drop to leave them behind", e.DB, e.DB)
	}
	return fmt.Sprintf("say --db-map %d:prefix=db%d: to have its keys in db 0 with that prefix, --db-map %d:drop to leave them behind, "+
		"or --db-map %d:%d where the target's cluster has dbs", e.DB, e.DB, e.DB, e.DB, e.DB)
}

// ClashError says that a key would have the name of another db's key.
type ClashError struct {
	DB     int
	Key    []byte
	Prefix string // that names of the other db have
}

func (e *ClashError) Error() string {
	return fmt.Sprintf("db %d, key %.100q: its name at the target begins with %q, as those of another db do", e.DB, e.Key, e.Prefix)
}

// HintText is what the user can do about it.
func (e *ClashError) HintText() string {
	return "give the other db a prefix in --db-map that no key of this one begins with"
}

// SwapError says that a SWAPDB cannot be carried.
type SwapError struct{ A, B int }

func (e *SwapError) Error() string {
	return fmt.Sprintf("SWAPDB %d %d: cannot be carried: at the target these dbs are no dbs of their own", e.A, e.B)
}

// HintText is what the user can do about it.
func (e *SwapError) HintText() string {
	return "let no client swap dbs as long as the migration runs; after one, start again with a new copy"
}
