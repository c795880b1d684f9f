package persist_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/persist"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// place is a command of a file.
type place struct {
	at, size int64
	within   bool // a transaction; MULTI is before it, EXEC in it
}

// placesOf are the commands of the source's last file.
func placesOf(t *testing.T, path string) (last string, places []place) {
	t.Helper()
	s := open(t, path)
	if snapshot := s.Snapshot(); snapshot != nil {
		if _, err := io.Copy(io.Discard, snapshot); err != nil {
			t.Fatal(err)
		}
	}
	within := false
	for {
		c, err := s.Next()
		if errors.Is(err, io.EOF) {
			return last, places
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.Position.Path != last {
			last, places = c.Position.Path, nil
		}
		places = append(places, place{at: c.Position.Offset, size: c.Size, within: within})
		switch strings.ToUpper(string(c.Args[0])) {
		case "MULTI":
			within = true
		case "EXEC":
			within = false
		}
	}
}

// cutsOf chooses where the file is cut: somewhere, within a transaction, between two
// commands of one, and within the first command.
func cutsOf(rng *rand.Rand, places []place) map[string]int64 {
	cuts := make(map[string]int64)
	end := places[len(places)-1].at + places[len(places)-1].size
	begin := places[0].at
	cuts["anywhere"] = begin + rng.Int64N(end-begin)
	cuts["in the first command"] = begin + 1 + rng.Int64N(places[0].size-1)
	var inside []place
	for _, p := range places {
		if p.within {
			inside = append(inside, p)
		}
	}
	if len(inside) > 0 {
		p := inside[rng.IntN(len(inside))]
		cuts["in a transaction"] = p.at + 1 + rng.Int64N(p.size-1)
		p = inside[rng.IntN(len(inside))]
		cuts["between commands of a transaction"] = p.at
	}
	return cuts
}

// A file that was cut is read as the server loads it with aof-load-truncated yes.
func TestReadsACutFileAsServersLoadIt(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	for i, name := range versions() {
		preamble := []string{"yes", "no"}[(i+int(seed%2))%2]
		t.Run(name+"/preamble "+preamble, func(t *testing.T) {
			t.Parallel()
			s := written(t, name, preamble, 60, 300)
			dir, path := copyAOF(t, s.Dir())
			last, places := placesOf(t, path)
			relative, err := filepath.Rel(dir, last)
			if err != nil {
				t.Fatal(err)
			}
			cuts := cutsOf(rand.New(rand.NewPCG(seed, uint64(i))), places)
			if len(cuts) < 4 {
				t.Errorf("no transaction in %s", last)
			}
			for what, cut := range cuts {
				t.Run(what, func(t *testing.T) { compareCut(t, name, preamble, s.Dir(), relative, cut) })
			}
		})
	}
}

// compareCut has the server load its files, of which one is cut, and another one what
// is read from them.
func compareCut(t *testing.T, name, preamble, from, relative string, cut int64) {
	dir, path := copyAOF(t, from)
	if err := os.Truncate(filepath.Join(dir, relative), cut); err != nil {
		t.Fatal(err)
	}
	source := open(t, path)
	fresh := load(t, name, source)
	left := source.LeftOut()
	t.Logf("%s cut at %d: %d bytes left out from %s on", relative, cut, left.TailBytes, left.Tail)
	if left.TailBytes != 0 && left.Tail.Offset+left.TailBytes != cut {
		t.Errorf("%d bytes left out from %d on, of a file of %d", left.TailBytes, left.Tail.Offset, cut)
	}
	loaded := sandboxtest.Start(t, name, sandbox.Options{Dir: dir, Args: persistence(name, preamble)})
	var o audit.Options
	if name == "redis-6.0" {
		o.TTLTolerance = 10 * time.Second // as in TestReadsWhatServersLoad
	}
	mustEqual(t, loaded, fresh, o, 0)
}

// Redis cuts a file within a transaction where its last complete command ends, and goes
// on writing there. What comes of that is read as the server loads it.
func TestReadsOnAfterACutTransaction(t *testing.T) {
	for _, name := range versions() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, name, sandbox.Options{Args: persistence(name, "yes")})
			c := sandboxtest.Client(t, s)
			set := func(keys ...string) {
				t.Helper()
				var commands [][]any
				for _, key := range keys {
					commands = append(commands, []any{"SET", key, "v"})
				}
				if _, err := c.Transaction(t.Context(), commands...); err != nil {
					t.Fatal(err)
				}
			}
			set("a", "b")
			set("c", "d")
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			dir, path := copyAOF(t, s.Dir())
			last, places := placesOf(t, path)
			relative, err := filepath.Rel(dir, last)
			if err != nil {
				t.Fatal(err)
			}
			final := places[len(places)-2] // SET d
			if err := os.Truncate(filepath.Join(s.Dir(), relative), final.at+final.size/2); err != nil {
				t.Fatal(err)
			}
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			set("e", "f")
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			keys, err := c.Do(t.Context(), "KEYS", "*")
			if err != nil {
				t.Fatal(err)
			}
			_, path = copyAOF(t, s.Dir())
			source := open(t, path)
			mustEqual(t, s, load(t, name, source), audit.Options{}, 4)
			t.Logf("%d keys %v, left out: %+v", len(keys.([]any)), keys, source.LeftOut())
			half := strings.Contains(fmt.Sprint(keys), "c")
			if half != (source.LeftOut().Strays == 1) {
				t.Errorf("the half transaction is loaded: %v; stray MULTI: %d", half, source.LeftOut().Strays)
			}
		})
	}
}

