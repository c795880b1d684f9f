package verdict

import (
	"fmt"
	"time"

	"godwit/internal/status/units"
	"godwit/internal/verify"
)

// Meter makes lines of a comparison's progress, with the speed since the last one.
type Meter struct {
	source, target         int64 // keys that there were of each side at the start; 0 while unknown
	stage                  string
	since                  time.Time // of the stage, and what was read by then
	sourceBase, targetBase verify.Read
	at                     time.Time // of the last look at the speed
	bytes                  int64     // read of both sides by then
	speed                  float64   // bytes per second, of both sides
}

// NewMeter begins with how many keys each side has, by what the servers say.
func NewMeter(source, target int64) *Meter { return &Meter{source: source, target: target} }

// speedInterval is how far apart the looks at the speed are.
const speedInterval = time.Second

// Line is the progress in a line, at a time.
func (m *Meter) Line(p verify.Progress, now time.Time) string {
	read := p.Source.Bytes + p.Target.Bytes
	if p.Stage != m.stage {
		m.stage, m.since, m.sourceBase, m.targetBase = p.Stage, now, p.Source, p.Target
	}
	switch past := now.Sub(m.at); {
	case m.at.IsZero():
		m.at, m.bytes = now, read
	case past >= speedInterval:
		m.speed = float64(read-m.bytes) / past.Seconds()
		m.at, m.bytes = now, read
	}
	line := fmt.Sprintf("%s · source %s, target %s keys", p.Stage, units.Count(p.Source.Keys), units.Count(p.Target.Keys))
	if m.speed > 0 {
		line += " · " + units.Bytes(int64(m.speed)) + "/s"
	}
	if p.Differences > 0 {
		line += " · " + count(p.Differences, "difference", "differences")
	}
	if left, known := m.left(p, now); known {
		line += " · " + units.Duration(left) + " left"
	}
	return line
}

// left estimates how long the stage still takes: known once it has read a part of
// both sides, of how many keys there are.
func (m *Meter) left(p verify.Progress, now time.Time) (time.Duration, bool) {
	past := now.Sub(m.since)
	if !wholeRead(p.Stage) || past < 2*time.Second {
		return 0, false
	}
	var longest float64
	for _, side := range []struct{ total, read int64 }{
		{m.source, p.Source.Keys - m.sourceBase.Keys}, {m.target, p.Target.Keys - m.targetBase.Keys},
	} {
		if side.total == 0 {
			continue
		}
		if side.read <= 0 {
			return 0, false
		}
		longest = max(longest, past.Seconds()*float64(max(side.total-side.read, 0))/float64(side.read))
	}
	return time.Duration(longest * float64(time.Second)).Round(time.Second), longest >= 0.5
}

// wholeRead tells whether a stage reads all keys.
func wholeRead(stage string) bool {
	return stage == verify.StageSnapshot || stage == verify.StageSecondLook || stage == verify.StageScan
}
