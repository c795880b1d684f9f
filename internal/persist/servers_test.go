package persist_test

import (
	"path/filepath"
	"slices"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/persist"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
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

// Redis 7.0 and later take over the one file of an older server as their base file,
// commands and all.
func TestReadsAFileThatWasTakenOver(t *testing.T) {
	for _, name := range []string{"redis-7.0", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			old := written(t, "redis-6.0", "yes", 60, 200)
			dir := t.TempDir()
			copyFile(t, filepath.Join(old.Dir(), "appendonly.aof"), filepath.Join(dir, "appendonly.aof"))
			s := sandboxtest.Start(t, name, sandbox.Options{Dir: dir, Args: persistence(name, "yes")})
			if _, err := sandboxtest.Client(t, s).Do(t.Context(), "SET", "since", "then"); err != nil {
				t.Fatal(err)
			}
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			_, path := copyAOF(t, dir)
			source := open(t, path)
			want := []persist.Content{persist.SnapshotAndCommands, persist.Commands}
			if d := source.Describe(); !slices.Equal(contents(d), want) || d.Version().Major != 6 {
				t.Errorf("%s: want %v", summary(d), want)
			}
			fresh := load(t, name, source)
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustEqual(t, s, fresh, audit.Options{TTLTolerance: 10 * time.Second}, 50)
		})
	}
}
