package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"godwit/internal/sandbox"
	"godwit/internal/server"
)

// follow times a source that is followed, twice: between equal servers, where bytes
// pass as they are, and to one that has fewer dbs, for which each command is looked
// at. The target is of the same version in both, so that it takes the same time of a
// machine that all of them share.
func (b *bench) follow(ctx context.Context) error {
	native, relayed, err := b.followed(ctx, b.pick(12, 1))
	if err != nil {
		return err
	}
	b.report.add(row{What: "throughput of the source while followed (redis-benchmark -c 50 -P 32 -t set,incr,lpush)",
		Native: fmt.Sprintf("%.0f/s", median(native.rates)), Godwit: fmt.Sprintf("%.0f/s", median(relayed.rates)),
		Ratio: median(ratios(relayed.rates, native.rates)), Limit: 0.95, AtLeast: true, Unit: "× native", ShortIsNoise: b.short})
	b.report.add(row{What: "godwit's CPU a command followed", Godwit: fmt.Sprintf("%.0f ns", mean(relayed.godwitCPU)),
		Ratio: mean(relayed.godwitCPU), Limit: 200, Unit: "ns", ShortIsNoise: b.short})
	b.report.add(row{What: "lag back to 0 after the load's end, worst", Godwit: fmt.Sprintf("%.1f ms", largest(relayed.lags)),
		Ratio: largest(relayed.lags), Limit: 1000, Unit: "ms"})

	_, relayed, err = b.followed(ctx, b.pick(12, 1), "--databases 8")
	if err != nil {
		return err
	}
	b.report.add(row{What: "godwit's CPU a command followed, where each is looked at (a target with fewer dbs)", Godwit: fmt.Sprintf("%.0f ns", mean(relayed.godwitCPU)),
		Ratio: mean(relayed.godwitCPU), Limit: 200, Unit: "ns", ShortIsNoise: b.short})
	return nil
}

// followed loads sources with redis-benchmark: one with a native replica, one
// with godwit and its target, and another with a native replica, which tells
// how far apart equals come out. Short loads take turns, so that what a shared
// machine does to one it does to the others; and because two processes differ
// for all their lives by where their memory lies, there are many groups of them.
func (b *bench) followed(ctx context.Context, groups int, targetArgs ...string) (native, relayed *followed, err error) {
	requests, rounds := b.pick(200_000, 50_000), b.pick(4, 1)
	native, relayed = &followed{name: "native"}, &followed{name: "godwit", relayed: true, targetArgs: targetArgs}
	control := &followed{name: "native again"}
	for group := range groups {
		if err := b.followGroup(ctx, []*followed{native, relayed, control}, group, rounds, requests); err != nil {
			return nil, nil, err
		}
	}
	for _, f := range []*followed{native, relayed, control} {
		fmt.Printf("follow, %s %s: %.0f/s, CPU a command: source %.0f ns, target %.0f ns, godwit %.0f ns; caught up after %.1f ms at most; times native %s\n",
			f.name, strings.Join(f.targetArgs, " "), median(f.rates), mean(f.sourceCPU), mean(f.targetCPU), mean(f.godwitCPU), largest(f.lags), spread(ratios(f.rates, native.rates)))
	}
	return native, relayed, nil
}

// followGroup adds the rounds of one group of fresh servers to what each has measured.
func (b *bench) followGroup(ctx context.Context, measured []*followed, group, rounds, requests int) (err error) {
	rigs := make([]*followRig, len(measured))
	for i, f := range measured {
		if rigs[i], err = b.followRig(ctx, f); err != nil {
			return err
		}
		defer closing(&err, rigs[i].source, rigs[i].target)
		defer func() { _ = rigs[i].process.stop() }() // what it would say is not what is measured
	}
	for round := range 1 + rounds { // the first one fills caches and buffers
		for j := range rigs {
			i := (group + round + j) % len(rigs) // who begins alternates, too
			f := measured[i]
			if round == 0 {
				f = &followed{}
			}
			if err := rigs[i].load(ctx, requests, f); err != nil {
				return err
			}
		}
	}
	return nil
}

