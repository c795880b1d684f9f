package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"godwit/internal/dataset"
	"godwit/internal/rdb"
	"godwit/internal/server"
)

// scan times the scanner, checksum included, on a snapshot of mixed small keys
// in memory, on one core.
func (b *bench) scan(ctx context.Context) (err error) {
	source, err := b.startVersion(ctx, "redis-8.0")
	if err != nil {
		return err
	}
	defer closing(&err, source)
	if err := dataset.Fill(ctx, source.Endpoint(), dataset.Options{Keys: b.pick(1_000_000, 20_000), Seed: 1}); err != nil {
		return err
	}
	if err := do(ctx, source, "BGSAVE"); err != nil { // SAVE may take longer than a reply
		return err
	}
	saved := func(i server.Info) bool {
		return i["rdb_bgsave_in_progress"] == "0" && i["rdb_last_bgsave_status"] == "ok"
	}
	if err := until(ctx, source, "saved", 2*time.Minute, saved); err != nil {
		return err
	}
	snapshot, err := os.ReadFile(filepath.Join(source.Dir(), "dump.rdb"))
	if err != nil {
		return err
	}
	var rates []float64 // GB/s
	var keys int64
	for range b.pick(9, 1) {
		began := time.Now()
		s := rdb.NewScanner(bytes.NewReader(snapshot), rdb.ScannerOptions{})
		for {
			_, err := s.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
		rates = append(rates, float64(len(snapshot))/1e9/time.Since(began).Seconds())
		keys = s.Keys()
	}
	fmt.Printf("scan: %d keys, %d bytes, GB/s %s\n", keys, len(snapshot), spread(rates))
	b.report.add(row{What: fmt.Sprintf("scanning a snapshot of %s mixed keys (%d bytes a key), checksum included, one core", thousands(int(keys)), int64(len(snapshot))/keys),
		Godwit: fmt.Sprintf("%.2f GB/s", median(rates)), Ratio: median(rates), Limit: 1, AtLeast: true, Unit: "GB/s", ShortIsNoise: b.short})
	return nil
}
