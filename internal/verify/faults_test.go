package verify_test

import (
	"context"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/relay"
	"godwit/internal/sandbox"
	"godwit/internal/sandbox/sandboxtest"
	"godwit/internal/verify"
)

// slow has a server take a second or so for each 1000 keys of a snapshot.
func slow(t *testing.T, p *pair, microseconds int) {
	t.Helper()
	do(t, p.from, "CONFIG", "SET", "rdb-key-save-delay", microseconds)
	do(t, p.to, "CONFIG", "SET", "rdb-key-save-delay", microseconds)
}

func smallPair(t *testing.T, o options) *pair {
	t.Helper()
	p := newPair(t, o)
	fill(t, p.source, dataset.Options{Keys: 3000, DBs: []int{0, 3}, Now: time.Now(), NoFieldTTLs: true})
	p.follow(t)
	return p
}

// free holds that nothing is left of a comparison: the feed can be held again, and
// there are no files but the journal's.
func (p *pair) free(t *testing.T, dir string) {
	t.Helper()
	if p.link.State() == relay.Streaming {
		hold, err := p.link.Trail(t.Context(), 0)
		if err != nil {
			t.Errorf("the feed is not free: %v", err)
		} else {
			hold.Release()
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "report.json" && e.Name() != "differences.jsonl" {
			t.Errorf("%s is left", e.Name())
		}
	}
}

func mustNotTell(t *testing.T, report *verify.Report, says, hint string) {
	t.Helper()
	if report.Result != verify.Unknown || !strings.Contains(report.Error, says) || !strings.Contains(report.Hint, hint) {
		t.Errorf("%s: %q (%s), want unknown: %q (%s)", report.Result, report.Error, report.Hint, says, hint)
	}
	t.Logf("%s\n%s", report.Error, report.Hint)
}

// A FLUSHALL ends the snapshots of both servers.
func TestFlushAll(t *testing.T) {
	p := smallPair(t, options{source: "redis-7.0", target: "valkey-8.1"})
	slow(t, p, 100)
	var flushed atomic.Int64
	background(t, func(ctx context.Context) {
		for range 2 {
			time.Sleep(150 * time.Millisecond)
			if _, err := p.from.Do(ctx, "FLUSHALL"); err == nil {
				flushed.Add(1)
			}
			_ = dataset.Fill(ctx, p.source.Endpoint(), dataset.Options{Keys: 3000, Now: time.Now(), NoFieldTTLs: true})
		}
	})
	cfg := p.config(t)
	mustFind(t, compare(t, cfg), cfg.Options.Dir)
	p.free(t, cfg.Options.Dir)
	if flushed.Load() == 0 {
		t.Error("nothing was flushed meanwhile")
	}
}

// A snapshot that a server is writing already is waited for.
func TestBackgroundSaveUnderWay(t *testing.T) {
	t.Parallel()
	p := smallPair(t, options{source: "redis-7.0", target: "valkey-8.1"})
	slow(t, p, 200)
	do(t, p.from, "BGSAVE")
	do(t, p.to, "BGSAVE")
	slow(t, p, 0)
	cfg := p.config(t)
	report := compare(t, cfg)
	mustFind(t, report, cfg.Options.Dir)
	if report.Held > time.Second {
		t.Errorf("the feed was held for %v", report.Held)
	}
}

// Nothing is held while the source waits for others that want its snapshot.
func TestDisklessDelayOfTheSource(t *testing.T) {
	t.Parallel()
	p := smallPair(t, options{source: "redis-7.0", target: "valkey-8.1", sourceArgs: []string{"--repl-diskless-sync-delay 5"}})
	startLoad(t, p.source, 2000, false)
	cfg := p.config(t)
	report := compare(t, cfg)
	mustFind(t, report, cfg.Options.Dir)
	if report.Took < 3*time.Second || report.Held > time.Second {
		t.Errorf("took %v, the feed was held for %v", report.Took, report.Held)
	}
}

// A target that waits for others is asked for a snapshot by way of its disk.
func TestDisklessDelayOfTheTarget(t *testing.T) {
	t.Parallel()
	p := smallPair(t, options{source: "redis-7.0", target: "valkey-8.1", targetArgs: []string{"--repl-diskless-sync-delay 5"}})
	cfg := p.config(t)
	report := compare(t, cfg)
	mustFind(t, report, cfg.Options.Dir)
	if report.Held > time.Second {
		t.Errorf("the feed was held for %v", report.Held)
	}
}

// What a server answers when it cannot fork, after its +FULLRESYNC.
func TestForkFails(t *testing.T) {
	for _, role := range []string{"source", "target"} {
		t.Run(role, func(t *testing.T) {
			p := smallPair(t, options{source: "redis-7.0", target: "valkey-8.1"})
			cfg := p.config(t)
			instead := []sandboxtest.Replacement{{Old: []byte("$EOF:"), New: []byte("-ERR ")}}
			if role == "source" {
				cfg.Source.Shards[0] = sandboxtest.Impostor(t, p.source, nil, instead)
			} else {
				cfg.Target.Shards[0] = sandboxtest.Impostor(t, p.target, nil, instead)
			}
			mustNotTell(t, run(t, cfg), "the "+role+": 127.0.0.1:", "memory")
			p.free(t, cfg.Options.Dir)
		})
	}
}

// A child that cannot write its snapshot.
func TestBackgroundSaveFails(t *testing.T) {
	p := smallPair(t, options{source: "redis-7.0", target: "valkey-8.1", targetArgs: []string{"--repl-diskless-sync no"}})
	if err := os.RemoveAll(p.target.Dir()); err != nil {
		t.Fatal(err)
	}
	cfg := p.config(t)
	mustNotTell(t, run(t, cfg), "its last BGSAVE failed", "no space on its disk")
	p.free(t, cfg.Options.Dir)
}

// stage is what a comparison is at when something befalls it.
type stage struct {
	name  string
	roles []string // whom it needs there
	o     options
	hold  func(t *testing.T, p *pair) // has it stay there
}

func stages() []stage {
	both := []string{"source", "target"}
	disk := options{sourceArgs: []string{"--repl-diskless-sync no"}, targetArgs: []string{"--repl-diskless-sync no"}}
	return []stage{
		{"the source waits", both[:1], options{}, func(t *testing.T, p *pair) { do(t, p.from, "CONFIG", "SET", "repl-diskless-sync-delay", 60) }},
		{"snapshots are read", both, options{}, func(t *testing.T, p *pair) { slow(t, p, 3000) }},
		{"snapshots are written to disk", both, disk, func(t *testing.T, p *pair) { slow(t, p, 3000) }},
		{"a snapshot is under way", both[:1], options{}, func(t *testing.T, p *pair) {
			slow(t, p, 3000)
			do(t, p.from, "BGSAVE")
		}},
	}
}

func TestKilledServers(t *testing.T) {
	t.Parallel()
	for _, stage := range stages() {
		for _, role := range stage.roles {
			t.Run(stage.name+", the "+role+" is killed", func(t *testing.T) {
				stage.o.source, stage.o.target = "redis-7.0", "valkey-8.1"
				p := smallPair(t, stage.o)
				stage.hold(t, p)
				victim := p.source
				if role == "target" {
					victim = p.target
				}
				cfg := p.config(t)
				background(t, func(context.Context) {
					time.Sleep(500 * time.Millisecond)
					_ = victim.Kill()
				})
				began := time.Now()
				mustNotTell(t, run(t, cfg), victim.Address(), "")
				if took := time.Since(began); took > 10*time.Second {
					t.Errorf("it took %v", took)
				}
				p.free(t, cfg.Options.Dir)
			})
		}
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	for _, stage := range stages() {
		t.Run(stage.name, func(t *testing.T) {
			stage.o.source, stage.o.target = "redis-7.0", "valkey-8.1"
			p := smallPair(t, stage.o)
			stage.hold(t, p)
			cfg := p.config(t)
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			began := time.Now()
			report, err := verify.Run(ctx, cfg)
			if err != nil {
				t.Fatal(err)
			}
			if took := time.Since(began); took > 2*time.Second {
				t.Errorf("it took %v", took)
			}
			mustNotTell(t, report, "deadline exceeded", "")
			p.free(t, cfg.Options.Dir)
			cfg.Options.MaxDuration = 500 * time.Millisecond
			mustNotTell(t, run(t, cfg), "not done within 500ms", "--max-duration")
			p.free(t, cfg.Options.Dir)
		})
	}
}

// A replica without its primary gives no snapshot.
func TestNoLinkToThePrimary(t *testing.T) {
	t.Parallel()
	a := sandboxtest.Start(t, "redis-7.0", sandbox.Options{})
	b := sandboxtest.Start(t, "valkey-8.1", sandbox.Options{})
	do(t, sandboxtest.Client(t, b), "REPLICAOF", "127.0.0.1", 1)
	mustNotTell(t, run(t, verify.Config{Source: sideOf(a), Target: sideOf(b)}), "NOMASTERLINK", "link to its primary")
}
