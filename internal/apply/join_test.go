package apply

import (
	"strings"
	"testing"

	"godwit/internal/load"
	"godwit/internal/route"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// An engine in the other direction takes over where one ends, and the first one after
// that: without a copy, and whatever was written before counts as had.
func TestThereAndBack(t *testing.T) {
	t.Parallel()
	for name, shards := range map[string]int{"a standalone server": 0, "a cluster": 2} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{Args: []string{"--repl-backlog-size 16kb"}})
			var forth, back Config
			var b func() []*sandbox.Server
			if shards == 0 {
				s := sandboxtest.Start(t, "redis-7.0", sandbox.Options{Args: []string{"--repl-backlog-size 16kb"}})
				b = func() []*sandbox.Server { return []*sandbox.Server{s} }
				back = configureServers(t, a.Nodes()[0], s)
			} else {
				c := sandboxtest.Cluster(t, "redis-7.0", sandbox.ClusterOptions{Shards: shards, Args: []string{"--repl-backlog-size 16kb"}})
				b = func() []*sandbox.Server { return primaries(t, c) }
				back = configureCluster(t, a.Nodes()[0], c)
			}
			forth = configureCluster(t, b()[0], a)
			forth.KeepTarget, back.KeepTarget = true, true
			write := func(to []*sandbox.Server) (stop func()) {
				l := begin(t, load.Config{Endpoints: endpoints(to), Mix: load.OneSlot, Rate: 2000})
				return func() {
					until(t, func() (bool, string) { return l.Snapshot().Acked > 1000, "no writes" })
					l.Stop()
					found(t, l, to[0].Endpoint())
				}
			}
			fill(t, a, "fill:", 2000)
			copying := forth
			copying.KeepTarget = false
			e := New(copying)
			stop := run(t, e)
			caughtUpCluster(t, e, a)
			for i, sides := range [][2]func() []*sandbox.Server{{b, func() []*sandbox.Server { return primaries(t, a) }}, {func() []*sandbox.Server { return primaries(t, a) }, b}, {b, func() []*sandbox.Server { return primaries(t, a) }}} {
				c := back
				if i%2 == 1 {
					c = forth
				}
				next := New(c)
				if err := next.Join(t.Context()); err != nil {
					t.Fatal(err)
				}
				stop()
				if _, err := next.Stood(t.Context()); err != nil {
					t.Fatal(err)
				}
				written := write(sides[0]())
				e, stop = next, run(t, next)
				written()
				caughtUp(t, e, sides[0]()...)
				t.Log(sameServers(t, sides[0](), sides[1](), nil), "keys")
			}
		})
	}
}

// A checkpoint that an earlier run has left at the target by the same name says nothing of
// this one: its offsets may be another source's, as shards are numbered anew.
func TestCheckpointOfAnEarlierRun(t *testing.T) {
	t.Parallel()
	source, target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	from, to := sandboxtest.Client(t, source), sandboxtest.Client(t, target)
	c := configureServers(t, target, source)
	c.KeepTarget = true
	e := New(c)
	if err := e.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	p, err := e.Stood(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	do(t, to, "HSET", p.Sources[0].Lanes[0].Key, "owner", "another", "at", 1<<40, "more", 0, "db", 0, "safe", "1 0", aheadField+"0:key", 1<<40)
	run(t, e)
	do(t, from, "SET", "key", "v")
	caughtUp(t, e, source)
	if got := do(t, to, "GET", "key"); got != "v" {
		t.Errorf("the target has %v of what was written", got)
	}
}

// A source whose connection has ended since Join does not have a switch wait for ever, while
// nobody may write.
func TestStoodOfASourceThatIsGone(t *testing.T) {
	t.Parallel()
	source, target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	from := sandboxtest.Client(t, source)
	c := configureServers(t, target, source)
	var err error
	if c.Route, err = route.Parse([]string{"1:1"}); err != nil {
		t.Fatal(err)
	}
	c.KeepTarget = true
	e := New(c)
	if err := e.Join(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(e.Leave)
	do(t, from, "CLIENT", "KILL", "TYPE", "replica")
	do(t, from, "SET", "key", "v")
	if _, err := e.Stood(t.Context()); err == nil || !strings.Contains(err.Error(), source.Address()+" has not sent its stream up to offset") {
		t.Errorf("it ended with %v", err)
	}
}
