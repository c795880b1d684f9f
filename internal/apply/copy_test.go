package apply

import (
	"context"
	"slices"
	"strings"
	"testing"

	"godwit/internal/dataset"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// slowly has a server take its time over a snapshot.
func slowly(t *testing.T, s *sandbox.Server) {
	t.Helper()
	if err := sandboxtest.Client(t, s).ConfigSet(t.Context(), "rdb-key-save-delay", "300"); err != nil { // µs
		t.Fatal(err)
	}
}

// A shard that fails over while the snapshot is on its way does not keep the copy waiting
// for a node that takes no writes any more.
func TestTargetFailsOverDuringTheCopy(t *testing.T) {
	t.Parallel()
	type row struct {
		name, version string
		happens       func(context.Context, *sandbox.Cluster) error
	}
	for _, tt := range some(1, []row{
		{"a replica is promoted", "redis-7.0", func(ctx context.Context, c *sandbox.Cluster) error {
			_, err := c.Failover(ctx, 1)
			return err
		}},
		{"a primary crashes", "valkey-8.1", func(ctx context.Context, c *sandbox.Cluster) error {
			_, err := c.Crash(ctx, 1)
			return err
		}},
	}) {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source := sandboxtest.Start(t, tt.version, sandbox.Options{})
			target := sandboxtest.Cluster(t, tt.version, sandbox.ClusterOptions{Replicas: 1})
			if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 4000, NoFunctions: true}); err != nil {
				t.Fatal(err)
			}
			slowly(t, source)
			e := New(configure(t, source, target))
			run(t, e)
			until(t, func() (bool, string) { return e.View()[0].Keys > 500, "keys are copied" })
			if err := tt.happens(t.Context(), target); err != nil {
				t.Fatal(err)
			}
			t.Logf("it happened before %+v", e.View())
			caughtUp(t, e, source)
			t.Logf("%d keys", same(t, source, target, nil))
		})
	}
}

// A standalone target that was a replica of another server in between has that one's keys, and
// none of those that it was given before: it is given all of them.
func TestTargetIsAReplicaDuringTheCopy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		says string // before it is a primary again
	}{{"until it is told of", "READONLY "}, {"for a moment", ""}} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			source := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
			target, other := sandboxtest.Start(t, "redis-7.0", sandbox.Options{}), sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
			if err := dataset.Fill(t.Context(), source.Endpoint(), dataset.Options{Keys: 3000, NoFunctions: true}); err != nil {
				t.Fatal(err)
			}
			slowly(t, source)
			e := New(configureServers(t, target, source))
			run(t, e)
			until(t, func() (bool, string) { return e.View()[0].Keys > 200, "keys are copied" })
			client := sandboxtest.Client(t, target)
			follow := func(args ...any) {
				t.Helper()
				if _, err := client.Do(t.Context(), append([]any{"REPLICAOF"}, args...)...); err != nil {
					t.Fatal(err)
				}
			}
			follow("127.0.0.1", other.Port())
			until(t, func() (bool, string) {
				info, err := client.Info(t.Context(), "replication")
				if err != nil {
					t.Fatal(err)
				}
				return info["master_link_status"] == "up" && strings.Contains(e.View()[0].Reason, tt.says), "it follows, and refuses"
			})
			t.Logf("%+v", e.View())
			follow("NO", "ONE")
			caughtUp(t, e, source)
			t.Logf("%d keys", sameServers(t, []*sandbox.Server{source}, []*sandbox.Server{target}, nil))
		})
	}
}

// What a live target lacks and may do without is left out of the copy, and of the stream.
func TestCopyLeavesOut(t *testing.T) {
	t.Parallel()
	source := sandboxtest.Start(t, "redis-8.6", sandbox.Options{})
	target := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	client := sandboxtest.Client(t, source)
	fill := func(prefix string) {
		t.Helper()
		for _, args := range [][]any{
			{"VADD", prefix + "vectors", "VALUES", 2, 0.1, 0.9, "m"}, {"HSET", prefix + "hash", "f", "v"}, {"HPEXPIRE", prefix + "hash", 3600_000, "FIELDS", 1, "f"}, {"SET", prefix + "text", "v"},
		} {
			if _, err := client.Do(t.Context(), args...); err != nil {
				t.Fatal(err)
			}
		}
	}
	fill("a:")
	c := configureServers(t, target, source)
	c.Transcoder.Drop = []rdb.Feature{rdb.FeatureVectorSet, rdb.FeatureHashFieldTTL}
	e := New(c)
	run(t, e)
	caughtUp(t, e, source)
	fill("b:")
	caughtUp(t, e, source)
	names := sandboxtest.Client(t, target).Redis().Keys(t.Context(), "[ab]:*").Val()
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "a:hash a:text b:hash b:text" {
		t.Errorf("the target has %s", got)
	}
}
