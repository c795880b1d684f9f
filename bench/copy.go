package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/sandbox"
)

// copies times a full copy of mixed keys, natively and through godwit, from
// the command's start to the target's link being up.
func (b *bench) copies(ctx context.Context) error {
	peaks, err := b.copy(ctx, copying{from: version, native: version, to: version, limit: 1.10})
	if err != nil {
		return err
	}
	b.report.add(row{What: "godwit's peak RSS in these copies, the spool's memory included (64 MB)", Godwit: fmt.Sprintf("%.1f MB", largest(peaks)),
		Ratio: largest(peaks), Limit: 64 + 64, Unit: "MB"})
	// The snapshot is rewritten on the way; natively there is no such copy.
	_, err = b.copy(ctx, copying{from: "redis-8.0", native: "redis-8.0", to: "valkey-8.1", limit: 1.20})
	return err
}

// copying is a copy through godwit, and the native one that it is held against.
type copying struct {
	from, to, native string // versions of servers
	limit            float64
}

// copy returns godwit's peak RSS in each run, in MB.
func (b *bench) copy(ctx context.Context, c copying) (peaks []float64, err error) {
	keys, runs := b.pick(1_000_000, 20_000), b.pick(5, 1)
	source, err := b.startVersion(ctx, c.from)
	if err != nil {
		return nil, err
	}
	defer closing(&err, source)
	if err := dataset.Fill(ctx, source.Endpoint(), dataset.Options{Keys: keys, Seed: 1, NoFieldTTLs: c.from != c.to}); err != nil {
		return nil, err
	}
	var native, relayed []float64
	for i := range runs {
		n, err := b.nativeCopy(ctx, source, c.native)
		if err != nil {
			return nil, err
		}
		r, peak, err := b.relayedCopy(ctx, source, c.to)
		if err != nil {
			return nil, err
		}
		fmt.Printf("copy %d: native %.2f s, godwit %.2f s, peak RSS %.1f MB\n", i+1, n, r, peak)
		native, relayed, peaks = append(native, n), append(relayed, r), append(peaks, peak)
	}
	n, r := median(native), median(relayed)
	b.report.add(row{
		What:   fmt.Sprintf("full copy, %s mixed keys, %s to %s, against native %s to %s", thousands(keys), c.from, c.to, c.from, c.native),
		Native: fmt.Sprintf("%.2f s", n), Godwit: fmt.Sprintf("%.2f s", r),
		Ratio: r / n, Limit: c.limit, Unit: "× native", ShortIsNoise: b.short,
	})
	return peaks, nil
}

func (b *bench) nativeCopy(ctx context.Context, source *sandbox.Server, version string) (seconds float64, err error) {
	target, err := b.startVersion(ctx, version)
	if err != nil {
		return 0, err
	}
	defer closing(&err, target)
	began := time.Now()
	if err := do(ctx, target, "REPLICAOF", "127.0.0.1", source.Port()); err != nil {
		return 0, err
	}
	if err := until(ctx, target, "copied", 2*time.Minute, linkUp); err != nil {
		return 0, err
	}
	return time.Since(began).Seconds(), nil
}

func (b *bench) relayedCopy(ctx context.Context, source *sandbox.Server, version string) (seconds, peakMB float64, err error) {
	target, err := b.startVersion(ctx, version)
	if err != nil {
		return 0, 0, err
	}
	defer closing(&err, target)
	began := time.Now()
	p, err := b.migrate(ctx, source, target)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = p.stop() }() // what it would say is not what is measured
	if err := until(ctx, target, "copied", 2*time.Minute, linkUp); err != nil {
		return 0, 0, fmt.Errorf("%w\n%s", err, p.output)
	}
	seconds = time.Since(began).Seconds()
	peak, err := p.peak()
	return seconds, float64(peak) / (1 << 20), err
}

// memory copies and follows one very large value.
func (b *bench) memory(ctx context.Context) (err error) {
	size := b.pick(512<<20, 16<<20)
	source, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer closing(&err, source)
	target, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer closing(&err, target)
	const piece = 8 << 20
	text := strings.Repeat("0123456789abcdef", piece/16)
	for at := 0; at < size; at += piece {
		if err := do(ctx, source, "APPEND", "large", text); err != nil {
			return err
		}
	}
	p, err := b.migrate(ctx, source, target, "--spool-memory", "16mb")
	if err != nil {
		return err
	}
	defer func() { _ = p.stop() }() // likewise
	if err := until(ctx, target, "copied", 2*time.Minute, linkUp); err != nil {
		return fmt.Errorf("%w\n%s", err, p.output)
	}
	// And once more through the stream, as one command.
	if err := do(ctx, source, "COPY", "large", "again"); err != nil {
		return err
	}
	if err := do(ctx, source, "SET", "after", "1"); err != nil {
		return err
	}
	if err := caughtUp(ctx, source, target); err != nil {
		return err
	}
	peak, err := p.peak()
	if err != nil {
		return err
	}
	mb := float64(peak) / (1 << 20)
	b.report.add(row{What: fmt.Sprintf("godwit's peak RSS with a %d MB value and a spool of 16 MB in memory", size>>20), Godwit: fmt.Sprintf("%.1f MB", mb),
		Ratio: mb, Limit: 64 + 16, Unit: "MB"})
	return nil
}
