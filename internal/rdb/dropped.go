package rdb

import (
	"fmt"
	"maps"
)

// Dropped counts what was left out because the target has no equal for it. A copy
// replaces what the target holds, and begins both counts anew.
type Dropped struct {
	// Copy is of the last snapshot: keys, or libraries and the like that are no keys.
	Copy map[Feature]int64 `json:"copy,omitempty"`
	// Stream is of the stream since then: commands of which all or a part was left out.
	Stream map[Feature]int64 `json:"stream,omitempty"`
}

// Of is the sum for one feature.
func (d Dropped) Of(f Feature) int64 { return d.Copy[f] + d.Stream[f] }

// Clone is a copy whose maps can be written to.
func (d Dropped) Clone() Dropped {
	c := Dropped{Copy: make(map[Feature]int64), Stream: make(map[Feature]int64)}
	maps.Copy(c.Copy, d.Copy)
	maps.Copy(c.Stream, d.Stream)
	return c
}

// Say says what is the first that was left out, of what, and for want of it at which server.
func (l LeftOut) Say(of, server string) string {
	first := ""
	switch {
	case l.Key != nil:
		first = fmt.Sprintf(", first at key %.100q of db %d", l.Key, l.DB)
	case l.Detail != "":
		first = ", first " + l.Detail
	}
	return fmt.Sprintf("%s is left out of %s and counted%s: %s does not have it (--drop)", l.Feature, of, first, server)
}
