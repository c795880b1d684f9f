// Package reserved names the keys that godwit itself keeps at a target. They are no
// data: nothing compares them.
package reserved

import (
	"bytes"
	"fmt"

	"godwit/internal/slot"
)

// prefix is what the names begin with.
const prefix = "godwit:"

// Pattern is the glob that all of them match.
const Pattern = prefix + "*"

// Checkpoint is the name of the key in which the apply engine notes how far the lane of
// a link has come. It is of a slot of the lane's shard.
func Checkpoint(link string, generation, lane int, of uint16) string {
	return fmt.Sprintf("%s%s:%d:%d:{%s}", prefix, link, generation, lane, slot.Tag(of))
}

// wayBack is what the name of the other kind ends in.
const wayBack = ":back"

// WayBack is the name of the key in which the way back of a migration notes, at the old
// primary, how far it has come.
func WayBack(migration string) string { return prefix + migration + wayBack }

// Is tells whether a key is such a one, by its name. As good as nothing else has such a
// name: there is but one tag for each slot.
func Is(key []byte) bool {
	rest, ok := bytes.CutPrefix(key, []byte(prefix))
	if !ok {
		return false
	}
	if migration, ok := bytes.CutSuffix(rest, []byte(wayBack)); ok {
		return len(migration) > 0 && bytes.IndexByte(migration, ':') < 0
	}
	rest, ok = bytes.CutSuffix(rest, []byte("}"))
	if !ok {
		return false
	}
	rest, tag, ok := cutLast(rest, ":{")
	if !ok || string(tag) != slot.Tag(slot.Of(tag)) {
		return false
	}
	for range 2 { // the lane and the generation
		var digits []byte
		if rest, digits, ok = cutLast(rest, ":"); !ok || !number(digits) {
			return false
		}
	}
	return len(rest) > 0
}

// cutLast is bytes.Cut at the last separator.
func cutLast(s []byte, separator string) (before, after []byte, found bool) {
	i := bytes.LastIndex(s, []byte(separator))
	if i < 0 {
		return nil, nil, false
	}
	return s[:i], s[i+len(separator):], true
}

func number(digits []byte) bool {
	for _, c := range digits {
		if c < '0' || c > '9' {
			return false
		}
	}
	return len(digits) > 0
}
