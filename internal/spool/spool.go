// Package spool holds bytes that were read from a source and that its target
// has not taken for good yet: in memory up to a limit, then in a file. So a
// slow target never makes the source's output buffer grow.
//
// Bytes are addressed by position, counted from the last Reset. One goroutine
// writes (Reserve, Commit), one reads (Next); Release and Stats are free to all.
package spool

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// ChunkSize is the unit of memory and of file space, in bytes: small enough
// that a chunk just written is still in the processor's cache when it is read.
const ChunkSize = 256 << 10

// ErrReleased is returned by Next for a position that was given up already.
var ErrReleased = errors.New("spool: position was released")

// Spool is a queue of bytes. Make it with New.
type Spool struct {
	memoryLimit int // chunks
	diskLimit   int // chunks
	dir         string

	mu        sync.Mutex
	chunks    []*chunk // in order; the first holds position first*ChunkSize
	first     int64
	end       int64 // position after the last committed byte
	released  int64
	reading   int64 // index of the chunk that the reader holds, -1 for none
	resident  int   // chunks with a buffer, free ones not counted
	spilled   int
	free      [][]byte
	file      *os.File
	slots     []int64 // free places in the file, in chunks
	fileEnd   int64   // chunks
	full      bool
	readable  chan struct{}
	writable  chan struct{}
	diskSlice []byte // the reader's own copy of a chunk on disk
	diskIndex int64
}

type chunk struct {
	buf  []byte // nil once spilled
	slot int64  // place in the file when buf is nil
}

// Options of a spool. Both limits are in bytes and are rounded to chunks.
type Options struct {
	Dir         string // where the file goes; it has no name and goes with the process
	MemoryLimit int64
	DiskLimit   int64 // a disk that is full before that lowers it to what was written
}

// New makes an empty spool. Nothing is allocated before it is needed.
func New(o Options) *Spool {
	return &Spool{
		memoryLimit: int(max(o.MemoryLimit/ChunkSize, 4)),
		diskLimit:   int(max(o.DiskLimit/ChunkSize, 0)),
		dir:         o.Dir,
		reading:     -1,
		diskIndex:   -1,
		readable:    make(chan struct{}, 1),
		writable:    make(chan struct{}, 1),
	}
}

// Reserve returns free space to write into, at least one byte and at most a
// chunk. It waits while both limits are reached.
func (s *Spool) Reserve(ctx context.Context) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if tail := s.tail(); tail != nil {
			s.full = false
			return tail.buf[s.end%ChunkSize:], nil
		}
		if s.resident < s.memoryLimit {
			s.grow(s.buffer())
			continue
		}
		buf, err := s.spill()
		if err != nil {
			return nil, err
		}
		if buf != nil {
			s.grow(buf)
			continue
		}
		s.full = true
		s.mu.Unlock()
		select {
		case <-s.writable:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if err := ctx.Err(); err != nil {
			s.full = false
			return nil, err
		}
	}
}

// Commit makes n bytes written into the reserved space readable.
func (s *Spool) Commit(n int) {
	s.mu.Lock()
	s.end += int64(n)
	s.mu.Unlock()
	signal(s.readable)
}

// Write appends b, waiting as Reserve does.
func (s *Spool) Write(ctx context.Context, b []byte) error {
	for len(b) > 0 {
		space, err := s.Reserve(ctx)
		if err != nil {
			return err
		}
		n := copy(space, b)
		s.Commit(n)
		b = b[n:]
	}
	return nil
}

// Next returns the bytes from position on, as many as lie together, waiting
// until there is one. They are valid until the next call of Next or Reset.
func (s *Spool) Next(ctx context.Context, position int64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		if position < s.released || position < s.first*ChunkSize {
			return nil, fmt.Errorf("%w: %d, the first one held is %d", ErrReleased, position, s.released)
		}
		if position < s.end {
			break
		}
		s.reading = -1
		s.mu.Unlock()
		select {
		case <-s.readable:
		case <-ctx.Done():
		}
		s.mu.Lock()
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	index := position / ChunkSize
	from, to := position%ChunkSize, min(s.end-index*ChunkSize, ChunkSize)
	s.reading = index
	c := s.chunks[index-s.first]
	if c.buf != nil {
		return c.buf[from:to], nil
	}
	if s.diskIndex != index {
		if s.diskSlice == nil {
			s.diskSlice = make([]byte, ChunkSize)
		}
		if _, err := s.file.ReadAt(s.diskSlice, c.slot*ChunkSize); err != nil {
			return nil, fmt.Errorf("spool: read back from disk: %w", err)
		}
		s.diskIndex = index
	}
	return s.diskSlice[from:to], nil
}

