package migrate_test

import (
	"fmt"
	"slices"
	"strings"
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

// While the cluster serves, each of the old servers is compared with what it has of its keys,
// exactly, whatever is written; what differs is named and repaired, a key too that is at a
// server that it is not of.
func TestSeveralServersVerifiedBack(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		rule     string
		from, to string
		servers  int
		shards   int // 0 for a standalone server
	}{{"crc32", "redis-7.0", "redis-7.0", 2, 3}, {"a program", "redis-7.0", "valkey-8.1", 3, 0}, {"crc16", "valkey-8.1", "valkey-8.1", 3, 2}} {
		t.Run(fmt.Sprintf("%d of %s to %s, %d, by %s", tt.servers, tt.from, tt.to, tt.shards, tt.rule), func(t *testing.T) {
			t.Parallel()
			if !long && tt.rule == "crc16" {
				return
			}
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
			wide := startLoad(t, load.Config{Writers: 4, Prefix: "wide:", Rate: 1000, Mix: load.OneSlot, Divide: d.of, Endpoints: d.b.endpoints()})
			d.loads = append(d.loads, wide)
			for range verifyRuns() {
				m.verified(migrate.VerifyOptions{})
			}
			m.verified(migrate.VerifyOptions{Method: verify.Scan, Sample: 0.1})
			want := d.planted(m)
			d.differing(m, migrate.VerifyOptions{Samples: 3}, want...)
			d.differing(m, migrate.VerifyOptions{Method: verify.Scan, Keys: "planted:*", Samples: 3, DBs: []int{0}}, want...)
			n := int64(tt.servers)
			if r := m.compared(migrate.VerifyOptions{Repair: true}); r.Result != verify.Different || r.Repaired[verify.Repaired] != 4*n || r.Repaired[verify.Kept] != 4*n {
				t.Errorf("%+v", r)
			}
			if r := m.compared(migrate.VerifyOptions{Repair: true, DeleteExtra: true}); r.Result != verify.Equal || r.Counts[verify.Extra] != 4*n || r.Repaired[verify.Deleted] != 4*n {
				t.Errorf("%+v", r)
			}
			m.verified(migrate.VerifyOptions{})
			d.placed()
			for _, s := range d.a.servers {
				eventually(t, s.Address()+" is restored", func() bool {
					got, _, err := connect(t, s).ConfigGet(t.Context(), "repl-diskless-sync-delay")
					return err == nil && got == "2"
				})
			}
			m.ready()
			wide.Stop()
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