// A part that is not the last one may not be cut: no server loads that.
func TestRefusesACutPartThatIsNotTheLast(t *testing.T) {
	for _, name := range []string{"redis-7.0", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := unfinishedRewrite(t, name)
			dir, path := copyAOF(t, s.Dir())
			d := open(t, path).Describe()
			if len(d.Parts) != 3 {
				t.Fatalf("expected a base file and two incr files: %s", summary(d))
			}
			whole := load(t, name, open(t, path))
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			mustEqual(t, s, whole, audit.Options{}, 20)

			cut := filepath.Join(path, d.Parts[1].File)
			if err := os.Truncate(cut, d.Parts[1].Bytes-1); err != nil {
				t.Fatal(err)
			}
			err := writeAnew(io.Discard, open(t, path))
			var e *persist.Error
			if !errors.As(err, &e) || e.Path != cut || !strings.Contains(e.HintText(), "redis-check-aof "+cut) {
				t.Errorf("reading: %v", err)
			}
			refused, err := sandbox.Start(t.Context(), sandboxtest.Binary(t, name), sandbox.Options{Dir: dir, Args: persistence(name, "yes")})
			var exit *sandbox.ExitError
			if !errors.As(err, &exit) || !strings.Contains(exit.Log, "the truncated file is not the last file") {
				t.Errorf("the server: %v", err)
			}
			if err == nil {
				t.Error(refused.Close())
			}
		})
	}
}

// unfinishedRewrite is a server that was shut down while it rewrote its append only
// file.
func unfinishedRewrite(t *testing.T, name string) *sandbox.Server {
	t.Helper()
	s := sandboxtest.Start(t, name, sandbox.Options{Args: persistence(name, "yes")})
	c := sandboxtest.Client(t, s)
	fill := func(prefix string) {
		t.Helper()
		for i := range 20 {
			if _, err := c.Do(t.Context(), "SET", fmt.Sprintf("%s:%d", prefix, i), "v"); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill("before")
	for _, command := range [][]any{{"CONFIG", "SET", "rdb-key-save-delay", "1000000"}, {"BGREWRITEAOF"}} {
		if _, err := c.Do(t.Context(), command...); err != nil {
			t.Fatal(err)
		}
	}
	fill("after")
	_, _ = c.Do(t.Context(), "SHUTDOWN", "NOSAVE") // it also ends the rewriting process; the reply is its end
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	return s
}
