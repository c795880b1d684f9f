package verify_test

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"

	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/hold"
	"godwit/internal/psync"
	"godwit/internal/relay"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/verify"
)

// pair is a source and a target that a link feeds, as in a migration.
type pair struct {
	source, target *sandbox.Server
	from, to       *server.Client
	link           *relay.Link
}

// options of a pair.
type options struct {
	source, target         string
	sourceArgs, targetArgs []string
}

// newPair starts both servers and has the target follow the source.
func newPair(t *testing.T, o options) *pair {
	t.Helper()
	p := &pair{
		source: sandboxtest.Start(t, o.source, sandbox.Options{Args: append([]string{"--repl-backlog-size 64mb"}, o.sourceArgs...)}),
		// A writable replica takes what is planted.
		target: sandboxtest.Start(t, o.target, sandbox.Options{Args: append([]string{"--replica-read-only no"}, o.targetArgs...)}),
	}
	p.from, p.to = sandboxtest.Client(t, p.source), sandboxtest.Client(t, p.target)
	return p
}

// follow begins the link, and returns when the target has all there is.
func (p *pair) follow(t *testing.T) {
	t.Helper()
	config := relay.Config{Source: p.source.Endpoint(), Target: p.target.Address(), Log: slog.New(slog.DiscardHandler)}
	config.Spool.Dir, config.Spool.MemoryLimit, config.Spool.DiskLimit = t.TempDir(), 16<<20, 1<<30
	p.link = relay.NewLink(config)
	background(t, func(ctx context.Context) {
		if err := p.link.Run(ctx); err != nil && ctx.Err() == nil {
			t.Errorf("the link ended: %v", err)
		}
	})
	var served sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	l, err := relay.Listen(relay.ListenerConfig{
		Address:      "127.0.0.1:0",
		Authenticate: func(string, string) (string, bool) { return "target", true },
		Allowed:      netip.Addr.IsLoopback,
		Notify:       func(slog.Level, string) {},
		Serve: func(peer *psync.Peer) {
			served.Go(func() {
				if p.link.Serve(ctx, peer) != nil {
					peer.Close()
				}
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); served.Wait() })
	background(t, func(ctx context.Context) {
		if err := l.Run(ctx); err != nil {
			t.Errorf("the listener ended: %v", err)
		}
	})
	poll := sandboxtest.Client(t, p.target)
	background(t, func(ctx context.Context) {
		for ctx.Err() == nil {
			if info, err := poll.Info(ctx, "replication"); err == nil {
				p.link.Acknowledge(info.Int("slave_repl_offset"))
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
	do(t, p.to, "REPLICAOF", "127.0.0.1", strconv.Itoa(l.Port()))
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		info, err := p.to.Info(t.Context(), "replication")
		if err == nil && info["master_link_status"] == "up" && p.link.State() == relay.Streaming {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the target does not follow: %v, %+v", info, p.link.Snapshot())
		}
	}
}

// config compares the pair, fed by its link.
func (p *pair) config(t *testing.T) verify.Config {
	cfg := verify.Config{Source: sideOf(p.source), Target: sideOf(p.target), Feeds: []verify.Feed{&linkFeed{p.link}}}
	cfg.Options.Dir = t.TempDir()
	return cfg
}

// background runs f until the test ends, which waits for it.
func background(t *testing.T, f func(ctx context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { f(ctx) })
	stop = func() { cancel(); group.Wait() }
	t.Cleanup(stop)
	return stop
}

// linkFeed is a link as a feed.
type linkFeed struct{ link *relay.Link }

func (f *linkFeed) Trail(ctx context.Context) (verify.Hold, error) {
	h, err := f.link.Trail(ctx, 20*time.Millisecond)
	if err != nil {
		return nil, err
	}
	return linkHold{h}, nil
}

type linkHold struct{ *relay.Hold }

func (h linkHold) Stop(ctx context.Context, offset int64) (hold.Stand, error) {
	replid, target, err := h.Hold.Stop(ctx, offset)
	return hold.Stand{ReplID: replid, Offset: target}, err
}

// load writes to a server as fast as rate allows, with all that could raise a false
// alarm: keys that expire soon, and are gone, renamed, moved, flushed and swapped.
type load struct {
	writes atomic.Int64
	stop   func()
}

func startLoad(t *testing.T, s *sandbox.Server, perSecond int, flush bool) *load {
	t.Helper()
	l := new(load)
	client := sandboxtest.Client(t, s)
	const batch = 100
	l.stop = background(t, func(ctx context.Context) {
		began := time.Now()
		rng := rand.New(rand.NewPCG(1, 2))
		for n := 0; ctx.Err() == nil; n += batch {
			if perSecond > 0 {
				time.Sleep(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(perSecond))))
			}
			pipe := client.Redis().Pipeline()
			for range batch {
				l.write(ctx, pipe, rng)
			}
			if flush && n%5000 == 0 {
				pipe.Do(ctx, "SELECT", 9)
				pipe.Do(ctx, "SET", "flushed", n)
				pipe.Do(ctx, "FLUSHDB")
				pipe.Do(ctx, "SWAPDB", 8, 9)
				pipe.Do(ctx, "SET", fmt.Sprint("swapped", n), n)
				pipe.Do(ctx, "SELECT", 0)
			}
			_, _ = pipe.Exec(ctx) // some keys are not there to be renamed
			l.writes.Add(batch)
		}
	})
	return l
}

func (l *load) write(ctx context.Context, pipe redis.Pipeliner, rng *rand.Rand) {
	key := func(kind string) string { return fmt.Sprint("load:", kind, rng.IntN(20_000)) }
	switch rng.IntN(12) {
	case 0:
		pipe.Do(ctx, "SET", key("s"), rng.Int64(), "PX", 1+rng.IntN(2000))
	case 1:
		pipe.Do(ctx, "PEXPIRE", key("s"), 1+rng.IntN(500))
	case 2:
		pipe.Do(ctx, "HSET", key("h"), rng.IntN(20), rng.Int64())
	case 3:
		pipe.Do(ctx, "LPUSH", key("l"), rng.Int64())
	case 4:
		pipe.Do(ctx, "LTRIM", key("l"), 0, 5)
	case 5:
		pipe.Do(ctx, "ZADD", key("z"), rng.Float64(), rng.IntN(20))
	case 6:
		pipe.Do(ctx, "SADD", key("m"), rng.IntN(20), "x")
	case 7:
		pipe.Do(ctx, "DEL", key("s"), key("h"), key("z"))
	case 8:
		pipe.Do(ctx, "RENAME", key("s"), key("s"))
	case 9:
		pipe.Do(ctx, "XADD", key("x"), "MAXLEN", "~", 10, "*", "f", rng.Int64())
	case 10:
		pipe.Do(ctx, "MOVE", key("s"), 8)
	default:
		pipe.Do(ctx, "SET", key("s"), rng.Int64())
	}
}
