package relay_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/audit"
	"godwit/internal/faultproxy"
	"godwit/internal/psync"
	"godwit/internal/relay"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait, on a machine that is busy too.
const patience = 30 * time.Second

// options of a rig.
type options struct {
	source, target         string // names of servers, redis-7.0 by default
	sourceArgs, targetArgs []string
	proxies                bool // put a fault proxy on each side of the link
	config                 func(*relay.Config)
	silence                time.Duration
}

// rig is a source and a target with a link between them.
type rig struct {
	t              *testing.T
	source, target *sandbox.Server
	from, to       *server.Client
	sourceProxy    *faultproxy.Proxy // the link is its client
	targetProxy    *faultproxy.Proxy // the target is its client
	link           *relay.Link
	address        string     // where the target connects
	ended          chan error // what the link's Run returned
	config         relay.Config
	stop           func()        // ends the link
	catchUp        time.Duration // of a link that is begun, unless 0

	mu    sync.Mutex
	heard []string // by Notify
}

func newRig(t *testing.T, o options) *rig {
	t.Helper()
	r := &rig{t: t, ended: make(chan error, 1)}
	// Enough of a backlog for the fastest load during a cut.
	r.source = sandboxtest.Start(t, name(o.source), sandbox.Options{Args: append([]string{"--repl-ping-replica-period 1", "--repl-backlog-size 64mb"}, o.sourceArgs...)})
	r.target = sandboxtest.Start(t, name(o.target), sandbox.Options{Args: o.targetArgs})
	r.from, r.to = sandboxtest.Client(t, r.source), sandboxtest.Client(t, r.target)

	config := relay.Config{Source: r.source.Endpoint(), Target: r.target.Address(), Log: slog.New(slog.DiscardHandler), Notify: r.hear}
	config.Spool.Dir, config.Spool.MemoryLimit, config.Spool.DiskLimit = t.TempDir(), 4<<20, 1<<30
	if o.proxies {
		r.sourceProxy = proxy(t, r.source.Address())
		config.Source.Address = r.sourceProxy.Address()
	}
	if o.config != nil {
		o.config(&config)
	}
	r.begin(config, o.silence)
	if o.proxies {
		r.targetProxy = proxy(t, r.address)
		r.address = r.targetProxy.Address()
	}
	return r
}

// begin runs a link and its listener until the test ends or restart is called.
func (r *rig) begin(config relay.Config, silence time.Duration) {
	r.config = config
	r.mu.Lock()
	r.link = relay.NewLink(config)
	r.mu.Unlock()
	if silence > 0 {
		r.link.SetSilence(silence)
	}
	if r.catchUp > 0 {
		r.link.SetCatchUp(r.catchUp)
	}
	link := r.link
	r.stop = run(r.t, func(ctx context.Context) {
		err := link.Run(ctx)
		r.ended <- err
		if ctx.Err() != nil && !errors.Is(err, context.Canceled) {
			r.t.Errorf("the link ended with %v", err)
		}
	})
	r.address = listen(r.t, r.link, r.hear)
}

// present is the link, for goroutines that outlive a restart.
func (r *rig) present() *relay.Link {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.link
}

// restart puts another link in the place of the present one, as after a crash.
func (r *rig) restart(change func(*relay.Config)) {
	r.t.Helper()
	r.stop()
	<-r.ended
	config := r.config
	change(&config)
	r.begin(config, 0)
}

func name(server string) string {
	if server == "" {
		return "redis-7.0"
	}
	return server
}

// run runs f until the test ends or stop is called, which waits for it.
func run(t *testing.T, f func(ctx context.Context)) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { f(ctx) })
	stop = func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	return stop
}

func proxy(t *testing.T, address string) *faultproxy.Proxy {
	t.Helper()
	p, err := faultproxy.New(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func anyone(string, string) (string, bool) { return "target", true }

func loopback(a netip.Addr) bool { return a.IsLoopback() }

// listen serves the link to whoever connects, and says where.
func listen(t *testing.T, link *relay.Link, notify func(slog.Level, string)) string {
	t.Helper()
	var served sync.WaitGroup
	ctx, cancel := context.WithCancel(context.Background())
	l, err := relay.Listen(relay.ListenerConfig{
		Address: "127.0.0.1:0", Authenticate: anyone, Allowed: loopback, Notify: notify,
		Serve: func(p *psync.Peer) {
			served.Go(func() {
				if link.Serve(ctx, p) != nil {
					p.Close()
				}
			})
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); served.Wait() }) // once the listener has ended: it begins no more
	run(t, func(ctx context.Context) {
		if err := l.Run(ctx); err != nil {
			t.Errorf("the listener ended with %v", err)
		}
	})
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(l.Port()))
}

func (r *rig) hear(_ slog.Level, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.heard = append(r.heard, text)
}

// told is what a user would have been told.
func (r *rig) told() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return strings.Join(r.heard, "\n")
}

