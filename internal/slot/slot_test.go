package slot_test

import (
	"math/rand/v2"
	"testing"

	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/slot"
)

// Known values of the cluster's specification, and what a server says of any key.
func TestOf(t *testing.T) {
	for key, want := range map[string]uint16{"": 0, "foo": 12182, "{foo}bar": 12182, "bar{foo}{baz}": 12182, "123456789": 12739, "foo{}{bar}": 8363, "foo{{bar}}zap": 4015, "foo{bar}{zap}": 5061, "{foo": 13308} {
		if got := slot.Of([]byte(key)); got != want {
			t.Errorf("%q: slot %d, want %d", key, got, want)
		}
	}
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--cluster-enabled yes"}})
	c := sandboxtest.Client(t, s)
	rng := rand.New(rand.NewPCG(1, 2))
	alphabet := []byte("ab{}\x00\xff")
	for range 2000 {
		key := make([]byte, rng.IntN(12))
		for i := range key {
			key[i] = alphabet[rng.IntN(len(alphabet))]
		}
		want, err := c.Do(t.Context(), "CLUSTER", "KEYSLOT", key)
		if err != nil {
			t.Fatal(err)
		}
		if got := slot.Of(key); int64(got) != want {
			t.Fatalf("%q: slot %d, the server says %v", key, got, want)
		}
	}
}

func BenchmarkOf(b *testing.B) {
	key := []byte("user:{12345}:profile:67890")
	for b.Loop() {
		slot.Of(key)
	}
}
