//go:build fault

package apply

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"godwit/internal/faultproxy"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
)

// The feed is ended at random moments under load, and begun again from nothing but what
// the old primary's checkpoint says.
func TestFeedBegunAgain(t *testing.T) {
	for _, old := range []string{"redis-7.0", "redis-6.0", "valkey-8.1"} {
		t.Run(old, func(t *testing.T) {
			cluster := old
			if old == "redis-6.0" {
				cluster = "redis-7.0"
			}
			r := newFeedRig(t, feedOptions{old: old, cluster: cluster, keys: 2000})
			r.config.Resume = true
			l := r.load(0)
			r.written(l, 2000)
			rng := rand.New(rand.NewPCG(1, 2))
			for range 20 {
				time.Sleep(time.Duration(rng.IntN(300)) * time.Millisecond)
				r.end()
				r.start()
				r.streaming()
			}
			r.goBack(l)
		})
	}
}

// The old primary's connection is cut at random moments, within whatever is sent.
func TestFeedCut(t *testing.T) {
	for _, old := range []string{"redis-7.0", "redis-8.0", "redis-6.0", "valkey-8.1", "valkey-9.1"} {
		t.Run(old, func(t *testing.T) {
			cluster := old
			if old == "redis-6.0" {
				cluster = "redis-7.0"
			}
			r := newFeedRig(t, feedOptions{old: old, cluster: cluster, keys: 2000})
			l := r.load(0)
			r.written(l, 1000)
			rng := rand.New(rand.NewPCG(3, 4))
			for range 20 {
				before := r.proxy.Accepted()
				r.proxy.CutAfter(faultproxy.ToClient, rng.Int64N(200_000))
				until(t, func() (bool, string) { return r.proxy.Open() == 0 || r.proxy.Accepted() > before, "no cut" })
				r.proxy.Heal()
				r.streaming()
			}
			r.goBack(l)
		})
	}
}

// A shard is handed over to its replica, under load.
func TestFeedOfAShardThatFailsOver(t *testing.T) {
	for _, version := range []string{"redis-7.0", "valkey-9.1"} {
		t.Run(version, func(t *testing.T) {
			r := newFeedRig(t, feedOptions{old: version, cluster: version, keys: 2000, shards: sandbox.ClusterOptions{Replicas: 1}})
			l := r.load(0)
			r.written(l, 2000)
			for shard := range 3 {
				if _, err := r.cluster.Failover(t.Context(), shard); err != nil {
					t.Fatal(err)
				}
				r.written(l, 2000)
			}
			r.goBack(l)
		})
	}
}

// The old primary dies under load and comes back with its data, or with what it had saved
// a while ago, as a replica or as a primary that is made one.
func TestFeedOfAReplicaThatIsRestarted(t *testing.T) {
	for _, old := range []string{"redis-7.0", "redis-6.0", "valkey-8.1"} {
		for _, saved := range []string{"aof", "rdb"} {
			for _, role := range []string{"replica", "primary"} {
				t.Run(old+" "+saved+" "+role, func(t *testing.T) {
					cluster := old
					if old == "redis-6.0" {
						cluster = "redis-7.0"
					}
					more := filepath.Join(t.TempDir(), "more.conf")
					r := newFeedRig(t, feedOptions{old: old, cluster: cluster, keys: 2000, oldArgs: []string{"--include " + write(t, more, "")}})
					host, port, err := net.SplitHostPort(r.proxy.Address())
					if err != nil {
						t.Fatal(err)
					}
					settings := ""
					if saved == "aof" {
						r.do("CONFIG", "SET", "appendonly", "yes")
						until(t, func() (bool, string) {
							info := r.info("persistence")
							return info["aof_rewrite_in_progress"] == "0" && info["aof_rewrite_scheduled"] == "0", fmt.Sprint(info)
						})
						settings = "appendonly yes\n"
					}
					if role == "replica" {
						settings += "replicaof " + host + " " + port + "\n"
					}
					write(t, more, settings)
					r.streaming()
					l := r.load(0)
					for range 4 {
						r.written(l, 2000)
						if saved == "rdb" {
							r.do("SAVE")
							r.written(l, 500)
						}
						if err := r.old.Restart(t.Context()); err != nil {
							t.Fatal(err)
						}
						if role == "primary" {
							r.do("REPLICAOF", host, port)
						}
						if r.cut() {
							return
						}
						r.streaming()
					}
					r.goBack(l)
				})
			}
		}
	}
}

