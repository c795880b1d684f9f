package verify

import "testing"

// foo is in slot 12182, so the second shard's.
func TestOwns(t *testing.T) {
	side := newSide("source", Side{Slots: func(slot uint16) int { return int(slot) / 8192 }})
	if !side.owns(1, 0, []byte("foo")) || side.owns(0, 0, []byte("foo")) || !side.owns(0, libraries, []byte("foo")) || !side.owns(1, libraries, []byte("foo")) {
		t.Error("a key counts from the wrong shard")
	}
}
