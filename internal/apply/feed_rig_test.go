package apply

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/faultproxy"
	"godwit/internal/load"
	"godwit/internal/psync"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/topology"
)

// feedRig is an old primary that has become godwit's replica, a cluster that has taken
// its place, and the way back between them.
type feedRig struct {
	t       *testing.T
	old     *sandbox.Server
	client  *server.Client // of old
	cluster *sandbox.Cluster
	config  FeedConfig
	proxy   *faultproxy.Proxy // old is its client
	at      []ShardStand      // as a journal would have it

	attached time.Duration // that it took

	mu    sync.Mutex
	feed  *Feed
	ended chan error
	stop  context.CancelFunc
}

type feedOptions struct {
	old, cluster string
	oldArgs      []string
	shards       sandbox.ClusterOptions
	keys         int
	dbs          []int          // that have them
	route        string         // by which they go to the cluster
	failover     bool           // old is demoted by FAILOVER
	before       func(*feedRig) // the streams count
}

// newFeedRig carries data from an old primary to a cluster, and makes the old one a
// replica of the way back.
func newFeedRig(t *testing.T, o feedOptions) *feedRig {
	t.Helper()
	r := &feedRig{t: t}
	r.old = sandboxtest.Start(t, o.old, sandbox.Options{Args: append([]string{"--repl-backlog-size 16mb"}, o.oldArgs...)})
	o.shards.Args = append(o.shards.Args, "--repl-backlog-size 64mb")
	r.cluster = sandboxtest.Cluster(t, o.cluster, o.shards)
	r.client = sandboxtest.Client(t, r.old)
	if err := dataset.Fill(t.Context(), r.old.Endpoint(), dataset.Options{Keys: o.keys, DBs: o.dbs, NoFunctions: true}); err != nil {
		t.Fatal(err)
	}
	forth := configure(t, r.old, r.cluster)
	forth.Route = mapped(t, o.route)
	e := New(forth)
	stop := run(t, e)
	caughtUp(t, e, r.old)

	r.config = r.configure(forth)
	r.listen()
	r.start()
	began := time.Now()
	begins, err := r.feed.Attached(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r.attached = time.Since(began)
	caughtUp(t, e, r.old)
	stop() // what it wrote last is before the place from which on the streams count
	r.demote(o.failover)
	if o.before != nil {
		o.before(r)
	}
	at, err := r.feed.Now(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range at {
		if at[i].Shard != begins[i].Shard || at[i].Offset < begins[i].Offset {
			t.Fatalf("%+v, attached at %+v", at, begins)
		}
	}
	r.at = at
	r.feed.At(at)
	return r
}

// configure is the way back of a migration.
func (r *feedRig) configure(forth Config) FeedConfig {
	from, err := topology.Inspect(r.t.Context(), sandboxtest.Client(r.t, r.cluster.Nodes()[0]))
	if err != nil {
		r.t.Fatal(err)
	}
	to, err := topology.Inspect(r.t.Context(), r.client)
	if err != nil {
		r.t.Fatal(err)
	}
	v := from.Version
	return FeedConfig{
		Name: forth.Name, Owner: "way back", Own: r.cluster.Endpoints()[0], Replica: r.old.Endpoint(), Knows: to.Capabilities(), Route: forth.Route,
		Cluster: Source{
			Endpoint: r.cluster.Endpoints()[0], Capabilities: from.Capabilities(),
			Version: fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch), Now: func() int64 { return time.Now().UnixMilli() },
		},
		Spool: forth.Spool, Log: forth.Log,
	}
}

// listen accepts the replica, for whatever feed there is.
func (r *feedRig) listen() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				p, err := psync.Accept(ctx, conn, func(string, string) (string, bool) { return "old", true })
				if err != nil {
					_ = conn.Close()
					return
				}
				r.mu.Lock()
				f := r.feed
				r.mu.Unlock()
				if f == nil || f.Serve(ctx, p) != nil {
					_ = p.Close() // without an answer, as after a crash
				}
			})
		}
	})
	r.t.Cleanup(func() {
		cancel()
		_ = l.Close()
		r.end()
		wg.Wait()
	})
	if r.proxy, err = faultproxy.New(r.t.Context(), l.Addr().String()); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(r.proxy.Close)
}

