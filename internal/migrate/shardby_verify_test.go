package migrate_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
	"godwit/internal/verify"
)

// planted are differences of every kind at each of several servers that follow, as running
// has them found: "kind key", and the server of one that is not there by the rule.
func (d *divided) planted(m *running) (want []string) {
	d.t.Helper()
	stamp := time.Now().UnixNano()
	name := func(kind string, of int) string {
		for n := 0; ; n++ {
			if key := fmt.Sprintf("planted:%s:%d:%d", kind, stamp, n); d.of(key) == of {
				return key
			}
		}
	}
	add := func(kind verify.Kind, key string) { want = append(want, fmt.Sprint(kind, " ", key)) }
	large := strings.Repeat("large", 2<<20) // which is read in pieces
	type plant struct {
		at      *sandbox.Server
		command []any
	}
	var plants []plant
	for i, own := range d.a.servers {
		other := d.a.servers[(i+1)%len(d.a.servers)]
		missing, value, ttl, extra, beside, moved, alone := name("missing", i), name("value", i), name("ttl", i), name("extra", i), name("beside", i), name("moved", i), name("alone", i)
		for _, key := range []string{missing, value, ttl, beside, moved} {
			if _, err := d.b.at(key).Do(d.t.Context(), "SET", key, "right"); err != nil {
				d.t.Fatal(err)
			}
			eventually(d.t, "its old server has it", func() bool {
				got, err := connect(d.t, own).Do(d.t.Context(), "GET", key)
				return err == nil && got == "right"
			})
		}
		plants = append(plants,
			plant{own, []any{"DEL", missing}}, plant{own, []any{"SET", value, "wrong"}}, plant{own, []any{"PEXPIRE", ttl, 1_000_000}},
			plant{own, []any{"SET", extra, "wrong"}}, plant{other, []any{"SET", beside, "right"}},
			plant{own, []any{"DEL", moved}}, plant{other, []any{"SET", moved, "right"}}, plant{other, []any{"SET", alone, "wrong"}},
		)
		add(verify.Missing, missing)
		add(verify.Changed, value)
		add(verify.TTL, ttl)
		add(verify.Extra, extra)
		add(verify.Extra, beside+" at "+other.Address())
		add(verify.Missing, moved)
		add(verify.Extra, moved+" at "+other.Address())
		add(verify.Extra, alone+" at "+other.Address())
	}
	big, own, other := name("big", 0), d.a.servers[0], d.a.servers[1]
	if _, err := d.b.at(big).Do(d.t.Context(), "SET", big, large); err != nil {
		d.t.Fatal(err)
	}
	eventually(d.t, "its old server has it", func() bool {
		got, err := connect(d.t, own).Do(d.t.Context(), "STRLEN", big)
		return err == nil && got == int64(len(large))
	})
	plants = append(plants, plant{own, []any{"SETRANGE", big, 9 << 20, "wrong"}}, plant{other, []any{"SET", big, large}})
	add(verify.Changed, big)
	add(verify.Extra, big+" at "+other.Address())
	m.ready()
	for _, p := range plants {
		d.a.fencedAt(connect(d.t, p.at), p.command...)
	}
	slices.Sort(want)
	return want
}

// differing compares, and wants to hear of exactly these.
func (d *divided) differing(m *running, o migrate.VerifyOptions, want ...string) {
	d.t.Helper()
	report := m.compared(o)
	var got []string
	err := verify.EachDifference(migrate.VerifyDir(d.config.StateDir, m.Status().Name), func(f verify.Difference) error {
		text := fmt.Sprint(f.Kind, " ", string(f.Key))
		if f.Server != "" {
			text += " at " + f.Server
		}
		if f.DB != 0 || (f.Server != "") != strings.HasPrefix(f.Detail, f.Server+" has it, which") {
			d.t.Errorf("%+v", f)
		}
		got = append(got, text)
		return nil
	})
	if err != nil {
		d.t.Fatal(err)
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		d.t.Errorf("found\n%s\nwant\n%s\n%+v", strings.Join(got, "\n"), strings.Join(want, "\n"), report)
	}
}