// cut tells whether the way back has ended because the old primary, killed within a write
// to its append-only file, may have done something twice: that happens, and is said.
func (r *feedRig) cut() bool {
	r.t.Helper()
	var lost *WayBackLostError
	is := false
	until(r.t, func() (bool, string) {
		select {
		case err := <-r.ended:
			if is = errors.As(err, &lost) && strings.Contains(lost.Reason, "append-only file"); !is {
				r.ended <- err // streaming says what it is
				return true, ""
			}
			r.t.Log(err)
			r.ended <- context.Canceled // as far as the rig is concerned
			return true, ""
		default:
			v := r.feed.View()
			return v.State == Streaming && r.info("replication")["master_link_status"] == "up", fmt.Sprintf("%+v", v)
		}
	})
	return is
}

func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A shard's primary crashes under load, and its replica lacks what the old primary has got
// already: that is taken back.
func TestFeedOfAShardThatCrashes(t *testing.T) {
	for _, version := range []string{"redis-7.0", "valkey-8.1"} {
		t.Run(version, func(t *testing.T) {
			r := newFeedRig(t, feedOptions{old: version, cluster: version, keys: 2000, shards: sandbox.ClusterOptions{Replicas: 1, NodeTimeout: time.Second}})
			r.streaming()
			l := r.load(0)
			r.written(l, 2000)
			for shard := range 2 {
				primary, err := r.cluster.Primary(t.Context(), shard)
				if err != nil {
					t.Fatal(err)
				}
				replica := r.cluster.Nodes()[2*shard]
				if replica == primary {
					replica = r.cluster.Nodes()[2*shard+1]
				}
				if err := replica.Pause(); err != nil {
					t.Fatal(err)
				}
				endFirstReplica(t, primary)
				time.Sleep(100 * time.Millisecond) // what the primary says now its replica is not to have
				if err := primary.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := replica.Resume(); err != nil {
					t.Fatal(err)
				}
				c := sandboxtest.Client(t, replica)
				until(t, func() (bool, string) {
					info, err := c.Info(t.Context(), "replication")
					return err == nil && info["role"] == "master", fmt.Sprint(info, err)
				})
				r.written(l, 2000)
			}
			l.Stop()
			if err := r.feed.Drain(t.Context(), nil); err != nil {
				t.Fatal(err)
			}
			t.Logf("%d keys", r.compare())
		})
	}
}

// endFirstReplica ends the connection of the replica that a primary has had for the longest
// time.
func endFirstReplica(t *testing.T, primary *sandbox.Server) {
	t.Helper()
	c := sandboxtest.Client(t, primary)
	list, err := c.Text(t.Context(), "CLIENT", "LIST", "TYPE", "replica")
	if err != nil {
		t.Fatal(err)
	}
	id, _, _ := strings.Cut(strings.TrimPrefix(list, "id="), " ")
	do(t, c, "CLIENT", "KILL", "ID", id)
}

// A replica of up to 6.2 forgets where it stands when its question is not answered: it is
// had to remember.
func TestFeedOfAReplicaThatForgets(t *testing.T) {
	r := newFeedRig(t, feedOptions{old: "redis-6.0", cluster: "redis-7.0", keys: 2000})
	r.config.Resume = true
	r.streaming()
	l := r.load(0)
	for range 3 {
		r.written(l, 2000)
		r.end()
		time.Sleep(2500 * time.Millisecond) // it asks once a second
		r.start()
		r.streaming()
	}
	if log, _ := r.old.Log(); !strings.Contains(log, "Full resync from") && !strings.Contains(log, "no cached master") {
		t.Error("it has not forgotten")
	}
	r.goBack(l)
}
