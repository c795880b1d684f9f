package main

import (
	"context"
	"fmt"
	"time"

	"godwit/internal/load"
	"godwit/internal/server"
)

// switches cuts over and rolls back under 16 audited writers, again and again.
func (b *bench) switches(ctx context.Context) (err error) {
	rounds := b.pick(20, 2)
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
	p, err := b.migrate(ctx, source, target)
	if err != nil {
		return err
	}
	defer func() { _ = p.stop() }() // what it would say is not what is measured
	if err := until(ctx, target, "copied", time.Minute, linkUp); err != nil {
		return fmt.Errorf("%w\n%s", err, p.output)
	}
	writers, err := load.Start(ctx, load.Config{
		Endpoints: []server.Endpoint{source.Endpoint(), target.Endpoint()}, Writers: 16,
	})
	if err != nil {
		return err
	}
	defer writers.Stop()
	stalls := map[string][]float64{}
	for i := range rounds {
		for _, verb := range []string{"cutover", "rollback"} {
			if err := p.settled(ctx); err != nil {
				return err
			}
			writers.ResetStall()
			if err := p.verb(ctx, verb); err != nil {
				return fmt.Errorf("%w\n%s", err, p.output)
			}
			pause(ctx, 300*time.Millisecond) // until each writer has written at the new primary
			stall := writers.Stall()
			stalls[verb] = append(stalls[verb], float64(stall.Microseconds())/1e3)
			fmt.Printf("%s %d: longest stall of a writer %v\n", verb, i+1, stall)
		}
	}
	writers.Stop()
	report, err := writers.Audit(ctx, source.Endpoint())
	if err != nil {
		return err
	}
	for _, verb := range []string{"cutover", "rollback"} {
		b.report.add(row{What: fmt.Sprintf("%s under 16 writers, longest stall of any, median of %d", verb, rounds), Godwit: fmt.Sprintf("%.1f ms", median(stalls[verb])), Ratio: median(stalls[verb]), Limit: 12, Unit: "ms", ShortIsNoise: b.short})
		b.report.add(row{What: fmt.Sprintf("%s, the worst of %d", verb, rounds), Godwit: fmt.Sprintf("%.1f ms", largest(stalls[verb])), Ratio: largest(stalls[verb]), Limit: 60, Unit: "ms", ShortIsNoise: b.short})
	}
	b.report.add(row{What: fmt.Sprintf("acknowledged writes lost or doubled in these switches, of %s", thousands(int(report.Acked))), Godwit: fmt.Sprint(report.Lost + report.Doubled), Ratio: float64(report.Lost + report.Doubled), Limit: 0, Unit: ""})
	return nil
}

// settled waits until a switch may begin.
func (p *process) settled(ctx context.Context) error {
	deadline := time.Now().Add(30 * time.Second)
	for {
		ready, err := p.ready(ctx)
		if err == nil && ready {
			return nil
		}
		if time.Now().After(deadline) || ctx.Err() != nil {
			return fmt.Errorf("not ready within 30 s: %w\n%s", err, p.output)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// pause lets the load run.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
