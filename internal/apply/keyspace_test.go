package apply

import (
	"testing"

	"godwit/internal/command"
)

// A key that was carried by value, and has expired since, is missed until a command that is
// carried out makes it anew. One that is left out because the key was ahead of it does not:
// what the source says of the key next would find nothing.
func TestLossOfAKeyThatIsAhead(t *testing.T) {
	t.Parallel()
	set := [][]byte{[]byte("SET"), []byte("key"), []byte("value"), []byte("PX"), []byte("1200")}
	persist := [][]byte{[]byte("PERSIST"), []byte("key")}
	d := &dispatcher{
		placer: command.NewPlacer(command.Capabilities{}), gone: map[string]struct{}{"0:key": {}},
		values: &carrier{ahead: map[string]int64{"0:key": 100}, until: 100},
	}
	for _, tt := range []struct {
		end    int64
		args   [][]byte
		misses bool
		gone   bool
	}{
		{50, set, false, true},       // left out
		{60, persist, true, true},    // likewise
		{110, persist, true, true},   // carried by value
		{120, set, false, false},     // carried out
		{130, persist, false, false}, // finds it
	} {
		d.end = tt.end
		missing, err := d.misses(tt.args)
		_, gone := d.gone["0:key"]
		if err != nil || missing != tt.misses || gone != tt.gone {
			t.Errorf("%s at %d: missing %v, gone %v, %v", tt.args[0], tt.end, missing, gone, err)
		}
	}
}