// start runs a new feed.
func (r *feedRig) start() {
	f := NewFeed(r.config)
	if r.at != nil {
		f.At(r.at)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	r.mu.Lock()
	r.feed, r.stop, r.ended = f, cancel, ended
	r.mu.Unlock()
}

// end ends the feed, as a crash would: nothing is told to anyone.
func (r *feedRig) end() {
	r.mu.Lock()
	stop, ended := r.stop, r.ended
	r.feed, r.stop = nil, nil
	r.mu.Unlock()
	if stop == nil {
		return
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		r.t.Errorf("the way back ended: %v", err)
	}
}

// demote makes the old primary a replica of the feed.
func (r *feedRig) demote(failover bool) {
	t := r.t
	t.Helper()
	host, port, err := net.SplitHostPort(r.proxy.Address())
	if err != nil {
		t.Fatal(err)
	}
	if failover {
		r.follow(host, port)
		r.do("FAILOVER", "TO", host, port, "TIMEOUT", 10000)
	} else {
		r.do("REPLICAOF", host, port)
	}
	until(t, func() (bool, string) {
		info := r.info("replication")
		r.config.From = Stand{ReplID: info["master_replid"], Offset: info.Int("slave_repl_offset")}
		return info["role"] == "slave", fmt.Sprint(info)
	})
	// The feed was made before this was known, as it is in a switch.
	r.mu.Lock()
	r.feed.Demoted(r.config.From)
	r.mu.Unlock()
}

// follow is a replica that has all that the old primary says, until that demotes itself.
func (r *feedRig) follow(host, port string) {
	t := r.t
	info := r.info("replication")
	raw, err := r.old.Endpoint().DialConn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = raw.Close() })
	number, _ := strconv.Atoi(port)
	offset := info.Int("master_repl_offset")
	stream, answer, err := psync.Attach(t.Context(), raw, psync.Hello{PSYNC2: true, EOF: true, IPAddress: host, ListeningPort: number}, info["master_replid"], offset+1, nil)
	if err != nil || answer.Full {
		t.Fatal(answer, err)
	}
	go func() {
		buf := make([]byte, 4096)
		for {
			if err := stream.Ack(offset); err != nil {
				return
			}
			n, err := stream.Read(buf)
			if err != nil {
				return
			}
			offset += int64(n)
		}
	}()
}

func (r *feedRig) do(args ...any) any {
	r.t.Helper()
	reply, err := r.client.Do(r.t.Context(), args...)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply
}

func (r *feedRig) info(sections ...string) server.Info {
	r.t.Helper()
	info, err := r.client.Info(r.t.Context(), sections...)
	if err != nil {
		r.t.Fatal(err)
	}
	return info
}

// load writes to the cluster.
func (r *feedRig) load(rate int) *load.Load {
	r.t.Helper()
	l, err := load.Start(r.t.Context(), load.Config{Endpoints: r.cluster.Endpoints(), Mix: load.OneSlot, Rate: rate})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(l.Stop)
	return l
}

// written waits until a load has so many more writes acknowledged.
func (r *feedRig) written(l *load.Load, n int64) {
	r.t.Helper()
	to := l.Snapshot().Acked + n
	until(r.t, func() (bool, string) {
		s := l.Snapshot()
		return s.Acked >= to, fmt.Sprintf("%+v", s)
	})
}

// goBack drains, compares, promotes the old primary and finds there every write that the
// cluster has acknowledged.
func (r *feedRig) goBack(l *load.Load) {
	t := r.t
	t.Helper()
	l.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	began := time.Now()
	if err := r.feed.Drain(ctx, nil); err != nil {
		log, _ := r.old.Log()
		t.Fatalf("%v\n%s", err, tail(log))
	}
	took := time.Since(began)
	n := r.compare()
	r.do("REPLICAOF", "NO", "ONE")
	at := r.old.Endpoint()
	if db, _, ok := r.config.Route.Back(0, []byte("load:")); ok {
		at.DB = db
	}
	report, err := l.Audit(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if !report.Clean() {
		t.Errorf("%v: %q", report, report.Samples)
	}
	if info := r.info("stats"); info.Int("unexpected_error_replies") != 0 {
		t.Errorf("the old primary has refused %s commands", info["unexpected_error_replies"])
	}
	t.Logf("%d keys, drained in %v, %v", n, took, report)
}

// compare finds the same on both sides, by value and TTL.
func (r *feedRig) compare() int64 {
	r.t.Helper()
	if r.config.Route.Maps() {
		return int64(sameThrough(r.t, r.config.Route, r.old, r.cluster))
	}
	report, err := audit.CompareSets(r.t.Context(), r.cluster.Endpoints(), []server.Endpoint{r.old.Endpoint()}, audit.Options{Ignore: "godwit:", MaxDifferences: 10, NoEntriesRead: true})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, d := range report.Differences {
		r.t.Error(d)
	}
	if !report.Equal() {
		r.t.Errorf("%d differences in %d keys", report.Different, report.Keys)
	}
	return report.Keys
}

func tail(log string) string {
	lines := strings.Split(log, "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// streaming waits until the old primary is being fed.
func (r *feedRig) streaming() {
	r.t.Helper()
	until(r.t, func() (bool, string) {
		select {
		case err := <-r.ended:
			r.ended <- err
			log, _ := r.old.Log()
			r.t.Fatalf("%v\n%s", err, tail(log))
		default:
		}
		v := r.feed.View()
		s := r.info("replication")
		return v.State == Streaming && s["master_link_status"] == "up" && v.Sent > 0, fmt.Sprintf("%+v %v", v, s)
	})
}
