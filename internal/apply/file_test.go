package apply

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/traffic"
)

// What a standalone server is given of a file is what the server that has written it has
// after a restart.
func TestFileToAServer(t *testing.T) {
	for _, name := range []string{"redis-6.0", "redis-7.0", "redis-8.6", "valkey-9.1"} {
		for _, preamble := range []string{"yes", "no"} {
			t.Run(name+"/preamble "+preamble, func(t *testing.T) {
				// What XADD IDMP says to replicas no client may say.
				written := savedBy(t, name, preamble, 600, 1500, []int{0, 3, 9}, traffic.StreamIDMP)
				target := sandboxtest.Start(t, name, sandbox.Options{})
				e := NewFile(configureFile(t, copyOfAOF(t, written.Dir()), target))
				if err := e.Run(t.Context()); err != nil {
					t.Fatal(err)
				}
				if err := e.End(t.Context()); err != nil {
					t.Fatal(err)
				}
				t.Logf("%+v", e.View())
				if err := written.Restart(t.Context()); err != nil {
					t.Fatal(err)
				}
				var o audit.Options
				if name == "redis-6.0" {
					// RESTORE with a TTL is saved as it was said: the time begins with the loading.
					o.TTLTolerance = 20 * time.Second
				}
				equalToFile(t, written, []*sandbox.Server{target}, o, 500)
			})
		}
	}
}

// Whenever it ends, it goes on where it was: nothing is lost, and nothing done twice.
func TestFileGoesOnFromItsCheckpoints(t *testing.T) {
	for _, cluster := range []bool{false, true} {
		t.Run(map[bool]string{false: "to a server", true: "to a cluster"}[cluster], func(t *testing.T) {
			written, path := counting(t, "redis-7.0", 40_000)
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
				ctx, cancel := context.WithTimeout(t.Context(), time.Duration(10+rng.IntN(80))*time.Millisecond)
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
// keys of which some expire, and the path of a copy of that file.
func counting(t *testing.T, name string, commands int) (*sandbox.Server, string) {
	t.Helper()
	s := sandboxtest.Start(t, name, sandbox.Options{Args: saving("yes")})
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
	for _, name := range []string{"redis-6.0", "redis-7.0", "redis-8.6", "valkey-9.1"} {
		t.Run(name, func(t *testing.T) {
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
