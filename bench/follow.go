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

// follow loads the source with redis-benchmark, once with a native replica and
// once with godwit and its target attached, in turns.
func (b *bench) follow(ctx context.Context) (err error) {
	requests, runs := b.pick(2_000_000, 100_000), b.pick(5, 1)
	var native, relayed, perCommand, lags []float64
	for i := range runs {
		n, err := b.followOnce(ctx, requests, false)
		if err != nil {
			return err
		}
		r, err := b.followOnce(ctx, requests, true)
		if err != nil {
			return err
		}
		fmt.Printf("follow %d: native %.0f/s (CPU a command: source %.0f ns, target %.0f ns; caught up after %.0f ms), godwit %.0f/s (source %.0f ns, target %.0f ns, godwit %.0f ns; %.0f ms)\n",
			i+1, n.rate, n.source, n.target, n.lag, r.rate, r.source, r.target, r.nanos, r.lag)
		native, relayed = append(native, n.rate), append(relayed, r.rate)
		perCommand, lags = append(perCommand, r.nanos), append(lags, r.lag)
	}
	n, r := median(native), median(relayed)
	b.report.add(row{What: "throughput of the source while followed (redis-benchmark -c 50 -P 32 -t set,incr,lpush)",
		Native: fmt.Sprintf("%.0f/s", n), Godwit: fmt.Sprintf("%.0f/s", r), Ratio: r / n, Limit: 0.95, AtLeast: true, Unit: "× native", ShortIsNoise: b.short})
	b.report.add(row{What: "godwit's CPU a command followed", Godwit: fmt.Sprintf("%.0f ns", median(perCommand)), Ratio: median(perCommand), Limit: 200, Unit: "ns", ShortIsNoise: b.short})
	b.report.add(row{What: "lag back to 0 after the load's end, worst", Godwit: fmt.Sprintf("%.0f ms", largest(lags)), Ratio: largest(lags), Limit: 1000, Unit: "ms"})
	return nil
}

// followed is one run: writes a second, CPU of godwit, the source and the
// target in nanoseconds a command, and the lag's end in milliseconds after the load's.
type followed struct{ rate, nanos, source, target, lag float64 }

func (b *bench) followOnce(ctx context.Context, requests int, withGodwit bool) (f followed, err error) {
	source, err := b.start(ctx)
	if err != nil {
		return f, err
	}
	defer closing(&err, source)
	target, err := b.start(ctx)
	if err != nil {
		return f, err
	}
	defer closing(&err, target)
	var p *process
	if withGodwit {
		if p, err = b.migrate(ctx, source, target); err != nil {
			return f, err
		}
		defer func() { _ = p.stop() }() // what it would say is not what is measured
	} else if err := do(ctx, target, "REPLICAOF", "127.0.0.1", source.Port()); err != nil {
		return f, err
	}
	if err := until(ctx, target, "attached", time.Minute, linkUp); err != nil {
		return f, err
	}
	if err := caughtUp(ctx, source, target, time.Minute); err != nil {
		return f, err
	}
	var before time.Duration
	if p != nil {
		if before, err = p.cpu(); err != nil {
			return f, err
		}
	}
	sourceBefore, err := source.CPU()
	if err != nil {
		return f, err
	}
	targetBefore, err := target.CPU()
	if err != nil {
		return f, err
	}
	began := time.Now()
	if err := hammer(ctx, source, requests); err != nil {
		return f, err
	}
	took := time.Since(began)
	if err := caughtUp(ctx, source, target, time.Minute); err != nil {
		return f, err
	}
	f.rate = float64(3*requests) / took.Seconds()
	sourceAfter, err := source.CPU()
	if err != nil {
		return f, err
	}
	targetAfter, err := target.CPU()
	if err != nil {
		return f, err
	}
	f.source = float64((sourceAfter - sourceBefore).Nanoseconds()) / float64(3*requests)
	f.target = float64((targetAfter - targetBefore).Nanoseconds()) / float64(3*requests)
	f.lag = float64((time.Since(began) - took).Milliseconds())
	if p != nil {
		after, err := p.cpu()
		if err != nil {
			return f, err
		}
		f.nanos = float64((after - before).Nanoseconds()) / float64(3*requests)
	}
	return f, nil
}

// hammer runs the server's own benchmark program to its end.
func hammer(ctx context.Context, s *sandbox.Server, requests int) error {
	tool := s.Binary().Tool("benchmark")
	out, err := exec.CommandContext(ctx, tool, "-h", "127.0.0.1", "-p", strconv.Itoa(s.Port()),
		"-c", "50", "-P", "32", "-t", "set,incr,lpush", "-n", strconv.Itoa(requests), "--csv").Output()
	if err != nil {
		return fmt.Errorf("%s: %w", tool, err)
	}
	lines, err := csv.NewReader(strings.NewReader(string(out))).ReadAll()
	if err != nil || len(lines) < 3 {
		return fmt.Errorf("%s: unexpected output %q: %w", tool, out, err)
	}
	return nil
}

// caughtUp waits until the target stands where the source does.
func caughtUp(ctx context.Context, source, target *sandbox.Server, limit time.Duration) error {
	for {
		at, err := offset(ctx, source)
		if err != nil {
			return err
		}
		err = until(ctx, target, "caught up", limit, func(info server.Info) bool { return info.Int("slave_repl_offset") >= at })
		if err != nil {
			return err
		}
		again, err := offset(ctx, source)
		if err != nil || again == at {
			return err
		}
	}
}
