package spool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"godwit/internal/spool"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The stream of a test: at each position a byte that follows from it, in a
// pattern whose length has no factor in common with a chunk's.
var pattern = func() []byte {
	b := make([]byte, 65521)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}()

func fill(b []byte, epoch byte, position int64) {
	at := int(position+int64(epoch)*251) % len(pattern)
	for len(b) > 0 {
		n := copy(b, pattern[at:])
		b, at = b[n:], 0
	}
}

// differs is where b is not the stream from position on, -1 if it is.
func differs(b []byte, epoch byte, position int64) int {
	at := int(position+int64(epoch)*251) % len(pattern)
	for done := 0; done < len(b); {
		n := min(len(b)-done, len(pattern)-at)
		if !bytes.Equal(b[done:done+n], pattern[at:at+n]) {
			for i := range n {
				if b[done+i] != pattern[at+i] {
					return done + i
				}
			}
		}
		done, at = done+n, 0
	}
	return -1
}

// write appends n bytes of the stream that stands at position.
func write(ctx context.Context, s *spool.Spool, position, n int64) error {
	for n > 0 {
		space, err := s.Reserve(ctx)
		if err != nil {
			return err
		}
		space = space[:min(int64(len(space)), n)]
		fill(space, 0, position)
		s.Commit(len(space))
		position, n = position+int64(len(space)), n-int64(len(space))
	}
	return nil
}

// A writer, a reader and a target that acknowledges late, each in a goroutine
// of its own, through memory and disk far smaller than the stream.
func TestSpoolCarriesAllBetweenGoroutines(t *testing.T) {
	for _, limits := range []spool.Options{
		{MemoryLimit: 0, DiskLimit: 0},
		{MemoryLimit: 1 << 20, DiskLimit: 2 << 20},
		{MemoryLimit: 1 << 20, DiskLimit: 1 << 30},
		{MemoryLimit: 64 << 20, DiskLimit: 0},
	} {
		t.Run(fmt.Sprintf("memory=%d,disk=%d", limits.MemoryLimit, limits.DiskLimit), func(t *testing.T) {
			t.Parallel()
			const total = 48 << 20
			limits.Dir = t.TempDir()
			s := spool.New(limits)
			defer s.Close()
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var read atomic.Int64
			var wg sync.WaitGroup
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(3, 4))
				for at := int64(0); at < total; {
					n := min(total-at, int64(1+rng.IntN(100_000)))
					if err := write(ctx, s, at, n); err != nil {
						t.Error(err)
						return
					}
					at += n
				}
			})
			wg.Go(func() {
				defer cancel() // ends the acknowledging, too
				rng := rand.New(rand.NewPCG(5, 6))
				for at := int64(0); at < total; {
					b, err := s.Next(ctx, at)
					if err != nil {
						t.Error(err)
						return
					}
					if i := differs(b, 0, at); i >= 0 {
						t.Errorf("another byte at %d", at+int64(i))
						return
					}
					at += int64(1 + rng.IntN(len(b)))
					read.Store(at)
					if rng.IntN(20) == 0 {
						time.Sleep(time.Duration(rng.IntN(1000)) * time.Microsecond) // a slow target
					}
				}
			})
			wg.Go(func() {
				for ctx.Err() == nil {
					s.Release(read.Load())
					if stats := s.Stats(); stats.MemoryBytes > stats.MemoryLimit || stats.DiskBytes > stats.DiskLimit {
						t.Errorf("beyond the limits: %+v", stats)
					}
					time.Sleep(200 * time.Microsecond)
				}
			})
			wg.Wait()
			if from, to := s.Range(); to != total {
				t.Errorf("holds %d to %d", from, to)
			}
		})
	}
}

