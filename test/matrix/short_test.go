//go:build !matrix

package matrix

import "testing"

// A few pairs that natively fail or tell most, in short.
func TestShort(t *testing.T) {
	t.Parallel()
	for _, versions := range [][2]string{
		{"redis-7.0", "valkey-8.1"},
		{"redis-8.6", "redis-6.0"},
		{"redis-6.0", "redis-8.6"},
		{"valkey-9.1", "redis-8.0"},
		{"redis-8.6", "valkey-9.1"},
		{"redict-7.3", "valkey-9.1"},
	} {
		t.Run(versions[0]+" to "+versions[1], func(t *testing.T) {
			t.Parallel()
			if o := runPair(t, versions[0], versions[1], size{keys: 1000, commands: 2000}); !o.works() {
				t.Errorf("it worked once, and is refused: %s", o.refused)
			}
		})
	}
}
