//go:build fault

package verify_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/apply"
	"godwit/internal/dataset"
	auditedload "godwit/internal/load"
	"godwit/internal/rdb"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/spool"
	"godwit/internal/topology"
	"godwit/internal/traffic"
	"godwit/internal/verify"
)

// divided are servers among which clients have divided their keys, and what the apply
// engine makes of them: a cluster, or one server.
type divided struct {
	sources []*sandbox.Server
	from    []*server.Client
	side    verify.Side // the target
	to      []*server.Client
	engine  *apply.Engine
	holds   []atomic.Pointer[apply.Hold] // the last one of each source's link
	last    int                          // number of the source that has got a plant last
}

// newDivided starts the servers, and has the engine carry.
func newDivided(t *testing.T, version string, sources int, target string, shards int) *divided {
	t.Helper()
	settings := []string{"--repl-diskless-sync-delay 0", "--repl-backlog-size 64mb", "--hz 100"}
	d := &divided{holds: make([]atomic.Pointer[apply.Hold], sources)}
	for i := range sources {
		s := sandboxtest.Start(t, version, sandbox.Options{Args: settings})
		d.sources, d.from = append(d.sources, s), append(d.from, sandboxtest.Client(t, s))
		fill(t, s, dataset.Options{Keys: 5000, Seed: uint64(i), Prefix: fmt.Sprint("d", i, ":"), NoFunctions: true, NoFieldTTLs: true, Now: time.Now()})
	}
	var entry server.Endpoint
	if shards > 0 {
		c := sandboxtest.Cluster(t, target, sandbox.ClusterOptions{Shards: shards, Args: settings})
		d.side, d.to = clusterSide(t, c)
		entry = c.Endpoints()[0]
	} else {
		s := sandboxtest.Start(t, target, sandbox.Options{Args: settings})
		d.side, d.to = sideOf(s), []*server.Client{sandboxtest.Client(t, s)}
		entry = s.Endpoint()
	}
	from, err := topology.Inspect(t.Context(), d.from[0])
	if err != nil {
		t.Fatal(err)
	}
	to, err := topology.Inspect(t.Context(), d.to[0])
	if err != nil {
		t.Fatal(err)
	}
	knows := to.Capabilities()
	knows.Module = to.LoadsModulesOf(from, nil)
	config := apply.Config{
		Name: "test", Target: entry, Capabilities: knows, Transcoder: rdb.TranscoderOptions{Module: knows.Module},
		Spool: spool.Options{Dir: t.TempDir(), MemoryLimit: 16 << 20, DiskLimit: 1 << 30},
		Log:   slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn})),
	}
	v := from.Version
	for _, s := range d.sources {
		config.Sources = append(config.Sources, apply.Source{
			Endpoint: s.Endpoint(), Capabilities: from.Capabilities(), Version: fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch),
			Now: func() int64 { return time.Now().UnixMilli() }, // they share a clock
		})
	}
	d.engine = apply.New(config)
	background(t, func(ctx context.Context) {
		if err := d.engine.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("the engine ended: %v", err)
		}
	})
	d.caughtUp(t)
	return d
}

// caughtUp waits until the target has all that the sources have said up to now.
func (d *divided) caughtUp(t *testing.T) {
	t.Helper()
	for i, c := range d.from {
		info, err := c.Info(t.Context(), "replication")
		if err != nil {
			t.Fatal(err)
		}
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
			v := d.engine.View()[i]
			if v.State == apply.Streaming && v.Acked >= info.Int("master_repl_offset") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the target does not catch up: %+v, the source was at %s", v, info["master_repl_offset"])
			}
		}
	}
}

// dividedFeed is the link of one of the sources.
type dividedFeed struct {
	of     *divided
	source int
}

func (f dividedFeed) Trail(context.Context) (verify.Hold, error) {
	h, err := f.of.engine.Trail(f.source, 20*time.Millisecond)
	if err != nil {
		return nil, err
	}
	f.of.holds[f.source].Store(h)
	return h, nil
}

