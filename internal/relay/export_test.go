package relay

import "time"

// HeadSize is how much of a command an Editor sees at most.
const HeadSize = headSize

// SetSilence says after how long an end counts as gone; before Run.
func (l *Link) SetSilence(d time.Duration) { l.silence = d }

// OwnReplID tells whether the target is told a replid of the link's own.
func (l *Link) OwnReplID() bool { return l.cfg.OwnReplID }

// SetCatchUp says for how long a target that is ahead is put off; before Run.
func (l *Link) SetCatchUp(d time.Duration) { l.catchUp = d }
