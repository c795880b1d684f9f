package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"godwit/internal/audit"
	"godwit/internal/dataset"
	"godwit/internal/load"
	"godwit/internal/migrate"
	"godwit/internal/server"
	"godwit/internal/status"
	"godwit/internal/status/live"
	"godwit/internal/status/units"
)

// Pace of the demo.
const (
	demoRate   = 8000                  // writes per second of all writers together
	demoDwell  = 3 * time.Second       // between two acts, for the viewer
	demoLook   = 20 * time.Millisecond // between two looks at what is awaited
	demoMoving = 5 * time.Second       // within which the writers must have found the new primary
	demoSeed   = 20260304              // of the keys
	ttlLeeway  = 5 * time.Millisecond  // of relative TTLs, before 7.0
)

// demo is a migration with a script.
type demo struct {
	options *demoOptions
	streams streams
	out     io.Writer // streams.out for lines; safe for concurrent use
	config  migrate.Config
	began   time.Time
	load    *load.Load
	result  demoResult

	mu    sync.Mutex
	stage string // what the script does, for the view
}

// perform fills the source, starts the load and plays the script on a
// migration that is shown as `godwit run` shows it.
func (d *demo) perform(ctx context.Context) (err error) {
	d.say("filling the source with " + units.Count(int64(d.options.keys)) + " keys of every type")
	if err := d.fill(ctx); err != nil {
		return err
	}
	d.load, err = load.Start(ctx, load.Config{
		Endpoints: []server.Endpoint{d.config.From, d.config.To}, Writers: d.options.writers, Rate: demoRate,
	})
	if err != nil {
		return err
	}
	defer d.load.Stop()
	d.say(fmt.Sprintf("%d writers write to the source", d.options.writers))
	log := newLogger(d.streams, d.options.verbose)
	m, err := migrate.Open(ctx, d.config, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	var scriptErr error
	show := func(ctx context.Context, local status.LocalClient, stop func()) error {
		ctx, cancel := context.WithCancel(ctx)
		var script sync.WaitGroup
		defer script.Wait()
		defer cancel() // a view that is left at once leaves the script too
		script.Go(func() {
			if scriptErr = d.script(ctx, m); scriptErr != nil {
				stop()
			}
		})
		return d.show(ctx, local, stop)
	}
	err = carry(ctx, m, nil, show, log)
	if scriptErr != nil && (err == nil || errors.Is(err, context.Canceled)) && ctx.Err() == nil && !errors.Is(scriptErr, context.Canceled) {
		return scriptErr
	}
	return err
}

// fill writes what both servers can hold.
func (d *demo) fill(ctx context.Context) error {
	source, err := versionOf(ctx, d.config.From)
	if err != nil {
		return err
	}
	target, err := versionOf(ctx, d.config.To)
	if err != nil {
		return err
	}
	d.result.Source, d.result.Target = source.String(), target.String()
	return dataset.Fill(ctx, d.config.From, dataset.Options{
		Keys: d.options.keys, DBs: []int{0, 1, 2}, Seed: demoSeed,
		NoFieldTTLs: source.Product != target.Product || !target.AtLeast(7, 4),
		NoFunctions: !target.AtLeast(7, 0),
	})
}

func versionOf(ctx context.Context, e server.Endpoint) (server.Version, error) {
	client, err := server.Dial(ctx, e, "godwit-demo")
	if err != nil {
		return server.Version{}, err
	}
	info, err := client.Info(ctx, "server")
	return info.Version(), errors.Join(err, client.Close())
}

// script is what the demo does with the migration, from the copy to the audit.
func (d *demo) script(ctx context.Context, m *migrate.Migration) error {
	d.enter("copying while they write")
	for _, act := range []struct {
		name, next string
		to         server.Endpoint
		do         func(context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error)
	}{
		{"cutover", "following; next: cut over", d.config.To, m.Cutover},
		{"rollback", "switched; next: roll back", d.config.From, m.Rollback},
		{"second cutover", "rolled back; next: cut over again", d.config.To, m.Cutover},
	} {
		if err := until(ctx, func() bool { return m.Status().Ready }); err != nil {
			return err
		}
		d.enter(act.next)
		if err := dwell(ctx, demoDwell); err != nil {
			return err
		}
		if err := d.switchOver(ctx, act.name, act.to, act.do); err != nil {
			return fmt.Errorf("%s: %w", act.name, err)
		}
	}
	d.enter("switched for good; next: the audit")
	if err := dwell(ctx, demoDwell); err != nil {
		return err
	}
	if err := d.audit(ctx); err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	_, err := m.Complete(ctx, false)
	return err
}

// switchOver makes one switch and measures it on both sides.
func (d *demo) switchOver(ctx context.Context, name string, to server.Endpoint, do func(context.Context, migrate.SwitchOptions) (migrate.SwitchResult, error)) error {
	d.load.ResetStall()
	result, err := do(ctx, migrate.SwitchOptions{})
	if err != nil {
		return err
	}
	moving, cancel := context.WithTimeout(ctx, demoMoving)
	defer cancel()
	if err := until(moving, func() bool { return d.load.Snapshot().Writing[to.Address] == d.options.writers }); err != nil {
		return fmt.Errorf("the writers did not find %s: %w", to.Address, err)
	}
	d.result.Switches = append(d.result.Switches, demoSwitch{
		Name: name, WriteStallMS: result.WriteStallMS, WriterStallMS: milliseconds(d.load.Stall()),
	})
	return nil
}

// audit stops the load and counts: every acknowledged write on the primary,
// and every key on both servers.
func (d *demo) audit(ctx context.Context) error {
	d.load.Stop()
	d.enter("audit: waiting for the last write to arrive")
	if err := caughtUp(ctx, d.config.To, d.config.From); err != nil {
		return err
	}
	d.enter("audit: looking for every acknowledged write")
	writes, err := d.load.Audit(ctx, d.config.To)
	if err != nil {
		return err
	}
	d.enter("audit: comparing every key, value and TTL")
	keys, err := audit.Compare(ctx, d.config.From, d.config.To, audit.Options{TTLTolerance: ttlLeeway})
	if err != nil {
		return err
	}
	d.result.fill(writes, keys, time.Since(d.began))
	d.enter("audit: done")
	return nil
}

// caughtUp waits until replica has applied what primary had written at the call.
func caughtUp(ctx context.Context, primary, replica server.Endpoint) error {
	p, err := server.Dial(ctx, primary, "godwit-demo")
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }() // every reply has been read
	r, err := server.Dial(ctx, replica, "godwit-demo")
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // every reply has been read
	written, err := p.Info(ctx, "replication")
	if err != nil {
		return err
	}
	var failed error
	err = until(ctx, func() bool {
		applied, err := r.Info(ctx, "replication")
		failed = err
		return err != nil || applied.Int("slave_repl_offset") >= written.Int("master_repl_offset")
	})
	return errors.Join(failed, err)
}

