// Package lag turns offsets of a stream into times.
package lag

import (
	"sort"
	"sync"
	"time"
)

// Clock remembers when which offset arrived, to the Resolution, so that an offset
// that the target has reached becomes a time. It is safe for concurrent use.
type Clock struct {
	mu    sync.Mutex
	marks [4096]mark // in order from head to count; thinned out when full
	head  int
	count int
}

type mark struct {
	offset int64
	at     time.Time
}

// Resolution is how exactly times are known.
const Resolution = time.Millisecond

// Mark notes that the stream up to offset has arrived.
func (c *Clock) Mark(offset int64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count > c.head {
		last := &c.marks[c.count-1]
		if now.Sub(last.at) < Resolution {
			last.offset = offset
			return
		}
	}
	if c.count == len(c.marks) {
		c.thin()
	}
	c.marks[c.count] = mark{offset: offset, at: now}
	c.count++
}

// thin makes room: by moving the marks to the front, or, where all are still
// needed, by joining each two, the older time standing for both.
func (c *Clock) thin() {
	if c.head > 0 {
		c.count = copy(c.marks[:], c.marks[c.head:c.count])
		c.head = 0
		return
	}
	half := c.count / 2
	for i := range half {
		c.marks[i] = mark{offset: c.marks[2*i+1].offset, at: c.marks[2*i].at}
	}
	c.count = half
}

// Behind is how long ago the first byte after acked arrived, 0 when there is none.
func (c *Clock) Behind(acked, end int64) time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.head < c.count && c.marks[c.head].offset <= acked {
		c.head++
	}
	if acked >= end || c.head == c.count {
		return 0
	}
	return time.Since(c.marks[c.head].at)
}

// ArrivedBy is an offset up to which everything had arrived by then, the last one
// known, or 0; and by when more had, or will have.
func (c *Clock) ArrivedBy(then time.Time) (offset int64, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	marks := c.marks[c.head:c.count]
	// The bytes of a mark arrived before the next one's, and those of the last
	// within the resolution.
	whole := func(i int) time.Time {
		if i+1 < len(marks) {
			return marks[i+1].at
		}
		return marks[i].at.Add(Resolution)
	}
	n := sort.Search(len(marks), func(i int) bool { return whole(i).After(then) })
	if n > 0 {
		offset = marks[n-1].offset
	}
	if n < len(marks) {
		next = whole(n)
	}
	return offset, next
}

// Reset forgets everything.
func (c *Clock) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head, c.count = 0, 0
}