// followed is what loads measured: commands a second, nanoseconds of CPU a
// command, milliseconds of lag.
type followed struct {
	name                                         string
	targetArgs                                   []string
	relayed                                      bool
	rates, sourceCPU, targetCPU, godwitCPU, lags []float64
}

// followRig is a source and its follower.
type followRig struct {
	source, target *sandbox.Server
	process        *process // nil for a native replica
}

func (b *bench) followRig(ctx context.Context, f *followed) (r *followRig, err error) {
	r = &followRig{}
	defer func() {
		if err != nil {
			closing(&err, r.source, r.target)
		}
	}()
	if r.source, err = b.start(ctx); err != nil {
		return nil, err
	}
	if r.target, err = b.startVersion(ctx, version, f.targetArgs...); err != nil {
		return nil, err
	}
	if f.relayed {
		r.process, err = b.migrate(ctx, r.source, r.target)
	} else {
		err = do(ctx, r.target, "REPLICAOF", "127.0.0.1", r.source.Port())
	}
	if err == nil {
		err = until(ctx, r.target, "attached", time.Minute, linkUp)
	}
	if err == nil {
		err = caughtUp(ctx, r.source, r.target)
	}
	return r, err
}

// usage is the CPU time used so far.
type usage struct{ source, target, godwit time.Duration }

func (r *followRig) usage() (u usage, err error) {
	if u.source, err = r.source.CPU(); err != nil {
		return u, err
	}
	if u.target, err = r.target.CPU(); err != nil {
		return u, err
	}
	if r.process != nil {
		u.godwit, err = r.process.cpu()
	}
	return u, err
}

// load is one run of redis-benchmark.
func (r *followRig) load(ctx context.Context, requests int, f *followed) error {
	// What earlier runs pushed is of no use, and would make the servers differ.
	if err := do(ctx, r.source, "UNLINK", "mylist"); err != nil {
		return err
	}
	if err := caughtUp(ctx, r.source, r.target); err != nil {
		return err
	}
	before, err := r.usage()
	if err != nil {
		return err
	}
	rate, err := hammer(ctx, r.source, requests)
	if err != nil {
		return err
	}
	ended := time.Now()
	if err := caughtUp(ctx, r.source, r.target); err != nil {
		return err
	}
	lag := time.Since(ended)
	after, err := r.usage()
	if err != nil {
		return err
	}
	each := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / float64(3*requests) }
	f.rates = append(f.rates, rate)
	f.lags = append(f.lags, float64(lag.Microseconds())/1000)
	f.sourceCPU = append(f.sourceCPU, each(after.source-before.source))
	f.targetCPU = append(f.targetCPU, each(after.target-before.target))
	f.godwitCPU = append(f.godwitCPU, each(after.godwit-before.godwit))
	return nil
}

// hammer runs the server's own benchmark program to its end. The rate is its
// own, of its three tests together, without the program's start.
func hammer(ctx context.Context, s *sandbox.Server, requests int) (rate float64, err error) {
	tool := s.Binary().Tool("benchmark")
	out, err := exec.CommandContext(ctx, tool, "-h", "127.0.0.1", "-p", strconv.Itoa(s.Port()),
		"-c", "50", "-P", "32", "-t", "set,incr,lpush", "-n", strconv.Itoa(requests), "--csv").Output()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", tool, err)
	}
	lines, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(lines) != 4 {
		return 0, fmt.Errorf("%s: unexpected output %q: %w", tool, out, err)
	}
	var seconds float64 // a command of each
	for _, line := range lines[1:] {
		perSecond, err := strconv.ParseFloat(line[1], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: unexpected output %q: %w", tool, out, err)
		}
		seconds += 1 / perSecond
	}
	return float64(len(lines)-1) / seconds, nil
}

// caughtUp waits until the target stands where the source does, a minute at most.
func caughtUp(ctx context.Context, source, target *sandbox.Server) error {
	for {
		at, err := offset(ctx, source)
		if err != nil {
			return err
		}
		err = until(ctx, target, "caught up", time.Minute, func(info server.Info) bool { return info.Int("slave_repl_offset") >= at })
		if err != nil {
			return err
		}
		again, err := offset(ctx, source)
		if err != nil || again == at {
			return err
		}
	}
}
