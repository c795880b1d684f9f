package persist_test

import (
	"testing"
	"time"

	"godwit/internal/audit"
)

// What is read of a server's files, and loaded into another server, is what the server
// itself has after a restart.
func TestReadsWhatServersLoad(t *testing.T) {
	for _, name := range versions() {
		for _, preamble := range []string{"yes", "no"} {
			t.Run(name+"/preamble "+preamble, func(t *testing.T) {
				t.Parallel()
				s := written(t, name, preamble, 600, 1500)
				_, path := copyAOF(t, s.Dir())
				source := open(t, path)
				t.Log(summary(source.Describe()))
				fresh := load(t, name, source)
				if left := source.LeftOut(); left.TailBytes != 0 {
					t.Errorf("left out: %+v", left)
				}
				var o audit.Options
				if name == "redis-6.0" {
					// RESTORE with a TTL is saved as it was said: the time begins with the loading.
					o.TTLTolerance = 10 * time.Second
				}
				if err := s.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				mustEqual(t, s, fresh, o, 500)
			})
		}
	}
}
