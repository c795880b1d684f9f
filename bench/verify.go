package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"godwit/internal/dataset"
	"godwit/internal/psync"
	"godwit/internal/sandbox"
	"godwit/internal/server"
)

// verify compares two equal servers by both methods, against the time that the
// two need to send their snapshots at the same time to a client that only reads.
func (b *bench) verify(ctx context.Context) (err error) {
	keys, runs := b.pick(1_000_000, 20_000), b.pick(5, 1)
	// Without a delay both fork when they are asked, in every method.
	source, err := b.startVersion(ctx, version, "--repl-diskless-sync-delay 0")
	if err != nil {
		return err
	}
	defer closing(&err, source)
	target, err := b.startVersion(ctx, version, "--repl-diskless-sync-delay 0")
	if err != nil {
		return err
	}
	defer closing(&err, target)
	if err := dataset.Fill(ctx, source.Endpoint(), dataset.Options{Keys: keys, Seed: 1}); err != nil {
		return err
	}
	if err := do(ctx, target, "REPLICAOF", "127.0.0.1", source.Port()); err != nil {
		return err
	}
	if err := until(ctx, target, "copied", 2*time.Minute, linkUp); err != nil {
		return err
	}
	if err := do(ctx, target, "REPLICAOF", "NO", "ONE"); err != nil {
		return err
	}
	var sent, snapshot, scan, share, cpu, peaks []float64
	for i := range runs {
		read, err := b.bothSend(ctx, source, target)
		if err != nil {
			return err
		}
		bySnapshot, err := b.compare(ctx, source, target, "snapshot")
		if err != nil {
			return err
		}
		before, err := source.CPU()
		if err != nil {
			return err
		}
		byScan, err := b.compare(ctx, source, target, "scan")
		if err != nil {
			return err
		}
		after, err := source.CPU()
		if err != nil {
			return err
		}
		taken := (after - before).Seconds() / byScan.seconds
		perKey := float64(bySnapshot.cpu.Nanoseconds()) / float64(bySnapshot.keys)
		fmt.Printf("verify %d: both send %.2f s; snapshot method %.2f s, %.0f ns of CPU a key and side, peak RSS %.1f MB; scan method %.2f s, peak RSS %.1f MB, %.0f %% of the source's time\n",
			i+1, read, bySnapshot.seconds, perKey, bySnapshot.peakMB, byScan.seconds, byScan.peakMB, 100*taken)
		sent, snapshot, scan = append(sent, read), append(snapshot, bySnapshot.seconds), append(scan, byScan.seconds)
		share = append(share, 100*taken)
		cpu, peaks = append(cpu, perKey), append(peaks, bySnapshot.peakMB, byScan.peakMB)
	}
	of := fmt.Sprintf("comparing %s mixed keys of two servers", thousands(keys))
	b.report.add(row{What: of + ": snapshot method, against both sending their snapshots to a client that only reads",
		Native: fmt.Sprintf("%.2f s", median(sent)), Godwit: fmt.Sprintf("%.2f s", median(snapshot)),
		Ratio: median(ratios(snapshot, sent)), Limit: 1.3, Unit: "× reading", ShortIsNoise: b.short})
	b.report.add(row{What: "the same: godwit's CPU a key and side", Godwit: fmt.Sprintf("%.0f ns", median(cpu)),
		Ratio: median(cpu), Limit: 1500, Unit: "ns", ShortIsNoise: b.short})
	b.report.add(row{What: "the same: how much faster than the scan method", Native: fmt.Sprintf("%.2f s", median(scan)), Godwit: fmt.Sprintf("%.2f s", median(snapshot)),
		Ratio: median(ratios(scan, snapshot)), Limit: 3, AtLeast: true, Unit: "×", ShortIsNoise: b.short})
	b.report.add(row{What: "the scan method: how much of the source's time it takes from its clients", Godwit: fmt.Sprintf("%.0f %%", median(share)),
		Ratio: median(share), Limit: 33, Unit: "%", ShortIsNoise: b.short})
	b.report.add(row{What: "godwit's peak RSS in these comparisons, both methods", Godwit: fmt.Sprintf("%.1f MB", largest(peaks)),
		Ratio: largest(peaks), Limit: 128, Unit: "MB"})
	return nil
}

