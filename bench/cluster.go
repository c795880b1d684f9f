package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/dataset"
	"godwit/internal/resp"
	"godwit/internal/sandbox"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// cluster times what the apply engine does: a copy into three shards, against a native
// copy of the same data to one server and against the servers' own tool for mass
// insertion, and the stream.
func (b *bench) cluster(ctx context.Context) error {
	if err := b.clusterCopy(ctx); err != nil {
		return err
	}
	return b.clusterFollow(ctx)
}

// shardedCopy is one run.
type shardedCopy struct{ native, piped, godwit, pipedCPU, targetCPU, godwitCPU []float64 }

func (b *bench) clusterCopy(ctx context.Context) (err error) {
	keys, runs := b.pick(500_000, 20_000), b.pick(5, 1)
	source, err := b.start(ctx)
	if err != nil {
		return err
	}
	defer closing(&err, source)
	if err := dataset.Fill(ctx, source.Endpoint(), dataset.Options{Keys: keys, Seed: 1, NoFunctions: true}); err != nil {
		return err
	}
	var m shardedCopy
	for i := range runs {
		n, err := b.nativeCopy(ctx, source, version)
		if err != nil {
			return err
		}
		m.native = append(m.native, n)
		if err := b.pipedCopy(ctx, source, keys, &m); err != nil {
			return err
		}
		if err := b.appliedCopy(ctx, source, keys, &m); err != nil {
			return err
		}
		last := func(list []float64) float64 { return list[len(list)-1] }
		fmt.Printf("copy %d: native %.2f s; redis-cli --pipe %.2f s, %.2f µs of the shards a key; godwit %.2f s, %.2f µs of the shards a key, %.2f µs its own\n",
			i+1, n, last(m.piped), last(m.pipedCPU), last(m.godwit), last(m.targetCPU), last(m.godwitCPU))
	}
	rate := float64(keys) / median(m.godwit)
	what := fmt.Sprintf("copy of %s mixed keys into 3 shards", thousands(keys))
	b.report.add(row{What: what + ": keys a second", Godwit: fmt.Sprintf("%.0f/s", rate), Ratio: rate / 1000, Limit: 100, AtLeast: true, Unit: "thousand/s", ShortIsNoise: b.short})
	b.report.add(row{
		What:   "the same, against a native copy to one server",
		Native: fmt.Sprintf("%.2f s", median(m.native)), Godwit: fmt.Sprintf("%.2f s", median(m.godwit)),
		Ratio: median(ratios(m.native, m.godwit)), Limit: 0.5, AtLeast: true, Unit: "× its speed", ShortIsNoise: b.short,
	})
	b.report.add(row{
		What:   "the same: the shards' CPU a key, against RESTORE by redis-cli --pipe",
		Native: fmt.Sprintf("%.2f µs", median(m.pipedCPU)), Godwit: fmt.Sprintf("%.2f µs", median(m.targetCPU)),
		Ratio: median(ratios(m.targetCPU, m.pipedCPU)), Limit: 1.2, Unit: "×", ShortIsNoise: b.short,
	})
	b.report.add(row{What: "the same: godwit's CPU a key", Godwit: fmt.Sprintf("%.2f µs", median(m.godwitCPU)), Ratio: median(m.godwitCPU), Limit: 3, Unit: "µs", ShortIsNoise: b.short})
	return nil
}

// threeShards starts a cluster.
func (b *bench) threeShards(ctx context.Context) (*sandbox.Cluster, error) {
	binary, err := b.catalog.Lookup(version)
	if err != nil {
		return nil, err
	}
	return sandbox.StartCluster(ctx, binary, sandbox.ClusterOptions{})
}

// shardsCPU is what the nodes of a cluster have used so far, in microseconds.
func shardsCPU(c *sandbox.Cluster) (sum float64, err error) {
	for _, n := range c.Nodes() {
		used, err := n.CPU()
		if err != nil {
			return 0, err
		}
		sum += float64(used.Microseconds())
	}
	return sum, nil
}

