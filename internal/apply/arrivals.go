package apply

import (
	"sort"
	"sync"
	"time"
)

// Redis before 7.0 says TTLs relative to the moment. Here its commands may wait for as
// long as the copy takes, so it is remembered when they came. (They come a little after
// they were carried out: a replica of such a server is as late as that, too.)

// arrivals is when the stream came. Offsets grow.
type arrivals struct {
	now func() int64 // the source's clock, milliseconds since 1970; nil where nobody asks

	mu     sync.Mutex
	points []arrival
}

// arrival says that the stream up to an offset had come by then, from a moment on.
type arrival struct {
	offset, since, time int64
}

// arrivalStep is how exact that is: there is one point for so long.
const arrivalStep = 5 * time.Millisecond

// came notes that the stream has come up to an offset.
func (a *arrivals) came(offset int64) {
	if a.now == nil {
		return
	}
	now := a.now()
	a.mu.Lock()
	defer a.mu.Unlock()
	if last := len(a.points) - 1; last >= 0 && now-a.points[last].since < arrivalStep.Milliseconds() {
		a.points[last].offset, a.points[last].time = offset, now
		return
	}
	a.points = append(a.points, arrival{offset, now, now})
}

// of is when the byte before an offset came; now if that is not known.
func (a *arrivals) of(offset int64) int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	i := sort.Search(len(a.points), func(i int) bool { return a.points[i].offset >= offset })
	if i == len(a.points) {
		return a.now()
	}
	return a.points[i].time
}

// forget lets go of what is before an offset.
func (a *arrivals) forget(offset int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if i := sort.Search(len(a.points), func(i int) bool { return a.points[i].offset >= offset }); i > 0 {
		a.points = append(a.points[:0], a.points[i:]...)
	}
}