// until waits for a condition.
func until(ctx context.Context, condition func() bool) error {
	for !condition() {
		if err := dwell(ctx, demoLook); err != nil {
			return err
		}
	}
	return nil
}

// dwell waits for a time.
func dwell(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// enter names the stage of the script, for the view.
func (d *demo) enter(stage string) {
	d.mu.Lock()
	d.stage = stage
	d.mu.Unlock()
	if !d.streams.interactive() {
		d.say(stage)
	}
}

// say prints a line about the demo itself.
func (d *demo) say(text string) {
	if !d.options.output.json() {
		_, _ = fmt.Fprintf(d.out, "%s demo: %s\n", time.Now().Format(time.TimeOnly), text) // the demo goes on without its words
	}
}

// extra are the demo's lines in the view.
func (d *demo) extra() []live.Extra {
	d.mu.Lock()
	stage := d.stage
	d.mu.Unlock()
	return []live.Extra{{Label: "demo", Text: stage}, {Label: "load", Text: d.loadText()}}
}

func (d *demo) loadText() string {
	s := d.load.Snapshot()
	return fmt.Sprintf("%d writers · %s writes/s · %s acknowledged · longest stall %s",
		d.options.writers, units.Rate(s.OpsPerSecond), units.Count(s.Acked), units.Milliseconds(milliseconds(s.Stall)))
}

// show is how `godwit run` shows a migration, with the load beside it.
func (d *demo) show(ctx context.Context, m status.LocalClient, stop func()) error {
	plain := demoPrinter{Plain: live.Plain{W: d.out}, demo: d}
	switch {
	case d.options.output.json():
		return live.Follow(ctx, m, live.JSON{W: d.out})
	case !d.streams.interactive() || d.options.verbose && isTerminal(d.streams.err):
		return live.Follow(ctx, m, plain)
	}
	return viewElse(ctx, m, d.streams, live.Options{
		Input: d.streams.in, Output: d.streams.out, Stop: stop, Extra: d.extra,
		Scripted: "Quit the demo? Its servers are stopped, and nothing of it stays.",
	}, plain)
}

// demoPrinter adds the load to each status.
type demoPrinter struct {
	live.Plain
	demo *demo
}

// Status implements live.Printer.
func (p demoPrinter) Status(s migrate.Status) error {
	if err := p.Plain.Status(s); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.W, "%s load: %s\n", s.At.Format(time.TimeOnly), p.demo.loadText())
	return err
}