func (r *rig) do(c *server.Client, args ...any) any {
	r.t.Helper()
	reply, err := c.Do(r.t.Context(), args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply
}

func (r *rig) info(c *server.Client, section string) server.Info {
	r.t.Helper()
	info, err := c.Info(r.t.Context(), section)
	if err != nil {
		r.t.Fatal(err)
	}
	return info
}

// attach makes the target a replica through the link.
func (r *rig) attach() { r.replicate(r.to) }

func (r *rig) replicate(c *server.Client) {
	r.t.Helper()
	host, port, err := net.SplitHostPort(r.address)
	if err != nil {
		r.t.Fatal(err)
	}
	r.do(c, "REPLICAOF", host, port)
}

// until waits until ok, and fails with what was not so.
func (r *rig) until(what string, ok func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("not %s within %v: %+v\n%s", what, patience, r.link.Snapshot(), r.told())
		}
	}
}

// follow attaches the target and waits until it has everything.
func (r *rig) follow() {
	r.t.Helper()
	r.attach()
	r.caughtUp()
}

// caughtUp waits until source, link and target stand at the same place.
func (r *rig) caughtUp() {
	r.t.Helper()
	var source, target string
	defer func() {
		if r.t.Failed() {
			r.t.Logf("offsets: source %s, link %+v, target %s", source, r.link.Snapshot(), target)
		}
	}()
	r.until("caught up", func() bool {
		to := r.info(r.to, "replication")
		from := r.info(r.from, "replication")
		source, target = from["master_repl_offset"], to["slave_repl_offset"]
		s := r.link.Snapshot()
		return to["master_link_status"] == "up" && s.State == relay.Streaming &&
			to.Int("slave_repl_offset") == r.link.TargetOffset(s.ReadOffset) && source == strconv.FormatInt(s.ReadOffset, 10) &&
			to["master_replid"] == r.link.TargetReplID() && (r.link.OwnReplID() || from["master_replid"] == to["master_replid"] && source == target)
	})
}

// poll asks the target for its offset all the time, as migrate does, until the
// test ends: the target's own ACKs come once a second.
func (r *rig) poll() {
	client := sandboxtest.Client(r.t, r.target)
	run(r.t, func(ctx context.Context) {
		for ctx.Err() == nil {
			if info, err := client.Info(ctx, "replication"); err == nil {
				r.present().Acknowledge(info.Int("slave_repl_offset"))
			}
			time.Sleep(5 * time.Millisecond)
		}
	})
}

// acked waits until the target has acknowledged everything.
func (r *rig) acked() {
	r.t.Helper()
	r.until("acknowledged", func() bool {
		s := r.link.Snapshot()
		return s.AckedOffset == s.ReadOffset
	})
}

// equal compares both servers, key by key.
func (r *rig) equal() {
	r.t.Helper()
	report, err := audit.Compare(r.t.Context(), r.source.Endpoint(), r.target.Endpoint(), audit.Options{TTLTolerance: 50 * time.Millisecond})
	if err != nil {
		r.t.Fatal(err)
	}
	if !report.Equal() {
		r.t.Errorf("%d of %d keys differ: %v", report.Different, report.Keys, report.Differences)
	}
}

// syncs are the source's counts of full and partial resyncs.
func (r *rig) syncs(full, partial int64) {
	r.t.Helper()
	stats := r.info(r.from, "stats")
	if stats.Int("sync_full") != full || stats.Int("sync_partial_ok") != partial {
		r.t.Errorf("%s full and %s partial resyncs at the source, want %d and %d\n%s", stats["sync_full"], stats["sync_partial_ok"], full, partial, r.told())
	}
}

// write sets n keys of size bytes each, without waiting for each.
func (r *rig) write(prefix string, n, size int) {
	r.t.Helper()
	value := strings.Repeat("0123456789abcdef", size/16+1)[:size]
	for n > 0 {
		pipe := r.from.Redis().Pipeline()
		for range min(n, 100) {
			n--
			pipe.Set(r.t.Context(), fmt.Sprint(prefix, n), value, 0)
		}
		if _, err := pipe.Exec(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
	}
}

// load counts upwards on the source as fast as one client can, until stop is
// called, which returns how often that was acknowledged.
func (r *rig) load() (stop func() int64) {
	ctx, cancel := context.WithCancel(r.t.Context())
	client := sandboxtest.Client(r.t, r.source)
	done := make(chan int64, 1)
	go func() {
		var acked int64
		for ctx.Err() == nil {
			if _, err := client.Do(r.t.Context(), "INCR", "count"); err == nil {
				acked++
			}
		}
		done <- acked
	}()
	var once sync.Once
	var acked int64
	stop = func() int64 {
		once.Do(func() { cancel(); acked = <-done })
		return acked
	}
	r.t.Cleanup(func() { stop() })
	return stop
}

// counted holds that the target has counted what the source acknowledged.
func (r *rig) counted(acked int64) {
	r.t.Helper()
	if got := r.do(r.to, "GET", "count"); got != strconv.FormatInt(acked, 10) || acked == 0 {
		r.t.Errorf("the target counts %v, the source acknowledged %d", got, acked)
	}
}
