package relay_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/faultproxy"
	"godwit/internal/relay"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// The target's connection is cut again and again: what it has missed comes from
// the spool, and the source notices nothing.
func TestTargetResumesFromTheSpool(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{proxies: true})
	r.follow()
	stop := r.load()
	for i, cut := range []func(){
		r.targetProxy.CloseAll,
		r.targetProxy.Reset,
		func() { r.targetProxy.CutAfter(faultproxy.ToClient, 1000) },
		func() { r.targetProxy.CutAfter(faultproxy.ToClient, 12_345) },
	} {
		time.Sleep(50 * time.Millisecond)
		before := r.targetProxy.Accepted()
		cut()
		r.until("cut", func() bool { return r.link.State() != relay.Streaming || r.targetProxy.Accepted() > before })
		r.targetProxy.Heal()
		r.until(fmt.Sprint("back after cut ", i), func() bool {
			return r.link.State() == relay.Streaming && r.targetProxy.Accepted() > before
		})
	}
	acked := stop()
	r.caughtUp()
	r.counted(acked)
	r.equal()
	r.syncs(1, 0)
}

// The source's connection is cut: the stream goes on where it ended, and the
// target notices nothing.
func TestSourceResumes(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{proxies: true})
	r.follow()
	stop := r.load()
	cuts := []func(){
		r.sourceProxy.CloseAll,
		r.sourceProxy.Reset,
		func() { r.sourceProxy.CutAfter(faultproxy.ToClient, 1001) },
		func() { r.sourceProxy.CutAfter(faultproxy.ToClient, 23_456) },
		func() { r.sourceProxy.CutAfter(faultproxy.ToTarget, 50) }, // within an ACK
	}
	for i, cut := range cuts {
		time.Sleep(50 * time.Millisecond)
		before := r.sourceProxy.Accepted()
		cut()
		r.until("cut", func() bool { return r.link.State() != relay.Streaming || r.sourceProxy.Accepted() > before })
		r.sourceProxy.Heal()
		r.until(fmt.Sprint("back after cut ", i), func() bool {
			return r.link.State() == relay.Streaming && r.sourceProxy.Accepted() > before
		})
	}
	acked := stop()
	r.caughtUp()
	r.counted(acked)
	r.equal()
	if stats := r.info(r.from, "stats"); stats.Int("sync_full") != 1 || stats.Int("sync_partial_ok") < int64(len(cuts)) || stats.Int("sync_partial_err") != 1 {
		t.Errorf("%v\n%s", stats, r.told())
	}
	if n := r.targetProxy.Accepted(); n != 1 {
		t.Errorf("the target connected %d times", n)
	}
}

// Both connections are cut at once, and the target is back before the source:
// it gets what the spool holds, and the rest when the source is back.
func TestBothResume(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{proxies: true})
	r.follow()
	stop := r.load()
	r.sourceProxy.Refuse()
	r.sourceProxy.Reset()
	r.until("broken", func() bool { return r.link.State() == relay.Broken })
	before := r.targetProxy.Accepted()
	r.targetProxy.Reset()
	r.until("back", func() bool { return r.targetProxy.Accepted() > before })
	time.Sleep(200 * time.Millisecond)
	if s := r.link.State(); s == relay.Streaming {
		t.Errorf("the link is %s without its source", s)
	}
	r.sourceProxy.Heal()
	r.until("streaming", func() bool { return r.link.State() == relay.Streaming })
	acked := stop()
	r.caughtUp()
	r.counted(acked)
	r.equal()
	if stats := r.info(r.from, "stats"); stats.Int("sync_full") != 1 {
		t.Errorf("%s full resyncs", stats["sync_full"])
	}
}

