package apply

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/traffic"
)

// What a standalone server is given of a file is what the server that has written it has
// after a restart.
func TestFileToAServer(t *testing.T) {
	t.Parallel()
	for _, pair := range some(4, [][3]string{
		{"redis-6.0", "yes", "redis-6.0"}, {"redis-7.0", "no", "valkey-8.1"}, {"redis-8.6", "yes", "redis-8.6"}, {"valkey-9.1", "yes", "valkey-9.1"},
		{"redis-6.0", "no", "redis-6.0"}, {"redis-7.0", "yes", "redis-7.0"}, {"redis-8.6", "no", "redis-8.6"}, {"valkey-9.1", "no", "valkey-9.1"},
		{"redis-6.0", "no", "valkey-9.1"}, {"redis-6.0", "yes", "redis-7.0"}, {"redis-7.0", "yes", "redis-8.6"}, {"valkey-8.1", "yes", "valkey-9.1"},
		{"redis-8.0", "yes", "redis-8.6"}, {"valkey-8.1", "yes", "redis-8.0"}, {"redis-8.0", "yes", "valkey-9.1"}, {"valkey-9.1", "yes", "valkey-8.1"},
	}) {
		t.Run(pair[0]+" to "+pair[2]+", preamble "+pair[1], func(t *testing.T) {
			target := sandboxtest.Start(t, pair[2], sandbox.Options{})
			f := fileOf{server: pair[0], preamble: pair[1], keys: 600, commands: 1500, dbs: []int{0, 3, 9}}
			if pair[0] != pair[2] {
				like := sandboxtest.Start(t, pair[0], sandbox.Options{})
				f.without = append(lacking(t, like, target), traffic.GeoStore, traffic.GeoSearch)
			}
			written := savedBy(t, f)
			t.Logf("%+v", loadFile(t, configureFile(t, copyOfAOF(t, written.Dir()), target)))
			if err := written.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			equalToFile(t, written, []*sandbox.Server{target}, begunWhenLoaded(pair[0]), 500)
		})
	}
}

// begunWhenLoaded knows of TTLs that Redis 6.0 saves as they were said: the time begins
// with the loading.
func begunWhenLoaded(writtenBy string) audit.Options {
	if writtenBy == "redis-6.0" {
		return audit.Options{TTLTolerance: 20 * time.Second}
	}
	return audit.Options{}
}

// The same of a cluster, of commands that a cluster takes.
func TestFileToACluster(t *testing.T) {
	t.Parallel()
	for _, pair := range some(2, [][2]string{
		{"redis-7.0", "redis-7.0"}, {"redis-6.0", "valkey-9.1"}, {"valkey-9.1", "valkey-9.1"}, {"redis-8.6", "redis-8.6"}, {"valkey-8.1", "redis-8.0"}, {"redis-8.0", "valkey-8.1"},
	}) {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			t.Parallel()
			written, path := counting(t, pair[0], 2000, 3000)
			target := sandboxtest.Cluster(t, pair[1], sandbox.ClusterOptions{})
			t.Logf("%+v", loadFile(t, configureFile(t, path, target.Nodes()[0])))
			if err := written.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			equalToFile(t, written, primaries(t, target), begunWhenLoaded(pair[0]), 2000)
		})
	}
}

// RDB files, to servers of the same version, newer and older ones. What has expired is
// left out.
func TestSnapshotFile(t *testing.T) {
	t.Parallel()
	for _, pair := range some(3, [][2]string{
		{"redis-7.0", "redis-6.0"}, {"valkey-9.1", "redis-7.0"}, {"redis-6.0", "redis-8.6"},
		{"redis-6.0", "redis-6.0"}, {"redis-7.0", "redis-7.0"}, {"redis-8.6", "redis-8.6"}, {"valkey-8.1", "valkey-8.1"}, {"valkey-9.1", "valkey-9.1"},
		{"redis-8.6", "redis-6.0"}, {"redis-8.6", "valkey-8.1"}, {"valkey-9.1", "redis-6.0"}, {"redis-7.0", "valkey-9.1"},
	}) {
		t.Run(pair[0]+" to "+pair[1], func(t *testing.T) {
			written := sandboxtest.Start(t, pair[0], sandbox.Options{})
			target := sandboxtest.Start(t, pair[1], sandbox.Options{})
			lacks := lacking(t, written, target)
			err := dataset.Fill(t.Context(), written.Endpoint(), dataset.Options{
				Keys: 3000, DBs: []int{0, 5}, Seed: 2, NoFieldTTLs: slices.Contains(lacks, traffic.HashFieldTTL), NoFunctions: slices.Contains(lacks, traffic.Function),
				VectorSets: pair[0] == pair[1],
			})
			if err != nil {
				t.Fatal(err)
			}
			client := sandboxtest.Client(t, written)
			if _, err := client.Do(t.Context(), "SET", "soon over", "1", "PX", "150"); err != nil {
				t.Fatal(err)
			}
			if _, err := client.Do(t.Context(), "SAVE"); err != nil {
				t.Fatal(err)
			}
			<-time.After(200 * time.Millisecond)
			v := loadFile(t, configureFile(t, filepath.Join(written.Dir(), "dump.rdb"), target))
			if v.Expired != 1 {
				t.Errorf("%d expired keys were left out, and 1 had", v.Expired)
			}
			equalToFile(t, written, []*sandbox.Server{target}, audit.Options{}, 3000)
		})
	}
}