// unions writes to the cluster, until stop is called, what the last of several servers is given
// by value: sets that are made of keys of others.
func (d *divided) unions() (stop func()) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(d.t.Context())
	last := len(d.a.servers) - 1
	names := func(tag int, what string, of, count int) (keys []string) {
		for n := 0; n < 1000 && len(keys) < count; n++ {
			if key := fmt.Sprintf("union:{%d}:%s:%d", tag, what, n); d.of(key) == of {
				keys = append(keys, key)
			}
		}
		return keys
	}
	var from, into []string
	for tag := 0; len(from) < 2 || len(into) < 10; tag++ {
		if tag == 1000 {
			d.t.Fatalf("no keys of one slot for server %d: %q, %q", last, from, into)
		}
		into = names(tag, "into", last, 10)
		if from = names(tag, "from", 0, 2); len(from) < 2 {
			from = names(tag, "from", last, 2) // a rule that goes by tags keeps a slot's keys together
		}
	}
	at := d.b.at(from[0])
	every := 100 * time.Millisecond // each costs a question to the cluster
	if long {
		every = 10 * time.Millisecond
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			pipe := at.Redis().Pipeline()
			for _, key := range from {
				pipe.SAdd(ctx, key, n)
				pipe.SRem(ctx, key, n-30)
			}
			for _, key := range into {
				pipe.SUnionStore(ctx, key, from...)
			}
			if _, err := pipe.Exec(ctx); err != nil && ctx.Err() == nil {
				d.t.Error(err)
				return
			}
			time.Sleep(every)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		writer.Wait()
	})
	d.t.Cleanup(stop)
	return stop
}

// While the cluster serves, each of the old servers is compared with what it has of its keys,
// exactly, whatever is written; what differs is named and repaired, a key too that is at a
// server that it is not of.
func TestSeveralServersVerifiedBack(t *testing.T) {
	t.Parallel()
	for _, tt := range some(1, []struct {
		rule     string
		from, to string
		servers  int
		shards   int // 0 for a standalone server
	}{{"crc32", "redis-7.0", "redis-7.0", 2, 3}, {"a program", "redis-7.0", "valkey-8.1", 3, 0}, {"crc16", "valkey-8.1", "valkey-8.1", 3, 2}}) {
		t.Run(fmt.Sprintf("%d of %s to %s, %d, by %s", tt.servers, tt.from, tt.to, tt.shards, tt.rule), func(t *testing.T) {
			t.Parallel()
			target := servers(t, tt.to, 1)
			if tt.shards > 0 {
				target = aCluster(t, tt.to, tt.shards)
			}
			d := divide(t, tt.from, tt.rule, tt.servers, target)
			for _, s := range d.a.servers {
				setConfig(t, s, "repl-diskless-sync-delay", "2")
			}
			d.load()
			m := start(t, d.config)
			m.ready()
			m.cutover()
			m.ready()
			rate := 300
			if long {
				rate = 1000
			}
			wide := startLoad(t, load.Config{Writers: 4, Prefix: "wide:", Rate: rate, Mix: load.OneSlot, Divide: d.of, Endpoints: d.b.endpoints()})
			d.loads = append(d.loads, wide)
			stop := d.unions()
			exact := func() {
				t.Helper()
				if r := m.verified(migrate.VerifyOptions{}); r.Method != verify.Snapshot || r.Settled != 0 {
					t.Errorf("%+v", r)
				}
			}
			for range verifyRuns() {
				exact()
			}
			m.verified(migrate.VerifyOptions{Method: verify.Scan, Sample: 0.1})
			want := d.planted(m)
			d.differing(m, migrate.VerifyOptions{Samples: 3}, want...)
			d.differing(m, migrate.VerifyOptions{Method: verify.Scan, Keys: "planted:*", Samples: 3, DBs: []int{0}}, want...)
			n := int64(tt.servers)
			if r := m.compared(migrate.VerifyOptions{Repair: true}); r.Result != verify.Different || r.Repaired[verify.Repaired] != 4*n+1 || r.Repaired[verify.Kept] != 4*n+1 {
				t.Errorf("%+v", r)
			}
			if r := m.compared(migrate.VerifyOptions{Repair: true, DeleteExtra: true}); r.Result != verify.Equal || r.Counts[verify.Extra] != 4*n+1 || r.Repaired[verify.Deleted] != 4*n+1 {
				t.Errorf("%+v", r)
			}
			exact()
			d.placed()
			for _, s := range d.a.servers {
				eventually(t, s.Address()+" is restored", func() bool {
					got, _, err := connect(t, s).ConfigGet(t.Context(), "repl-diskless-sync-delay")
					return err == nil && got == "2"
				})
			}
			m.ready()
			wide.Stop()
			stop()
			m.rollback()
			m.ready()
			m.verified(migrate.VerifyOptions{})
			d.settled(m, d.a)
			d.placed()
			if _, err := m.Abort(t.Context(), false); err != nil {
				t.Fatal(err)
			}
			if err := m.stop(); err != nil {
				t.Fatal(err)
			}
			d.a.clean(false)
			d.b.clean(false)
		})
	}
}