// A snapshot that is cut at any byte, on either side, is begun anew, and
// nothing of the first attempt stays.
func TestCutWithinTheSnapshot(t *testing.T) {
	for _, diskless := range []string{"yes", "no"} {
		t.Run("diskless "+diskless, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{proxies: true, sourceArgs: []string{"--repl-diskless-sync " + diskless}})
			if err := dataset.Fill(t.Context(), r.source.Endpoint(), dataset.Options{Keys: 2000, DBs: []int{0, 7}, Seed: 3}); err != nil {
				t.Fatal(err)
			}
			stop := r.load()
			// The answers of the handshake take some 80 bytes, the header 50.
			var faulty *faultproxy.Proxy
			for i, n := range []int64{10, 131, 5000, 60_000} {
				for _, p := range []*faultproxy.Proxy{r.sourceProxy, r.targetProxy} {
					end, before := p.Bytes(faultproxy.ToClient)+n, p.Accepted()
					p.CutAfter(faultproxy.ToClient, n)
					if i == 0 && p == r.sourceProxy {
						r.attach()
					} else {
						faulty.Heal() // not before the next fault is set: each copy is cut
					}
					faulty = p
					r.until(fmt.Sprint("cut after ", n), func() bool {
						return p.Bytes(faultproxy.ToClient) == end && p.Open() == 0 || p.Accepted() > before+1
					})
				}
			}
			faulty.Heal()
			acked := stop()
			r.caughtUp()
			r.counted(acked)
			r.equal()
		})
	}
}

// A source that restarts with what it saved goes on with the same history.
func TestSourceRestartsWithItsData(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{source: "redis-7.0"})
	r.write("key", 1000, 100)
	r.follow()
	r.do(r.from, "INCR", "count")
	before := r.info(r.from, "replication")
	// SHUTDOWN waits for the replicas, saves, and answers only when it fails.
	if reply, err := r.from.Do(t.Context(), "SHUTDOWN", "SAVE"); err == nil {
		t.Fatalf("SHUTDOWN: %v", reply)
	}
	if err := r.source.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.do(r.from, "INCR", "count")
	r.caughtUp()
	if after := r.info(r.from, "replication"); after["master_replid"] == before["master_replid"] {
		t.Error("the source has its old replid: it was not restarted")
	}
	r.counted(2)
	r.equal()
	r.syncs(0, 1) // the target, told of the new replid, goes on from the spool
	if n := r.link.Snapshot().FullResyncs; n != 1 {
		t.Errorf("%d full resyncs", n)
	}
	if told := r.told(); !strings.Contains(told, "has a new replid; the stream goes on") {
		t.Errorf("the user heard\n%s", told)
	}
}

// A source that was killed has lost what it had not saved. The target follows
// it: there is a full resync, which is said.
func TestSourceKilled(t *testing.T) {
	for _, saved := range []bool{true, false} {
		t.Run(fmt.Sprintf("saved %v", saved), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{})
			r.write("saved", 100, 100)
			if saved {
				r.do(r.from, "SAVE")
			}
			r.follow()
			r.write("lost", 100, 100)
			r.caughtUp()
			if err := r.source.Kill(); err != nil {
				t.Fatal(err)
			}
			r.until("broken", func() bool { return r.link.State() == relay.Broken })
			if err := r.source.Restart(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.write("new", 100, 100)
			r.caughtUp()
			r.equal()
			want := int64(100)
			if saved {
				want = 200
			}
			if n := r.do(r.to, "DBSIZE"); n != want {
				t.Errorf("%v keys, want %d", n, want)
			}
			if n := r.link.Snapshot().FullResyncs; n != 2 {
				t.Errorf("%d full resyncs", n)
			}
			if told := r.told(); !strings.Contains(told, "a full resync is needed") {
				t.Errorf("the user heard\n%s", told)
			}
		})
	}
}

// A target that is killed and comes back with what it saved asks for more than
// the spool holds: the source is asked.
func TestTargetRestarts(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{})
	r.follow()
	r.write("one", 100, 100)
	r.caughtUp()
	r.do(r.to, "SAVE")
	r.write("two", 100, 100)
	r.caughtUp()
	r.acked()
	if err := r.target.Kill(); err != nil {
		t.Fatal(err)
	}
	r.until("waiting", func() bool { return r.link.State() == relay.Waiting })
	r.write("three", 100, 100)
	host, port, err := net.SplitHostPort(r.address)
	if err != nil {
		t.Fatal(err)
	}
	sandboxtest.Start(t, "redis-7.0", sandbox.Options{
		Dir: r.target.Dir(), Port: r.target.Port(), Args: []string{"--replicaof " + host + " " + port},
	})
	r.caughtUp()
	r.equal()
	r.syncs(1, 1)
}
