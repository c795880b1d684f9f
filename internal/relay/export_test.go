package relay

import "time"

// HeadSize is how much of a command an Editor sees at most.
const HeadSize = headSize

// SetSilence says after how long an end counts as gone; before Run.
func (l *Link) SetSilence(d time.Duration) { l.silence = d }
