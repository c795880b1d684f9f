package fault

import (
	"context"
	"testing"
	"time"

	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/sandbox"
)

// change is what happens to a cluster that is a side of a migration.
type change struct {
	name    string
	happens func(context.Context, *sandbox.Cluster) error
	loses   bool // its primary dies, and with it what its replica did not have
}

// crash kills the primary of a shard, and starts it again once its replica has taken over.
func crash(name string, shard int) change {
	return change{name: name, loses: true, happens: func(ctx context.Context, c *sandbox.Cluster) error {
		dead, err := c.Crash(ctx, shard)
		if err != nil {
			return err
		}
		time.Sleep(3 * time.Second) // as long as a look at the sides takes, without it
		return c.Restart(ctx, dead, false)
	}}
}

// added is what happens where there are no functions: who adds a shard loads them there.
const added = "a shard is added"

func changes() (given, gone, other, slots, atOnce, shard change) {
	given = crash("the primary that was given dies", 0)
	gone = change{name: "the primary that was given is gone", loses: true, happens: func(ctx context.Context, c *sandbox.Cluster) error {
		_, err := c.Crash(ctx, 0)
		return err
	}}
	other = crash("a primary dies", 1)
	slots = change{name: "slots move", happens: func(ctx context.Context, c *sandbox.Cluster) error {
		return c.Move(ctx, sandbox.SlotRange{First: 0, Last: 80}, 2, sandbox.MoveOptions{})
	}}
	atOnce = change{name: "slots move at once", happens: func(ctx context.Context, c *sandbox.Cluster) error {
		return c.MoveAtomically(ctx, sandbox.SlotRange{First: 0, Last: 3000}, 2)
	}}
	shard = change{name: added, happens: func(ctx context.Context, c *sandbox.Cluster) error {
		i, err := c.AddShard(ctx)
		if err != nil {
			return err
		}
		return c.Move(ctx, sandbox.SlotRange{First: 0, Last: 80}, i, sandbox.MoveOptions{})
	}}
	return given, gone, other, slots, atOnce, shard
}

// changed is a row of a table: what happens where and when.
type changed struct {
	version string
	shape   string
	side    migrate.Side
	during  migrate.Phase
	change
}

func changedRows() []changed {
	given, gone, other, slots, atOnce, shard := changes()
	const (
		toCluster, apart      = "standalone to cluster", "2 servers to cluster"
		toAnother, toOne      = "cluster of 3 to cluster of 5", "cluster to standalone"
		source, target        = migrate.Source, migrate.Target
		copying, following    = migrate.Copying, migrate.Following
		redis, valkey, newest = "redis-7.0", "valkey-8.1", "valkey-9.1"
	)
	if !long {
		return nil
	}
	return []changed{
		{redis, toCluster, target, following, other},
		{newest, toCluster, target, copying, other},
		{valkey, toCluster, target, following, given},
		{redis, toCluster, target, copying, given},
		{redis, toAnother, target, following, given},
		{redis, toCluster, target, following, gone},
		{valkey, toAnother, target, copying, gone},
		{redis, toCluster, target, copying, slots},
		{valkey, toCluster, target, following, slots},
		{newest, toCluster, target, copying, atOnce},
		{newest, toAnother, target, following, atOnce},
		{redis, apart, target, following, slots},
		{redis, apart + ", and back", target, following, slots},
		{redis, toCluster, target, following, shard},
		{valkey, toAnother, target, following, shard},

		{redis, toAnother, source, copying, other},
		{valkey, toOne, source, following, other},
		{newest, toAnother, source, following, given},
		{redis, toOne, source, copying, given},
		{redis, toAnother, source, following, gone},
		{redis, toAnother, source, copying, slots},
		{valkey, toOne, source, following, slots},
		{newest, toAnother, source, copying, atOnce},
		{newest, toOne, source, following, atOnce},
		{redis, toAnother, source, following, shard},
	}
}

// Whatever happens to either cluster while a migration copies or follows, it goes on by
// itself: what the source has is at the target once, and a cutover and the way back work.
func TestClusterChanges(t *testing.T) {
	for _, row := range changedRows() {
		for _, s := range shapes() {
			if s.name != row.shape {
				continue
			}
			t.Run(row.name+" at the "+string(row.side)+" while "+string(row.during)+", "+s.name+", "+row.version, func(t *testing.T) {
				t.Parallel()
				j := newJourney(t, s, row.version, 25_000, row.name != added)
				j.write()
				j.bustle()
				if row.during == migrate.Copying { // else it is over before anything can happen
					j.from.set("rdb-key-save-delay", "300") // µs
				}
				j.begin()
				j.p.until(string(row.during), func(s migrate.Status) bool { return s.Phase == row.during && s.Copy.Keys > 0 })
				c := j.to.cluster
				if row.side == migrate.Source {
					c = j.from.cluster
				}
				before := j.p.status()
				if err := row.happens(t.Context(), c); err != nil {
					t.Fatal(err)
				}
				t.Logf("it happened from %s, %d keys, to %s", before.Phase, before.Copy.Keys, j.p.status().Phase)
				if before.Phase != row.during {
					t.Errorf("it was to happen while %s", row.during)
				}
				j.from.set("rdb-key-save-delay", "0")
				j.p.ready()
				if row.side == migrate.Target { // the next run knows as much
					j.run.kill()
					j.begin()
					j.p.ready()
				}
				j.still()
				j.equal()
				lost := j.lost(row)
				j.write()
				j.p.ready()
				j.verifies()
				j.ends(lost...)
			})
		}
	}
}

// lost is what the source itself lost of each load, with a primary that died before its
// replica had it.
func (j *journey) lost(row changed) []load.Report {
	j.t.Helper()
	if row.side != migrate.Source || !row.loses {
		return nil
	}
	var reports []load.Report
	for _, l := range j.loads {
		r, err := l.Audit(j.t.Context(), j.from.primaries()...)
		if err != nil {
			j.t.Fatal(err)
		}
		reports = append(reports, r)
	}
	return reports
}