// bothSend is how long two servers need to send their snapshots at the same time.
func (b *bench) bothSend(ctx context.Context, servers ...*sandbox.Server) (seconds float64, err error) {
	began := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	for _, s := range servers {
		group.Go(func() error { return readSnapshot(ctx, s.Endpoint()) })
	}
	err = group.Wait()
	return time.Since(began).Seconds(), err
}

// readSnapshot asks for a full resync and reads the snapshot, to its end and no further.
func readSnapshot(ctx context.Context, e server.Endpoint) error {
	conn, err := e.DialConn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // it was read to the end
	stream, answer, err := psync.Attach(ctx, conn, psync.Hello{EOF: true, PSYNC2: true}, "?", psync.NoOffset, nil)
	if err != nil {
		return err
	}
	if !answer.Full {
		return errors.New("no full resync")
	}
	header, err := stream.SnapshotHeader(nil)
	if err != nil {
		return err
	}
	if header.Mark == nil {
		_, err := io.CopyN(io.Discard, stream, header.Length)
		return err
	}
	buf := make([]byte, 256<<10)
	kept := 0 // bytes at the beginning of buf that may be the mark's
	for {
		n, err := stream.Read(buf[kept:])
		if err != nil {
			return err
		}
		if n += kept; bytes.HasSuffix(buf[:n], header.Mark) {
			return nil
		}
		kept = copy(buf, buf[max(0, n-len(header.Mark)):n])
	}
}

// watchPeak looks again and again at the largest resident set of a process, until
// stop is called. What wait(2) tells counts the parent's before exec, too.
func watchPeak(pid int) (peak *atomic.Int64, stop func()) {
	peak = new(atomic.Int64)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				if bytes, err := peakOf(pid); err == nil {
					peak.Store(bytes)
				}
			}
		}
	})
	return peak, func() { close(done); watching.Wait() }
}

// compared is one run of `godwit verify`.
type compared struct {
	seconds, peakMB float64
	cpu             time.Duration
	keys            int64 // of both sides
}

func (b *bench) compare(ctx context.Context, source, target *sandbox.Server, method string) (compared, error) {
	state, err := os.MkdirTemp("", "godwit-bench-")
	if err != nil {
		return compared{}, err
	}
	defer func() { _ = os.RemoveAll(state) }() // a temporary directory
	cmd := exec.CommandContext(ctx, b.godwit, "verify", "--from", source.Endpoint().String(), "--to", target.Endpoint().String(),
		"--method", method, "--json", "--state-dir", state)
	var out bytes.Buffer
	cmd.Stdout = &out
	cmd.Stderr = os.Stderr
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return compared{}, err
	}
	peak, stop := watchPeak(cmd.Process.Pid)
	err = cmd.Wait()
	c := compared{seconds: time.Since(began).Seconds()}
	stop()
	if err != nil {
		return compared{}, fmt.Errorf("godwit verify: %w\n%s", err, out.Bytes())
	}
	c.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	c.peakMB = float64(peak.Load()) / (1 << 20)
	var report struct {
		Result     string
		Method     string
		SourceRead struct{ Keys int64 } `json:"source_read"`
		TargetRead struct{ Keys int64 } `json:"target_read"`
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		return compared{}, err
	}
	if c.keys = report.SourceRead.Keys + report.TargetRead.Keys; c.keys == 0 || report.Result != "equal" || report.Method != method {
		return compared{}, fmt.Errorf("not an equal result by that method: %s", out.Bytes())
	}
	return c, nil
}
