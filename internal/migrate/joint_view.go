package migrate

import (
	"fmt"
	"time"

	"godwit/internal/apply"
)

// Status is a snapshot of everything; it is cheap and free to any goroutine.
func (m *Joint) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.statusLocked()
}

func (m *Joint) statusLocked() Status {
	s := m.rec.status()
	s.Running, s.At = m.running, time.Now()
	s.Source, s.Target = m.sides[Source].status(), m.sides[Target].status()
	s.Links, s.Spool = []LinkStatus{}, SpoolStatus{}
	s.Emergency, s.Dropped = m.emergency(), m.drops.status()
	s.Verify = m.verifyStatus(s.At)
	s.Copy = m.copy.status(m.rates, s.At)
	s.Ready, s.NotReady = m.readyLocked()
	s.NextSteps = nextSteps(s, m.rec.Primary)
	if m.engines == nil {
		return s
	}
	views := m.engines.views()
	for _, v := range views {
		lag, offset := m.lagLocked(v.Source)
		source := max(v.Read, offset)
		link := LinkStatus{
			Source: v.Source, Target: v.to, State: string(v.State), Reason: v.Reason, ReplID: v.ReplID,
			SourceOffset: source, TargetOffset: v.Acked, LagBytes: max(source-v.Acked, 0), LagMS: lag.Milliseconds(),
			BytesPerSec: m.rates.streamRate / float64(len(views)),
		}
		if v.State != apply.Streaming && v.Acked <= 0 {
			link.LagBytes, link.LagMS, link.SourceOffset = 0, 0, v.Read
		}
		if v.Unsettled > 0 && link.Reason == "" {
			link.Reason = fmt.Sprintf("%d slots are on the move", v.Unsettled)
		}
		s.Links = append(s.Links, link)
		s.Spool.MemoryBytes += v.Spool.MemoryBytes
		s.Spool.MemoryLimit += v.Spool.MemoryLimit
		s.Spool.DiskBytes += v.Spool.DiskBytes
		s.Spool.DiskLimit += v.Spool.DiskLimit
		s.Spool.Full = s.Spool.Full || v.Spool.Full
	}
	return s
}

// lagLocked is how far the other side is behind a primary, and where that one stands.
func (m *Joint) lagLocked(source string) (time.Duration, int64) {
	if meter := m.lags[source]; meter != nil {
		return meter.now()
	}
	return 0, 0
}

// readyLocked tells whether a switch now would succeed within its limits, or why not.
func (m *Joint) readyLocked() (bool, string) {
	switch {
	case m.rec.Phase != Following && m.rec.Phase != Switched && m.rec.Phase != RolledBack:
		return false, "phase " + string(m.rec.Phase)
	case m.rec.Completing:
		return false, errCompleting.Error()
	case m.rec.Primary == Target && m.rec.Lost != "":
		return false, m.rec.Lost
	case m.rec.Primary == Target && !m.rec.leadsBack(m.sides[Source]):
		return false, "there is no way back"
	case m.sides[m.rec.Primary].down() != "":
		return false, m.sides[m.rec.Primary].down()
	case m.engines == nil:
		return false, "no link is up"
	}
	views := m.engines.views()
	if len(views) == 0 {
		return false, "no link is up"
	}
	for _, v := range views {
		lag, _ := m.lagLocked(v.Source)
		switch {
		case v.State != apply.Streaming:
			return false, fmt.Sprintf("the link from %s is %s %s", v.Source, v.State, v.Reason)
		case v.Unsettled > 0 && v.Reason != "":
			return false, fmt.Sprintf("%d slots are not carried yet: %s", v.Unsettled, v.Reason)
		case v.Unsettled > 0:
			return false, fmt.Sprintf("%d slots are on the move", v.Unsettled)
		case v.Renewing > 0:
			return false, fmt.Sprintf("%d slots of the other side have moved, and are carried once more", v.Renewing)
		case !v.Held && lag > max(readyLag, m.cfg.MaxPause/2):
			return false, fmt.Sprintf("the other side is %d ms behind %s", lag.Milliseconds(), v.Source)
		}
	}
	if why := m.refutedLocked(); why != "" {
		return false, why
	}
	if why := m.unverified(); why != "" {
		return false, why
	}
	return true, ""
}

// emergency is what an operator sends by hand if godwit is gone for good. Within a switch
// only the journal tells which side serves: no client may write to either before the next
// run, or the operator, has decided.
func (m *Joint) emergency() []string {
	r := &m.rec
	if r.Phase == Planned || r.Phase == Completed || r.Phase == Aborted || r.untouched() {
		return nil
	}
	serves, other := m.sides[r.Primary], m.sides[r.Primary.other()]
	lines := []string{"# " + serves.address() + " serves, and no client may write to " + other.address() + "."}
	if r.Switch != nil {
		lines[0] += " A switch is under way: what is shown here was before its commit."
	}
	if rules := r.Fences[serves.side]; len(rules) > 0 {
		lines = append(append(lines, "# To have "+serves.address()+" take all its clients' writes:"), serves.byHand(rules)...)
	}
	if rules := r.Fences[other.side]; len(rules) > 0 {
		lines = append(append(lines, "# To have "+other.address()+" take writes again, as a deployment of its own:"), other.byHand(rules)...)
	}
	return lines
}