// Release gives up everything before position; it never needs to be read again.
func (s *Spool) Release(position int64) {
	s.mu.Lock()
	position = min(position, s.end)
	if position > s.released {
		s.released = position
		s.drop()
	}
	s.mu.Unlock()
	signal(s.writable)
}

// Reset empties the spool; positions start at 0 again. Neither a writer nor a
// reader may be at work.
func (s *Spool) Reset() {
	s.mu.Lock()
	for _, c := range s.chunks {
		s.recycle(c)
	}
	s.chunks, s.first, s.end, s.released, s.reading, s.diskIndex = nil, 0, 0, 0, -1, -1
	s.full = false
	s.mu.Unlock()
}

// Close gives memory and file back. The spool must not be used after it.
func (s *Spool) Close() error {
	s.Reset()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free, s.diskSlice = nil, nil
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}

// Stats says how much is held; bytes count whole chunks.
type Stats struct {
	MemoryBytes, MemoryLimit int64
	DiskBytes, DiskLimit     int64
	Full                     bool // the writer is waiting
}

// Stats is a snapshot.
func (s *Spool) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{
		MemoryBytes: int64(s.resident) * ChunkSize, MemoryLimit: int64(s.memoryLimit) * ChunkSize,
		DiskBytes: int64(s.spilled) * ChunkSize, DiskLimit: int64(s.diskLimit) * ChunkSize,
		Full: s.full,
	}
}

// Range is the part that can be read: from the first position not released to the end.
func (s *Spool) Range() (from, to int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.released, s.end
}

// tail is the last chunk when it has room, nil otherwise.
func (s *Spool) tail() *chunk {
	index := s.end / ChunkSize
	if int64(len(s.chunks)) == index-s.first {
		return nil
	}
	return s.chunks[index-s.first]
}

func (s *Spool) grow(buf []byte) {
	if len(s.chunks) == 0 {
		s.first = s.end / ChunkSize
	}
	s.chunks = append(s.chunks, &chunk{buf: buf})
	s.resident++
}

func (s *Spool) buffer() []byte {
	if n := len(s.free); n > 0 {
		buf := s.free[n-1]
		s.free = s.free[:n-1]
		return buf
	}
	return make([]byte, ChunkSize)
}

// spill moves a chunk to the file and returns its buffer, nil when the file's
// limit is reached. It takes the newest full one: the oldest is read next.
func (s *Spool) spill() ([]byte, error) {
	if s.spilled >= s.diskLimit {
		return nil, nil
	}
	var c *chunk
	for i := len(s.chunks) - 1; i >= 0; i-- {
		if s.chunks[i].buf != nil && s.first+int64(i) != s.reading {
			c = s.chunks[i]
			break
		}
	}
	if c == nil {
		return nil, nil
	}
	slot := s.fileEnd
	if n := len(s.slots); n > 0 {
		slot = s.slots[n-1]
	}
	err := s.openFile()
	if err == nil {
		_, err = s.file.WriteAt(c.buf, slot*ChunkSize)
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		s.diskLimit = s.spilled // the disk is smaller than the limit: from now on it is the limit
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("spool: write to disk: %w", err)
	}
	if slot == s.fileEnd {
		s.fileEnd++
	} else {
		s.slots = s.slots[:len(s.slots)-1]
	}
	buf := c.buf
	c.buf, c.slot = nil, slot
	s.resident--
	s.spilled++
	return buf, nil
}

// openFile makes the file at the first use. Without a name it needs no cleaning
// up, however the process ends.
func (s *Spool) openFile() error {
	if s.file != nil {
		return nil
	}
	file, err := os.CreateTemp(s.dir, "spool-*")
	if err != nil {
		return err
	}
	if err := os.Remove(file.Name()); err != nil {
		return errors.Join(err, file.Close())
	}
	s.file = file
	return nil
}

// drop recycles the chunks that lie wholly before the released position. The
// one that the reader holds stays until it moves on.
func (s *Spool) drop() {
	for len(s.chunks) > 0 && (s.first+1)*ChunkSize <= s.released && s.first != s.reading {
		s.recycle(s.chunks[0])
		s.chunks[0] = nil
		s.chunks = s.chunks[1:]
		s.first++
	}
	if len(s.chunks) == 0 {
		s.chunks = nil
	}
}

func (s *Spool) recycle(c *chunk) {
	if c.buf == nil {
		s.slots = append(s.slots, c.slot)
		s.spilled--
		if s.spilled == 0 && s.file != nil {
			// Everything was read back: give the file's blocks to others.
			if s.file.Truncate(0) == nil {
				s.slots, s.fileEnd = nil, 0
			}
		}
		return
	}
	s.resident--
	// A few buffers are kept for the next chunks; the rest goes back to the runtime.
	if len(s.free) < 8 {
		s.free = append(s.free, c.buf)
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
