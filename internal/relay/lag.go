package relay

import (
	"sort"
	"sync"
	"time"
)

// lagClock remembers when which offset arrived, at a resolution of a
// millisecond, so that an offset that the target has reached becomes a time.
type lagClock struct {
	mu    sync.Mutex
	marks [4096]lagMark // in order from head to count; thinned out when full
	head  int
	count int
}

type lagMark struct {
	offset int64
	at     time.Time
}

const lagResolution = time.Millisecond

// mark notes that the stream up to offset has arrived.
func (c *lagClock) mark(offset int64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.count > c.head {
		last := &c.marks[c.count-1]
		if now.Sub(last.at) < lagResolution {
			last.offset = offset
			return
		}
	}
	if c.count == len(c.marks) {
		c.thin()
	}
	c.marks[c.count] = lagMark{offset: offset, at: now}
	c.count++
}

// thin makes room: by moving the marks to the front, or, where all are still
// needed, by joining each two, the older time standing for both.
func (c *lagClock) thin() {
	if c.head > 0 {
		c.count = copy(c.marks[:], c.marks[c.head:c.count])
		c.head = 0
		return
	}
	half := c.count / 2
	for i := range half {
		c.marks[i] = lagMark{offset: c.marks[2*i+1].offset, at: c.marks[2*i].at}
	}
	c.count = half
}

// behind is how long ago the first byte after acked arrived, 0 when there is none.
func (c *lagClock) behind(acked, end int64) time.Duration {
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

// arrivedBy is an offset up to which everything had arrived by then, the last one
// known, or 0; and by when more had, or will have.
func (c *lagClock) arrivedBy(then time.Time) (offset int64, next time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	marks := c.marks[c.head:c.count]
	// The bytes of a mark arrived before the next one's, and those of the last
	// within the resolution.
	whole := func(i int) time.Time {
		if i+1 < len(marks) {
			return marks[i+1].at
		}
		return marks[i].at.Add(lagResolution)
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

func (c *lagClock) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.head, c.count = 0, 0
}
