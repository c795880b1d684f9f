package verify

import "testing"

// From CLUSTER KEYSLOT.
func TestSlots(t *testing.T) {
	side := newSide("source", Side{Slots: func(slot uint16) int { return int(slot) / 8192 }})
	for key, want := range map[string]uint16{
		"": 0, "123456789": 12739, "foo": 12182, "bar": 5061, "{foo}bar": 12182, "bar{foo}": 12182, "foo{}{bar}": 8363,
		"foo{{bar}}zap": 4015, "foo{bar}{zap}": 5061, "{foo": 13308,
	} {
		if got := side.slot([]byte(key)); got != want {
			t.Errorf("%q is in slot %d, want %d", key, got, want)
		}
	}
	if !side.owns(1, 0, []byte("foo")) || side.owns(0, 0, []byte("foo")) || !side.owns(0, libraries, []byte("foo")) || side.owns(1, libraries, []byte("foo")) {
		t.Error("a key counts from the wrong shard")
	}
}
