package live

import (
	"slices"

	"godwit/internal/migrate"
)

// lagHistory is how many looks at the lag are kept; no terminal is wider.
const lagHistory = 512

// lags are the last looks at the lag of the slowest link, in milliseconds, oldest first.
type lags struct{ milliseconds []int64 }

func (l *lags) add(s migrate.Status) {
	var worst int64
	for _, link := range s.Links {
		worst = max(worst, link.LagMS)
	}
	l.milliseconds = append(l.milliseconds, worst)
	if extra := len(l.milliseconds) - lagHistory; extra > 0 {
		l.milliseconds = slices.Delete(l.milliseconds, 0, extra)
	}
}

// sparkline draws the last width looks, scaled to the highest of them but never
// to less than floor, so that a lag of nothing looks like nothing.
func (l *lags) sparkline(width int, floor int64) string {
	const levels = "▁▂▃▄▅▆▇█"
	steps := []rune(levels)
	shown := l.milliseconds[max(0, len(l.milliseconds)-width):]
	top := floor
	for _, ms := range shown {
		top = max(top, ms)
	}
	line := make([]rune, len(shown))
	for i, ms := range shown {
		line[i] = steps[ms*int64(len(steps)-1)/top]
	}
	return string(line)
}