// The writer waits while both limits are reached, and not a moment longer.
func TestDiskLimitHoldsTheWriterBack(t *testing.T) {
	s := spool.New(spool.Options{Dir: t.TempDir(), MemoryLimit: 4 * spool.ChunkSize, DiskLimit: 3 * spool.ChunkSize})
	defer s.Close()
	const capacity = 7 * spool.ChunkSize
	if err := write(t.Context(), s, 0, capacity); err != nil {
		t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() { written <- write(t.Context(), s, capacity, spool.ChunkSize) }()
	await(t, "full", func() bool { return s.Stats().Full })
	s.Release(spool.ChunkSize - 1) // not a whole chunk
	select {
	case err := <-written:
		t.Fatalf("went on beyond the limit: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	s.Release(spool.ChunkSize)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.Full || stats.MemoryBytes != stats.MemoryLimit || stats.DiskBytes > stats.DiskLimit {
		t.Errorf("%+v", stats)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := write(ctx, s, 0, 1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	readAll(t, s, spool.ChunkSize, 8*spool.ChunkSize)
	s.Release(8 * spool.ChunkSize)
	if stats := s.Stats(); stats.DiskBytes != 0 || stats.MemoryBytes > spool.ChunkSize {
		t.Errorf("%+v", stats)
	}
}

func readAll(t *testing.T, s *spool.Spool, from, to int64) {
	t.Helper()
	for from < to {
		b, err := s.Next(t.Context(), from)
		if err != nil {
			t.Fatal(err)
		}
		if i := differs(b, 0, from); i >= 0 {
			t.Fatalf("another byte at %d", from+int64(i))
		}
		from += int64(len(b))
	}
}

func await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not %s", what)
		}
	}
}

func TestNextWaits(t *testing.T) {
	s := spool.New(spool.Options{})
	defer s.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { _, err := s.Next(ctx, 0); ended <- err }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	got := make(chan string, 1)
	go func() {
		b, err := s.Next(t.Context(), 3)
		got <- fmt.Sprint(string(b), err)
	}()
	for _, text := range []string{"abc", "de"} { // the first is not what it waits for
		if err := s.Write(t.Context(), []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if text := <-got; text != "de<nil>" && text != "d<nil>" {
		t.Error(text)
	}
	s.Release(4)
	if _, err := s.Next(t.Context(), 3); !errors.Is(err, spool.ErrReleased) || !strings.Contains(err.Error(), "3, the first one held is 4") {
		t.Error(err)
	}
	if _, err := s.Next(t.Context(), -1); !errors.Is(err, spool.ErrReleased) {
		t.Error(err)
	}
}

func TestFileHasNoName(t *testing.T) {
	dir := t.TempDir()
	s := spool.New(spool.Options{Dir: dir, DiskLimit: 16 * spool.ChunkSize})
	if err := write(t.Context(), s, 0, 10*spool.ChunkSize); err != nil {
		t.Fatal(err)
	}
	if stats := s.Stats(); stats.DiskBytes != 6*spool.ChunkSize {
		t.Errorf("%+v", stats)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("%v, %v", entries, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestNothingIsMadeBeforeItIsNeeded(t *testing.T) {
	s := spool.New(spool.Options{Dir: "/nonexistent", MemoryLimit: 1 << 40, DiskLimit: 1 << 40})
	if s.BuffersHeld() != 0 {
		t.Errorf("%d chunks", s.BuffersHeld())
	}
	if err := write(t.Context(), s, 0, 1); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil || s.BuffersHeld() != 0 {
		t.Errorf("%v, %d chunks", err, s.BuffersHeld())
	}
}

func TestDiskErrors(t *testing.T) {
	t.Run("no directory", func(t *testing.T) {
		s := spool.New(spool.Options{Dir: "/nonexistent", DiskLimit: 1 << 30})
		defer s.Close()
		if err := write(t.Context(), s, 0, 5*spool.ChunkSize); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "spool: write to disk") {
			t.Error(err)
		}
		readAll(t, s, 0, 4*spool.ChunkSize)
	})
	t.Run("disk full", func(t *testing.T) {
		full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		s := spool.New(spool.Options{DiskLimit: 1 << 30})
		defer s.Close()
		s.UseFile(full)
		written := make(chan error, 1)
		go func() { written <- write(t.Context(), s, 0, 5*spool.ChunkSize) }()
		await(t, "full", func() bool { return s.Stats().Full })
		if limit := s.Stats().DiskLimit; limit != 0 {
			t.Errorf("the limit is %d", limit)
		}
		s.Release(spool.ChunkSize)
		if err := <-written; err != nil {
			t.Error(err)
		}
		readAll(t, s, spool.ChunkSize, 5*spool.ChunkSize)
	})
	t.Run("read", func(t *testing.T) {
		s := spool.New(spool.Options{Dir: t.TempDir(), DiskLimit: 1 << 30})
		defer s.Close()
		if err := write(t.Context(), s, 0, 6*spool.ChunkSize); err != nil {
			t.Fatal(err)
		}
		empty, err := os.Create(t.TempDir() + "/empty")
		if err != nil {
			t.Fatal(err)
		}
		s.UseFile(empty)
		for at := int64(0); ; {
			b, err := s.Next(t.Context(), at)
			if err != nil {
				if at == 0 || !strings.Contains(err.Error(), "spool: read back from disk: EOF") {
					t.Errorf("at %d: %v", at, err)
				}
				break
			}
			at += int64(len(b))
		}
	})
}

// However much lies on disk, memory is the limit and the chunk of the reader.
func TestMemoryIsBounded(t *testing.T) {
	const memory, total = 2 << 20, 192 << 20
	s := spool.New(spool.Options{Dir: t.TempDir(), MemoryLimit: memory, DiskLimit: 1 << 30})
	defer s.Close()
	before := heap()
	if err := write(t.Context(), s, 0, total); err != nil {
		t.Fatal(err)
	}
	readAll(t, s, 0, total)
	const slack = 1 << 20 // the list of chunks, the reader's own and the tests'
	if after := heap(); after > before+memory+slack {
		t.Errorf("%d bytes for a limit of %d", after-before, memory)
	}
	runtime.KeepAlive(s)
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Reads of the network come in pieces of this size at best.
const piece = 64 << 10

func BenchmarkSpool(b *testing.B) {
	for _, bench := range []struct {
		name   string
		behind int64 // how far the reader is behind the writer
	}{
		{"Memory", 0},
		{"MemoryBehind", 4 << 20},
		{"Disk", 32 << 20},
	} {
		b.Run(bench.name, func(b *testing.B) {
			s := spool.New(spool.Options{Dir: b.TempDir(), MemoryLimit: 8 << 20, DiskLimit: 1 << 30})
			defer s.Close()
			var sum byte
			b.SetBytes(piece)
			b.ReportAllocs()
			ctx, written, read := b.Context(), int64(0), int64(0)
			for b.Loop() {
				space, err := s.Reserve(ctx)
				if err != nil {
					b.Fatal(err)
				}
				n := min(len(space), piece)
				s.Commit(n)
				written += int64(n)
				if written-read < bench.behind+piece {
					continue
				}
				got, err := s.Next(ctx, read)
				if err != nil {
					b.Fatal(err)
				}
				got = got[:min(len(got), piece)]
				sum += got[0]
				read += int64(len(got))
				s.Release(read)
			}
			_ = sum
		})
	}
}