// Of a file that is cut the target gets what a server would load.
func TestFileThatIsCut(t *testing.T) {
	t.Parallel()
	for _, name := range some(2, []string{"redis-7.0", "redis-6.0", "redis-8.6", "valkey-8.1", "valkey-9.1"}) {
		t.Run(name, func(t *testing.T) {
			written := savedBy(t, fileOf{server: name, preamble: "yes", keys: 200, commands: 600, dbs: []int{0, 3}})
			relative := "appendonly.aof"
			if parts, err := filepath.Glob(filepath.Join(written.Dir(), "appendonlydir", "*.incr.aof")); err != nil {
				t.Fatal(err)
			} else if len(parts) > 0 {
				relative = strings.TrimPrefix(parts[len(parts)-1], written.Dir())
			}
			path := filepath.Join(written.Dir(), relative)
			stat, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.Truncate(path, stat.Size()-7-rand.Int64N(2000)); err != nil {
				t.Fatal(err)
			}
			target := sandboxtest.Start(t, name, sandbox.Options{})
			c := configureFile(t, copyOfAOF(t, written.Dir()), target)
			found, err := ExamineFile(t.Context(), c, false, time.Now().UnixMilli())
			if err != nil || found.Damage != nil || len(found.Refused) > 0 {
				t.Fatalf("%+v, %v", found, err)
			}
			v := loadFile(t, c)
			t.Logf("%+v: %+v", found.LeftOut, v)
			if v.Commands != found.Commands || v.Keys != found.Keys {
				t.Errorf("%d keys and %d commands were found, %d and %d loaded", found.Keys, found.Commands, v.Keys, v.Commands)
			}
			if err := written.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			equalToFile(t, written, []*sandbox.Server{target}, begunWhenLoaded(name), 100)
		})
	}
}

// A target that has lost what it was given is given all of it again.
func TestFileToATargetThatLosesItsData(t *testing.T) {
	t.Parallel()
	written, path := counting(t, "redis-7.0", 500, 15_000)
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	e := NewFile(configureFile(t, path, target))
	done := make(chan error, 1)
	go func() { done <- e.Run(t.Context()) }()
	until(t, func() (bool, string) { return e.View().Commands > 1000, "commands are played" })
	if err := target.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := target.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(<-done, e.End(t.Context())); err != nil {
		t.Fatal(err)
	}
	if err := written.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	equalToFile(t, written, []*sandbox.Server{target}, audit.Options{}, 1000)
}

// What no file can tell is refused by name, before anything is done and when it is met.
func TestFileWithWhatCannotBeCarried(t *testing.T) {
	t.Parallel()
	s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: saving("yes")})
	client := sandboxtest.Client(t, s)
	for _, args := range [][]any{
		{"SET", "a", "1"}, {"RENAME", "a", "b"}, {"SADD", "x", "1"}, {"SUNIONSTORE", "y", "x", "z"}, {"RENAME", "{b}1", "{b}2"}, {"DEL", "b", "x"},
	} {
		_, _ = client.Do(t.Context(), args...) // one of them has no such key
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	path := copyOfAOF(t, s.Dir())
	target := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{})
	c := configureFile(t, path, target.Nodes()[0])
	found, err := ExamineFile(t.Context(), c, true, time.Now().UnixMilli())
	if err != nil || len(found.Refused) != 2 {
		t.Fatalf("%+v, %v", found, err)
	}
	for i, text := range []string{"RENAME: its keys are of several shards", "SUNIONSTORE: its keys are of several shards"} {
		if r := found.Refused[i]; !strings.Contains(r.Text, text) || !strings.Contains(r.Text, ".incr.aof: byte ") || r.Hint != loadFirst {
			t.Errorf("%+v, not %s", r, text)
		}
	}
	var refused *FileCommandError
	if err := NewFile(c).Run(t.Context()); !errors.As(err, &refused) || refused.Command != "RENAME" {
		t.Errorf("%v", err)
	}
}

