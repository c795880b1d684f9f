package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/redis/go-redis/v9"

	"godwit/internal/resp"
	"godwit/internal/sandbox"
	"godwit/internal/server"
)

// setOrRestore measures what a plain string costs the server that is given it by SET and
// by RESTORE, both by the servers' own tool for mass insertion: by which of them the apply
// engine says it.
func (b *bench) setOrRestore(ctx context.Context) (err error) {
	keys, runs := b.pick(300_000, 50_000), b.pick(5, 1)
	dir, err := os.MkdirTemp("", "godwit-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for _, size := range []int{16, 100, 1000} {
		if err := b.strings(ctx, dir, keys, size); err != nil {
			return err
		}
		used := map[string][]float64{}
		for range runs {
			for _, way := range []string{"RESTORE", "SET"} {
				cpu, err := b.insert(ctx, filepath.Join(dir, way))
				if err != nil {
					return err
				}
				used[way] = append(used[way], cpu/float64(keys))
			}
		}
		b.report.add(row{
			What:   fmt.Sprintf("%s strings of %d bytes by SET, against RESTORE: the server's CPU a key", thousands(keys), size),
			Native: fmt.Sprintf("%.2f µs", median(used["RESTORE"])), Godwit: fmt.Sprintf("%.2f µs", median(used["SET"])),
			Ratio: median(ratios(used["SET"], used["RESTORE"])), Limit: 1.1, Unit: "×", ShortIsNoise: b.short,
		})
	}
	return nil
}

// strings writes the same keys to two files, as SET and as RESTORE.
func (b *bench) strings(ctx context.Context, dir string, keys, size int) (err error) {
	s, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer closing(&err, s)
	client, err := server.New(s.Endpoint(), "")
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // a measuring connection
	random := rand.NewChaCha8([32]byte{byte(size)})
	raw := make([]byte, size)
	files := map[string]*bufio.Writer{}
	for _, way := range []string{"SET", "RESTORE"} {
		file, err := os.Create(filepath.Join(dir, way))
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // what Flush says is enough
		files[way] = bufio.NewWriterSize(file, 1<<20)
	}
	var command []byte
	const together = 1000
	for first := 0; first < keys; first += together {
		pipe := client.Redis().Pipeline()
		var values []string
		for i := first; i < min(first+together, keys); i++ {
			if _, err := random.Read(raw); err != nil {
				return err
			}
			values = append(values, base64.StdEncoding.EncodeToString(raw)[:size])
			pipe.Set(ctx, "value", values[i-first], 0)
			pipe.Dump(ctx, "value")
		}
		replies, err := pipe.Exec(ctx)
		if err != nil {
			return err
		}
		for i, value := range values {
			key := "key:" + strconv.Itoa(first+i)
			command = resp.AppendCommand(command[:0], "SET", key, value)
			_, err = files["SET"].Write(command)
			command = resp.AppendCommand(command[:0], "RESTORE", key, "0", replies[2*i+1].(*redis.StringCmd).Val(), "REPLACE", "ABSTTL")
			_, restoreErr := files["RESTORE"].Write(command)
			if err := errors.Join(err, restoreErr); err != nil {
				return err
			}
		}
	}
	return errors.Join(files["SET"].Flush(), files["RESTORE"].Flush())
}

// insert gives a new server the commands of a file, and returns the CPU that it has used,
// in microseconds.
func (b *bench) insert(ctx context.Context, path string) (cpu float64, err error) {
	s, err := b.start(ctx)
	if err != nil {
		return 0, err
	}
	defer closing(&err, s)
	before, err := serverCPU(s)
	if err != nil {
		return 0, err
	}
	file, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }() // it was only read
	cmd := exec.CommandContext(ctx, s.Binary().Tool("cli"), "-h", "127.0.0.1", "-p", strconv.Itoa(s.Port()), "--pipe")
	cmd.Stdin = file
	if out, err := cmd.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("redis-cli --pipe: %w\n%s", err, out)
	}
	after, err := serverCPU(s)
	return after - before, err
}

func serverCPU(s *sandbox.Server) (microseconds float64, err error) {
	used, err := s.CPU()
	return float64(used.Microseconds()), err
}