// unlock is of all links that are held.
func (d *divided) unlock(context.Context) (func(context.Context) error, error) {
	var locks []func()
	for i := range d.holds {
		lock, err := d.holds[i].Load().Unlock()
		if err != nil {
			return nil, err
		}
		locks = append(locks, lock)
	}
	return func(context.Context) error {
		for _, lock := range locks {
			lock()
		}
		return nil
	}, nil
}

func (d *divided) config(t *testing.T) verify.Config {
	cfg := verify.Config{Source: sideOf(d.sources...), Target: d.side, Unlock: d.unlock}
	for i := range d.sources {
		cfg.Feeds = append(cfg.Feeds, dividedFeed{d, i})
	}
	cfg.Options.Dir, cfg.Options.Samples = t.TempDir(), 3
	return cfg
}

// at is the server of the target that has a key.
func (d *divided) at(key string) *server.Client {
	if d.side.Slots == nil {
		return d.to[0]
	}
	return d.to[d.side.Slots(slot.Of([]byte(key)))]
}

// sow plants differences, each of another source's keys, and returns what a comparison
// must find.
func (d *divided) sow(t *testing.T, plants []plant) (want []string) {
	t.Helper()
	for _, p := range plants {
		d.last = (d.last + 1) % len(d.from)
		send(t, d.from[d.last], p, p.setup)
	}
	d.caughtUp(t)
	for _, p := range plants {
		send(t, d.at(p.key()), p, p.plant)
		if p.want != "" {
			want = append(want, fmt.Sprintf("%s 0 %s", p.want, p.key()))
		}
	}
	return want
}

// writes has each source written to by audited writers and by traffic of every command,
// until stop is called, which audits. The short form has traffic at the first one alone.
func (d *divided) writes(t *testing.T) (stop func()) {
	t.Helper()
	var ends []func()
	var loads []*auditedload.Load
	for i, s := range d.sources {
		l, err := auditedload.Start(t.Context(), auditedload.Config{
			Endpoints: []server.Endpoint{s.Endpoint()}, Writers: 4, Rate: 1500, TTL: time.Hour, Mix: auditedload.AnySlots, Prefix: fmt.Sprint("load", i, ":"),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Stop)
		loads = append(loads, l)
		ends = append(ends, background(t, func(ctx context.Context) { comeAndGo(ctx, d.from[i], i) }))
		ends = append(ends, background(t, func(ctx context.Context) {
			for seed := uint64(i + 1); ctx.Err() == nil; seed += 10 {
				_, err := traffic.Run(ctx, s.Endpoint(), traffic.Options{
					Seed: seed, Commands: 2000, DBs: []int{0}, Prefix: fmt.Sprint("t", i, ":"), NoFlush: true, Without: []traffic.Feature{traffic.Function},
				})
				if err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
		}))
	}
	return func() {
		t.Helper()
		for _, end := range ends {
			end()
		}
		for _, l := range loads {
			l.Stop()
		}
		d.caughtUp(t)
		for _, l := range loads {
			report, err := l.Audit(t.Context(), d.side.Shards...)
			if err != nil || report.Acked == 0 || !report.Clean() {
				t.Errorf("%v: %v", report, err)
			}
			t.Log(report)
		}
	}
}

// comeAndGo has keys of one of several servers be there for moments: a look at the others
// in the meantime finds nothing of them.
func comeAndGo(ctx context.Context, c *server.Client, number int) {
	for n := 0; ctx.Err() == nil; n++ {
		pipe := c.Redis().Pipeline()
		for i := range 20 {
			key := fmt.Sprint("gone", number, ":", (n+i)%60)
			switch (n + i) % 4 {
			case 0:
				pipe.Do(ctx, "SET", key, n)
			case 1:
				pipe.Do(ctx, "DEL", key)
			case 2:
				pipe.Do(ctx, "SET", key, n, "PX", 1+(n+7*i)%60)
			default:
				pipe.Do(ctx, "SUNIONSTORE", key, fmt.Sprint("members", number, ":", i), fmt.Sprint("members", number, ":", i+1))
				pipe.Do(ctx, "SADD", fmt.Sprint("members", number, ":", i), n%100)
			}
		}
		_, _ = pipe.Exec(ctx) // the end of ctx
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
}