// Whenever it ends, it goes on where it was: nothing is lost, and nothing done twice.
func TestFileGoesOnFromItsCheckpoints(t *testing.T) {
	t.Parallel()
	for _, cluster := range []bool{false, true} {
		t.Run(map[bool]string{false: "to a server", true: "to a cluster"}[cluster], func(t *testing.T) {
			t.Parallel()
			written, path := counting(t, "redis-7.0", 500, 15_000)
			var targets []*sandbox.Server
			if cluster {
				targets = sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{}).Nodes()[:3]
			} else {
				targets = []*sandbox.Server{sandboxtest.Start(t, "redis-7.0", sandbox.Options{})}
			}
			var m fileMemory
			c := configureFile(t, path, targets[0])
			rng := rand.New(rand.NewPCG(1, 2))
			for kills := 0; ; kills++ {
				// Ever longer, for a slow machine to get to its end.
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(5+5*kills+rng.IntN(40))*time.Millisecond)
				e := NewFile(m.load(t, c))
				err := e.Run(ctx)
				cancel()
				if err == nil {
					if err := e.End(t.Context()); err != nil {
						t.Fatal(err)
					}
					t.Logf("ended %d times before: %+v", kills, e.View())
					break
				}
				if !errors.Is(err, context.DeadlineExceeded) || kills > 200 {
					t.Fatalf("after %d: %v", kills, err)
				}
			}
			if err := written.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			equalToFile(t, written, targets, audit.Options{}, 1000)
		})
	}
}

// counting is a server with a file of commands that are not to be carried out twice, on
// keys of which some expire, after a snapshot, and the path of a copy of that file.
func counting(t *testing.T, name string, keys, commands int) (*sandbox.Server, string) {
	t.Helper()
	s := sandboxtest.Start(t, name, sandbox.Options{Args: saving("yes")})
	if err := dataset.Fill(t.Context(), s.Endpoint(), dataset.Options{Keys: keys, NoFunctions: true, NoFieldTTLs: true}); err != nil {
		t.Fatal(err)
	}
	rewriting(t, s)()
	c, err := dial(t.Context(), s.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	rng := rand.New(rand.NewPCG(3, 4))
	do := func(args ...string) {
		t.Helper()
		if _, err := c.do(args...); err != nil {
			t.Fatal(err)
		}
	}
	key := func(kind string) string {
		return kind + ":" + string(rune('a'+rng.IntN(26))) + string(rune('a'+rng.IntN(26)))
	}
	for range commands {
		switch rng.IntN(8) {
		case 0:
			do("LPUSH", key("list"), "x")
		case 1:
			do("APPEND", key("text"), "y")
		case 2:
			k := key("mortal")
			do("INCR", k)
			do("PEXPIRE", k, "300") // it may be over by the time of the next, or of the loading
		case 3:
			do("MULTI")
			do("INCR", key("n"))
			do("HINCRBY", key("hash"), "f", "1")
			do("EXEC")
		case 4:
			do("DEL", key("n"), key("list"), key("text"))
		default:
			do("INCR", key("n"))
		}
	}
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	return s, copyOfAOF(t, s.Dir())
}

// Keys that had expired by the time of the loading, and were worked on before that.
func TestFileWithKeysWhoseTimeHasPassed(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"redis-6.0", "redis-7.0", "redis-8.6", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := sandboxtest.Start(t, name, sandbox.Options{Args: saving("yes")})
			c := sandboxtest.Client(t, s)
			var commands [][]any
			commands = append(commands,
				[]any{"SET", "stays", "1"}, []any{"SET", "base", "1", "PX", "150"}, []any{"BGREWRITEAOF"},
				[]any{"INCR", "base"}, []any{"INCR", "a"}, []any{"PEXPIRE", "a", "150"}, []any{"INCR", "a"},
				[]any{"SET", "later", "1", "EX", "1000"}, []any{"RENAME", "later", "renamed"}, []any{"INCR", "renamed"},
				[]any{"SELECT", "5"}, []any{"SET", "swapped", "1", "PX", "150"}, []any{"APPEND", "swapped", "x"}, []any{"SET", "five", "5"},
				[]any{"SWAPDB", "0", "5"}, []any{"SET", "after", "swap"})
			if name == "redis-8.6" || name == "valkey-9.1" {
				commands = append(commands,
					[]any{"HSET", "h", "f", "1", "g", "2"}, []any{"HPEXPIRE", "h", "150", "FIELDS", "1", "f"}, []any{"HINCRBY", "h", "f", "1"},
					[]any{"HEXPIRE", "h", "1000", "FIELDS", "1", "g"})
			}
			conn := c.Redis().Conn()
			for _, args := range commands {
				if err := conn.Do(t.Context(), args...).Err(); err != nil {
					t.Fatalf("%v: %v", args, err)
				}
			}
			_ = conn.Close()
			if err := s.Kill(); err != nil {
				t.Fatal(err)
			}
			path := copyOfAOF(t, s.Dir())
			<-time.After(300 * time.Millisecond)
			target := sandboxtest.Start(t, name, sandbox.Options{})
			e := NewFile(configureFile(t, path, target))
			if err := errors.Join(e.Run(t.Context()), e.End(t.Context())); err != nil {
				t.Fatal(err)
			}
			if err := s.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			equalToFile(t, s, []*sandbox.Server{target}, audit.Options{}, 4)
			if held, err := server.Dial(t.Context(), target.Endpoint(), ""); err != nil {
				t.Fatal(err)
			} else if n, err := held.Do(t.Context(), "EXISTS", "a", "base", "swapped"); err != nil || n != int64(0) {
				t.Errorf("%v of those whose time has passed are there: %v", n, err)
			} else {
				_ = held.Close()
			}
		})
	}
}
