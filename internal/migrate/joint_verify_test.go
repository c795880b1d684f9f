package migrate_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"godwit/internal/migrate"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/topology"
	"godwit/internal/verify"
)

// plant has the server that serves a key carry out a command, though it takes no user's
// writes.
func (d *deployed) plant(key string, command ...any) {
	d.t.Helper()
	plantAt(d.t, d.at(key), 0, command...)
}

// at is the server of a target that serves a key.
func (d *deployed) at(key string) *server.Client {
	d.t.Helper()
	found, err := topology.Resolve(d.t.Context(), d.endpoints()[0])
	if err != nil {
		d.t.Fatal(err)
	}
	shard := 0
	if found.Slots != nil {
		shard = found.Slots(slot.Of([]byte(key)))
	}
	c, err := server.Dial(d.t.Context(), found.Primaries[shard], "test")
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() { _ = c.Close() })
	return c
}

// differing compares, and wants to hear of exactly these, each "kind key".
func (r *running) differing(stateDir string, want ...string) {
	r.t.Helper()
	r.compared(migrate.VerifyOptions{Samples: 3})
	var got []string
	err := verify.EachDifference(migrate.VerifyDir(stateDir, r.Status().Name), func(d verify.Difference) error {
		got = append(got, fmt.Sprint(d.Kind, " ", string(d.Key)))
		return nil
	})
	if err != nil {
		r.t.Fatal(err)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// Servers among which clients have divided their keys are compared with what they become,
// by themselves before the cutover, and again and again under load; what differs is named,
// and a key that two of them have.
func TestSeveralServersVerified(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		from    string
		sources int
		to      string
		shards  int // 0 for a standalone server
	}{{"redis-7.0", 3, "redis-7.0", 3}, {"redis-7.0", 2, "valkey-8.1", 0}, {"valkey-8.1", 2, "valkey-8.1", 3}, {"valkey-8.1", 3, "redis-7.0", 0}} {
		t.Run(fmt.Sprintf("%d of %s to %s, %d", tt.sources, tt.from, tt.to, tt.shards), func(t *testing.T) {
			t.Parallel()
			if !long && tt.from != "redis-7.0" {
				return
			}
			target := servers(t, tt.to, 1)
			if tt.shards > 0 {
				target = aCluster(t, tt.to, tt.shards)
			}
			p := newJointPair(t, tt.from, servers(t, tt.from, tt.sources), target)
			p.config.Verify = migrate.VerifyBeforeCutover
			p.load()
			m := start(t, p.config)
			if v := m.ready().Verify; !v.Required || !v.Verified || v.State != migrate.VerifyEqual || v.SourceKeys == 0 || v.Source != strings.Join(addresses(p.a), ", ") {
				t.Errorf("%+v", v)
			}
			for range verifyRuns() { // the first one was by itself
				m.verified(migrate.VerifyOptions{})
			}
			m.verified(migrate.VerifyOptions{Method: verify.Scan, Sample: 0.1})
			var want []string
			for i := range 2 * tt.sources {
				missing, other, extra := fmt.Sprint("planted:missing:", i), fmt.Sprint("planted:other:", i), fmt.Sprint("planted:extra:", i)
				p.a.do(p.a.servers[i%tt.sources], "MSET", missing, "right", other, "right")
				eventually(t, "the target has it", func() bool {
					reply, err := p.b.at(missing).Do(t.Context(), "GET", missing)
					return err == nil && reply == "right"
				})
				eventually(t, "the target has it", func() bool {
					reply, err := p.b.at(other).Do(t.Context(), "GET", other)
					return err == nil && reply == "right"
				})
				p.b.plant(missing, "DEL", missing)
				p.b.plant(other, "SET", other, "wrong")
				p.b.plant(extra, "SET", extra, "wrong")
				want = append(want, "missing "+missing, "value "+other, "extra "+extra)
			}
			p.a.do(p.a.servers[0], "SET", "planted:twice", 1)
			p.a.do(p.a.servers[tt.sources-1], "SET", "planted:twice", 1)
			want = append(want, "twice planted:twice")
			m.differing(p.config.StateDir, want...)
			if s := m.Status(); s.Ready || s.Verify.Verified || s.Verify.Differing != int64(len(want)) {
				t.Errorf("ready %v, %+v", s.Ready, s.Verify)
			}
			if _, err := m.Cutover(t.Context(), migrate.SwitchOptions{}); err == nil || !strings.Contains(err.Error(), fmt.Sprint(len(want), " keys differ")) || !strings.Contains(err.Error(), "1 at several servers") {
				t.Errorf("a cutover: %v", err)
			}
			for i := range 2 * tt.sources { // by the sources, as repairs go
				missing, other, extra := fmt.Sprint("planted:missing:", i), fmt.Sprint("planted:other:", i), fmt.Sprint("planted:extra:", i)
				p.a.do(p.a.servers[i%tt.sources], "MSET", missing, "right", other, "right", extra, "right")
			}
			p.a.do(p.a.servers[0], "DEL", "planted:twice")
			eventually(t, "the target has done so, too", func() bool {
				reply, err := p.b.at("planted:twice").Do(t.Context(), "EXISTS", "planted:twice")
				return err == nil && reply == int64(0)
			})
			p.a.do(p.a.servers[tt.sources-1], "SET", "planted:twice", 1)
			m.verified(migrate.VerifyOptions{})
			m.ready()
			m.cutover()
			time.Sleep(300 * time.Millisecond)
			if _, err := m.Verify(t.Context(), migrate.VerifyOptions{}); err == nil || !strings.Contains(err.Error(), "only their clients know") {
				t.Errorf("compared after the cutover: %v", err)
			}
			p.settled(nil, p.b)
			m.completed()
			p.a.clean(true)
			p.b.clean(false)
		})
	}
}

// addresses are those of its nodes.
func addresses(d *deployed) (all []string) {
	for _, e := range d.endpoints() {
		all = append(all, e.Address)
	}
	return all
}
