package load

import "time"

// pace spreads a writer's writes evenly over time.
type pace struct {
	interval time.Duration // 0: no pace
	due      time.Duration
}

// maxBurst is how far behind its pace a writer may fall and still catch up: the
// resolution of timers, not the length of a stall, after which a burst would
// distort what the servers see.
const maxBurst = 20 * time.Millisecond

func newPace(c Config, id int) *pace {
	if c.Rate == 0 {
		return &pace{}
	}
	interval := time.Second * time.Duration(c.Writers) / time.Duration(c.Rate)
	return &pace{interval: interval, due: interval * time.Duration(id) / time.Duration(c.Writers)}
}

// next is when the next write is due.
func (p *pace) next(now time.Duration) time.Duration {
	if p.interval == 0 {
		return now
	}
	p.due = max(p.due+p.interval, now-maxBurst)
	return p.due
}