// pipedCopy has the servers' own tool insert the same keys.
func (b *bench) pipedCopy(ctx context.Context, source *sandbox.Server, keys int, m *shardedCopy) (err error) {
	c, err := b.threeShards(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	dir, err := os.MkdirTemp("", "godwit-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := restores(ctx, source, c, dir); err != nil {
		return err
	}
	before, err := shardsCPU(c)
	if err != nil {
		return err
	}
	began := time.Now()
	var running []*exec.Cmd
	for i, n := range c.Nodes() {
		file, err := os.Open(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // it was only read
		cmd := exec.CommandContext(ctx, n.Binary().Tool("cli"), "-h", "127.0.0.1", "-p", strconv.Itoa(n.Port()), "--pipe")
		cmd.Stdin = file
		if err := cmd.Start(); err != nil {
			return err
		}
		running = append(running, cmd)
	}
	for _, cmd := range running {
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("redis-cli --pipe: %w", err)
		}
	}
	took := time.Since(began)
	after, err := shardsCPU(c)
	m.piped, m.pipedCPU = append(m.piped, took.Seconds()), append(m.pipedCPU, (after-before)/float64(keys))
	return err
}

// restores writes each key of a server as a RESTORE to the file of its shard.
func restores(ctx context.Context, source *sandbox.Server, c *sandbox.Cluster, dir string) error {
	var owner [slot.Count]int
	var files []*bufio.Writer
	for i := range c.Shards() {
		ranges, err := c.Slots(ctx, i)
		if err != nil {
			return err
		}
		for _, r := range ranges {
			for of := int(r.First); of <= int(r.Last); of++ {
				owner[of] = i
			}
		}
		file, err := os.Create(filepath.Join(dir, strconv.Itoa(i)))
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // what Flush says is enough
		files = append(files, bufio.NewWriterSize(file, 1<<20))
	}
	client, err := server.New(source.Endpoint(), "")
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // a measuring connection
	rdb := client.Redis()
	var command []byte
	for cursor := uint64(0); ; {
		names, next, err := rdb.Scan(ctx, cursor, "", 1000).Result()
		if err != nil {
			return err
		}
		pipe := rdb.Pipeline()
		for _, name := range names {
			pipe.Dump(ctx, name)
			pipe.PExpireTime(ctx, name)
		}
		replies, err := pipe.Exec(ctx)
		if err != nil {
			return err
		}
		for i, name := range names {
			value := replies[2*i].(*redis.StringCmd).Val()
			until := max(replies[2*i+1].(*redis.DurationCmd).Val().Milliseconds(), 0)
			command = resp.AppendCommand(command[:0], "RESTORE", name, strconv.FormatInt(until, 10), value, "ABSTTL", "REPLACE")
			if _, err := files[owner[slot.Of([]byte(name))]].Write(command); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			break
		}
	}
	var failed []error
	for _, f := range files {
		failed = append(failed, f.Flush())
	}
	return errors.Join(failed...)
}

// appliedCopy has godwit do it.
func (b *bench) appliedCopy(ctx context.Context, source *sandbox.Server, keys int, m *shardedCopy) (err error) {
	c, err := b.threeShards(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	before, err := shardsCPU(c)
	if err != nil {
		return err
	}
	began := time.Now()
	p, err := b.migrate(ctx, source, c.Nodes()[0])
	if err != nil {
		return err
	}
	defer func() { _ = p.stop() }() // what it would say is not what is measured
	if err := p.follows(ctx); err != nil {
		return err
	}
	took := time.Since(began)
	own, err := p.cpu()
	if err != nil {
		return err
	}
	after, err := shardsCPU(c)
	m.godwit = append(m.godwit, took.Seconds())
	m.targetCPU = append(m.targetCPU, (after-before)/float64(keys))
	m.godwitCPU = append(m.godwitCPU, float64(own.Microseconds())/float64(keys))
	return err
}

// clusterFollow has godwit carry a stream that has come while it was away, as fast as it
// can, and the servers' own program send the same commands.
func (b *bench) clusterFollow(ctx context.Context) (err error) {
	requests, runs := b.pick(1_000_000, 20_000), b.pick(3, 1)
	source, err := b.startVersion(ctx, version, "--repl-backlog-size 1gb")
	if err != nil {
		return err
	}
	defer closing(&err, source)
	c, err := b.threeShards(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	direct, err := b.threeShards(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, direct.Close()) }()
	p, err := b.migrate(ctx, source, c.Nodes()[0])
	if err != nil {
		return err
	}
	if err := p.follows(ctx); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(p.state)) }()
	var servers, carried, own []float64
	for i := range runs {
		if err := p.interrupt(); err != nil {
			return err
		}
		if err := spread3(ctx, source, requests, ""); err != nil {
			return err
		}
		began := time.Now()
		if err := spread3(ctx, direct.Nodes()[0], requests, "--cluster"); err != nil {
			return err
		}
		servers = append(servers, 3*float64(requests)/time.Since(began).Seconds())
		began = time.Now()
		if p, err = b.migrateIn(ctx, p.state, source, c.Nodes()[0]); err != nil {
			return err
		}
		if err := acknowledged(ctx, source); err != nil {
			return fmt.Errorf("%w\n%s", err, p.output)
		}
		took := time.Since(began)
		used, err := p.cpu()
		if err != nil {
			return err
		}
		carried = append(carried, 3*float64(requests)/took.Seconds())
		own = append(own, float64(used.Nanoseconds())/3/float64(requests))
		fmt.Printf("follow %d: godwit %.0f commands/s, %.0f ns of its own each; redis-benchmark straight to the shards %.0f/s\n", i+1, carried[i], own[i], servers[i])
	}
	if err := p.interrupt(); err != nil {
		return err
	}
	b.report.add(row{
		What:   "a stream carried to 3 shards (redis-benchmark -r 100000 -P 32 -t set,incr,lpush, the last on one list; the same straight to the shards beside it)",
		Native: fmt.Sprintf("%.0f/s", median(servers)), Godwit: fmt.Sprintf("%.0f/s", median(carried)),
		Ratio: median(carried) / 1000, Limit: 150, AtLeast: true, Unit: "thousand/s", ShortIsNoise: b.short,
	})
	b.report.add(row{What: "the same: godwit's CPU a command", Godwit: fmt.Sprintf("%.0f ns", median(own)), Ratio: median(own), Limit: 3000, Unit: "ns", ShortIsNoise: b.short})
	return nil
}

// spread3 runs the servers' own benchmark program over many keys.
func spread3(ctx context.Context, s *sandbox.Server, requests int, mode string) error {
	args := []string{"-h", "127.0.0.1", "-p", strconv.Itoa(s.Port()), "-c", "48", "-P", "32", "-r", "100000", "-t", "set,incr,lpush", "-n", strconv.Itoa(requests), "-q"}
	if mode != "" {
		args = append(args, mode)
	}
	if out, err := exec.CommandContext(ctx, s.Binary().Tool("benchmark"), args...).CombinedOutput(); err != nil {
		return fmt.Errorf("redis-benchmark: %w\n%s", err, out)
	}
	return nil
}

// acknowledged waits until the replicas of a server have acknowledged all that it has
// written.
func acknowledged(ctx context.Context, s *sandbox.Server) error {
	return until(ctx, s, "followed", 3*time.Minute, func(info server.Info) bool {
		_, rest, _ := strings.Cut(info["slave0"], ",offset=")
		text, _, _ := strings.Cut(rest, ",")
		at, err := strconv.ParseInt(text, 10, 64)
		return err == nil && at >= info.Int("master_repl_offset")
	})
}
