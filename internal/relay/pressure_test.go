package relay_test

import (
	"strings"
	"testing"
	"time"

	"godwit/internal/faultproxy"
	"godwit/internal/relay"
)

// The target stands still under load. The source's output buffer, though small,
// never fills: what the target does not take lies in the spool, most of it on disk.
func TestStoppedTargetUnderLoad(t *testing.T) {
	t.Parallel()
	const memory = 2 << 20
	r := newRig(t, options{
		sourceArgs: []string{"--client-output-buffer-limit", "replica 16mb 16mb 1", "--repl-backlog-size 1mb"},
		config:     func(c *relay.Config) { c.Spool.MemoryLimit = memory },
	})
	r.follow()
	if err := r.target.Pause(); err != nil {
		t.Fatal(err)
	}
	stop := r.load()
	for range 30 {
		r.write("key", 200, 10_000)
		time.Sleep(100 * time.Millisecond)
		if s := r.link.Snapshot().Spool; s.MemoryBytes > memory || s.Full {
			t.Fatalf("%+v", s)
		}
	}
	r.until("read", func() bool {
		return r.link.Snapshot().ReadOffset >= r.info(r.from, "replication").Int("master_repl_offset")
	})
	if s := r.link.Snapshot(); s.Spool.DiskBytes < 20<<20 || s.Lag < time.Second {
		t.Errorf("%+v", s)
	}
	if err := r.target.Resume(); err != nil {
		t.Fatal(err)
	}
	acked := stop()
	r.caughtUp()
	r.counted(acked)
	r.equal()
	r.syncs(1, 0)
	if log, err := r.source.Log(); err != nil || strings.Contains(log, "output buffer limits") {
		t.Errorf("the source's buffer overran: %v", err)
	}
	r.until("empty", func() bool { return r.link.Snapshot().Spool.DiskBytes == 0 })
}

// When the spool is full too, reading the source stops. That it says nothing
// then is not held against it.
func TestFullSpool(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{silence: 1200 * time.Millisecond, config: func(c *relay.Config) {
		c.Spool.MemoryLimit, c.Spool.DiskLimit = 1<<20, 1<<20
	}})
	r.follow()
	if err := r.target.Pause(); err != nil {
		t.Fatal(err)
	}
	r.write("key", 3000, 10_000)
	r.until("full", func() bool { return r.link.Snapshot().Spool.Full })
	time.Sleep(3 * time.Second)
	if told := r.told(); strings.Contains(told, "the connection to ") {
		t.Errorf("the source was given up:\n%s", told)
	}
	if err := r.target.Resume(); err != nil {
		t.Fatal(err)
	}
	r.poll() // or the spool would empty once a second
	r.caughtUp()
	r.equal()
	r.syncs(1, 0)
}

// A replica says nothing while it receives a snapshot, however long that takes.
func TestSlowSnapshot(t *testing.T) {
	t.Parallel()
	r := newRig(t, options{proxies: true, silence: 1200 * time.Millisecond, targetArgs: []string{"--repl-diskless-load disabled"}})
	r.write("key", 1500, 10_000)
	r.do(r.from, "CONFIG", "SET", "rdbcompression", "no")
	r.targetProxy.Slow(faultproxy.ToClient, 5<<20)
	r.follow()
	if n := r.link.Snapshot().FullResyncs; n != 1 {
		t.Errorf("%d full resyncs\n%s", n, r.told())
	}
	r.equal()
}

// An end that is gone without a word is noticed, in the stream and within a snapshot.
func TestHalfOpen(t *testing.T) {
	tests := []struct {
		name string
		side func(r *rig) *faultproxy.Proxy
		says string
	}{
		{"source", func(r *rig) *faultproxy.Proxy { return r.sourceProxy }, "the connection to {} ended: it was silent for 1.2s"},
		{"target", func(r *rig) *faultproxy.Proxy { return r.targetProxy }, "the connection of {} ended: it was silent for 1.2s"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, options{proxies: true, silence: 1200 * time.Millisecond})
			r.follow()
			stop := r.load()
			p := tt.side(r)
			says := strings.ReplaceAll(tt.says, "{}", map[string]string{"source": r.sourceProxy.Address(), "target": r.target.Address()}[tt.name])
			p.Swallow(faultproxy.ToClient)
			p.Swallow(faultproxy.ToTarget)
			r.until("noticed", func() bool { return strings.Contains(r.told(), says) })
			p.Heal()
			p.CloseAll() // the server itself would wait for a minute, an attempt under way for seconds
			acked := stop()
			r.caughtUp()
			r.counted(acked)
			r.equal()
			if n := r.link.Snapshot().FullResyncs; n != 1 {
				t.Errorf("%d full resyncs\n%s", n, r.told())
			}
		})
	}
	t.Run("source within the snapshot", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, options{proxies: true, silence: 1200 * time.Millisecond})
		r.do(r.from, "CONFIG", "SET", "rdbcompression", "no")
		r.write("key", 2000, 10_000)
		r.sourceProxy.Slow(faultproxy.ToClient, 1<<20)
		r.attach()
		r.until("copying", func() bool { return r.link.Snapshot().CopyBytes > 100_000 })
		r.sourceProxy.Stall(faultproxy.ToClient)
		r.until("noticed", func() bool {
			return strings.Contains(r.link.Snapshot().Reason+r.told(), "the connection to "+r.sourceProxy.Address()+" ended: it was silent for 1.2s")
		})
		r.sourceProxy.Heal()
		r.caughtUp()
		r.equal()
	})
}
