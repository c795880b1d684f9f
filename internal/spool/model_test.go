package spool_test

import (
	"context"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"godwit/internal/spool"
)

// machine drives a spool and a model of it: the stream is what stream.go makes
// of positions, so the model is no more than a few of them.
type machine struct {
	spool    *spool.Spool
	memory   int64 // limits, in bytes, as they must be after rounding
	disk     int64
	epoch    byte // of the stream, another after each Reset
	end      int64
	released int64
	next     int64 // where the reader goes on
	held     []byte
	heldAt   int64 // what the reader holds since its last Next, and from where
}

// cancelled makes Reserve and Next return instead of waiting.
func cancelled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// Write fills reserved space, wholly or in part, if there is any.
func (m *machine) Write(t *rapid.T) {
	space, err := m.spool.Reserve(cancelled())
	if err != nil {
		m.checkFull(t, err)
		return
	}
	if len(space) == 0 || len(space) > spool.ChunkSize {
		t.Fatalf("%d bytes reserved", len(space))
	}
	n := rapid.OneOf(rapid.Just(len(space)), rapid.IntRange(0, len(space))).Draw(t, "bytes")
	fill(space[:n], m.epoch, m.end)
	m.spool.Commit(n)
	m.end += int64(n)
}

// WriteMuch writes whole chunks, as many as there is room for at most.
func (m *machine) WriteMuch(t *rapid.T) {
	for range rapid.IntRange(1, 8).Draw(t, "chunks") {
		space, err := m.spool.Reserve(cancelled())
		if err != nil {
			m.checkFull(t, err)
			return
		}
		fill(space, m.epoch, m.end)
		m.spool.Commit(len(space))
		m.end += int64(len(space))
	}
}

// checkFull holds that a writer waits only when both limits are reached.
func (m *machine) checkFull(t *rapid.T, err error) {
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	s := m.spool.Stats()
	// A chunk that the reader holds is not moved to disk.
	if s.MemoryBytes < m.memory || s.DiskBytes < m.disk {
		t.Fatalf("no space with %+v", s)
	}
	if s.Full {
		t.Fatal("full after the writer has gone")
	}
}

// Read takes what comes next, wholly or in part.
func (m *machine) Read(t *rapid.T) {
	b, err := m.spool.Next(cancelled(), m.next)
	m.held, m.heldAt = b, m.next
	switch {
	case m.next < m.released:
		if !errors.Is(err, spool.ErrReleased) {
			t.Fatalf("%v at %d, released up to %d", err, m.next, m.released)
		}
		m.next = m.released
		return
	case m.next == m.end:
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("%d bytes, %v at the end", len(b), err)
		}
		return
	case err != nil:
		t.Fatalf("at %d of %d: %v", m.next, m.end, err)
	}
	if len(b) == 0 || m.next+int64(len(b)) > m.end {
		t.Fatalf("%d bytes at %d of %d", len(b), m.next, m.end)
	}
	m.next += int64(rapid.OneOf(rapid.Just(len(b)), rapid.IntRange(0, len(b))).Draw(t, "bytes"))
}

// ReadMuch takes several pieces, all of each.
func (m *machine) ReadMuch(t *rapid.T) {
	for range rapid.IntRange(1, 8).Draw(t, "pieces") {
		if m.next < m.released || m.next == m.end {
			return
		}
		m.Read(t)
		m.next = m.heldAt + int64(len(m.held))
	}
}

// ReleaseRead gives up all that was read.
func (m *machine) ReleaseRead(*rapid.T) {
	m.spool.Release(m.next)
	m.released = max(m.released, m.next)
}

// Seek goes to where a target that reconnects may go on.
func (m *machine) Seek(t *rapid.T) {
	m.next = rapid.Int64Range(m.released, m.end).Draw(t, "position")
}

// Release gives up what the target has, as far as that was read or further.
func (m *machine) Release(t *rapid.T) {
	position := rapid.OneOf(rapid.Int64Range(0, m.next), rapid.Int64Range(0, m.end+10)).Draw(t, "position")
	m.spool.Release(position)
	m.released = max(m.released, min(position, m.end))
}

// Reset begins anew.
func (m *machine) Reset(*rapid.T) {
	m.spool.Reset()
	m.end, m.released, m.next, m.held = 0, 0, 0, nil
	m.epoch++
}

// Check holds after each step.
func (m *machine) Check(t *rapid.T) {
	if from, to := m.spool.Range(); from != m.released || to != m.end {
		t.Fatalf("from %d to %d, want %d to %d", from, to, m.released, m.end)
	}
	// What was read stays as it is until the next read, whatever was written or
	// released since.
	if at := differs(m.held, m.epoch, m.heldAt); at >= 0 {
		t.Fatalf("another byte at %d of %d", m.heldAt+int64(at), m.end)
	}
	s := m.spool.Stats()
	if s.MemoryLimit != m.memory || s.DiskLimit != m.disk {
		t.Fatalf("%+v, want limits of %d and %d", s, m.memory, m.disk)
	}
	if s.MemoryBytes > m.memory || s.DiskBytes > m.disk {
		t.Fatalf("beyond the limits: %+v", s)
	}
	if held := s.MemoryBytes + s.DiskBytes; held < m.end-m.released {
		t.Fatalf("%+v hold %d bytes", s, m.end-m.released)
	}
	if n := int64(m.spool.BuffersHeld()); n*spool.ChunkSize > m.memory+spool.ChunkSize {
		t.Fatalf("%d chunks of memory for a limit of %d", n, m.memory/spool.ChunkSize)
	}
}

func TestSpoolIsItsModel(t *testing.T) {
	const rounds = 8 // of rapid's hundred runs each
	dir := t.TempDir()
	for range rounds {
		rapid.Check(t, func(t *rapid.T) { runMachine(t, dir) })
	}
}

func runMachine(t *rapid.T, dir string) {
	memory := rapid.Int64Range(0, 6*spool.ChunkSize).Draw(t, "memory limit")
	disk := rapid.Int64Range(0, 8*spool.ChunkSize).Draw(t, "disk limit")
	m := &machine{
		spool:  spool.New(spool.Options{Dir: dir, MemoryLimit: memory, DiskLimit: disk}),
		memory: max(memory/spool.ChunkSize, 4) * spool.ChunkSize,
		disk:   disk / spool.ChunkSize * spool.ChunkSize,
	}
	defer m.spool.Close()
	t.Repeat(map[string]func(*rapid.T){
		"write": m.Write, "write much": m.WriteMuch, "write more": m.WriteMuch,
		"read": m.Read, "read much": m.ReadMuch, "seek": m.Seek,
		"release": m.Release, "release what was read": m.ReleaseRead, "reset": m.Reset, "": m.Check,
	})
}
