package migrate

import (
	"context"
	"fmt"
	"time"

	"godwit/internal/plan"
	"godwit/internal/relay"
	"godwit/internal/server"
)

// copyProgress is the copy as the keeper measures it.
type copyProgress struct {
	began, ended time.Time
	totalKeys    int64
	keys         int64
	bytes        int64
	totalBytes   int64
	fullResyncs  int
}

// rates are differences between two looks of the keeper.
type rates struct {
	at          time.Time
	keys, bytes int64
	offset      int64
	keysPerSec  float64
	bytesPerSec float64
	streamRate  float64
}

// measure updates progress and rates; the keeper calls it after each look.
func (m *Migration) measure() {
	link := m.present()
	if link == nil {
		return
	}
	s := link.Snapshot()
	primary, replica := m.primary().seen(), m.replica().seen()
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	switch s.State {
	case relay.Copying, relay.Loading:
		if m.copy.began.IsZero() || !m.copy.ended.IsZero() {
			m.copy = copyProgress{began: now, totalKeys: keys(primary)}
		}
		m.copy.keys = keys(replica)
	case relay.Streaming:
		// Unless the replica was last seen before it had loaded everything.
		if !m.copy.began.IsZero() && m.copy.ended.IsZero() && replica["master_link_status"] == "up" {
			m.copy.ended, m.copy.keys = now, keys(replica)
		}
	}
	m.rates.step(now, m.copy.keys, s.CopyBytes, s.ReadOffset)
}

// step takes what is counted now, and sets the rates since the last time.
func (r *rates) step(now time.Time, keys, bytes, offset int64) {
	if !r.at.IsZero() {
		if seconds := now.Sub(r.at).Seconds(); seconds > 0 {
			r.keysPerSec = float64(max(keys-r.keys, 0)) / seconds
			r.bytesPerSec = float64(max(bytes-r.bytes, 0)) / seconds
			r.streamRate = float64(max(offset-r.offset, 0)) / seconds
		}
	}
	r.at, r.keys, r.bytes, r.offset = now, keys, bytes, offset
}

// copied closes the copy's figures when the target follows; a short copy may
// have begun and ended between two looks.
func (m *Migration) copied(ctx context.Context) {
	if _, err := m.replica().look(ctx); err != nil { // the last one may be of before the end
		m.log.Debug("looking at what was copied", "error", err)
	}
	primary, replica := m.primary().seen(), m.replica().seen()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.copy.began.IsZero() {
		m.copy.began, m.copy.totalKeys = m.rec.Started, keys(primary)
	}
	if m.copy.ended.IsZero() {
		m.copy.ended = time.Now()
	}
	m.copy.keys = keys(replica)
}

// Status is a snapshot of everything; it is cheap and free to any goroutine.
func (m *Migration) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.statusLocked()
}

func (m *Migration) statusLocked() Status {
	s := m.rec.status()
	s.Running = m.running
	s.At = time.Now()
	s.Source, s.Target = m.source.status(), m.target.status()
	s.Verify = m.verifyStatus(s.At)
	if m.link != nil {
		s.Dropped = m.dropped(m.link)
	}
	s.Links, s.Spool, s.Copy = []LinkStatus{}, SpoolStatus{}, CopyStatus{ETASeconds: -1}
	s.Emergency = emergency(&m.rec, m.byHand(Source), m.byHand(Target))
	if m.rec.Completing {
		s.NotReady = errCompleting.Error()
		s.NextSteps = nextSteps(s, m.rec.Primary)
		return s
	}
	if m.link == nil {
		s.NotReady = "no link is up"
		s.NextSteps = nextSteps(s, m.rec.Primary)
		return s
	}
	from := m.side(m.link.from)
	to := m.other(from)
	l := m.link.link.Snapshot()
	sourceOffset := max(l.ReadOffset, from.offset())
	acked := max(l.AckedOffset, 0)
	link := LinkStatus{
		Source: from.address(), Target: to.address(), State: string(l.State), Reason: l.Reason, ReplID: l.ReplID,
		SourceOffset: sourceOffset, TargetOffset: acked, LagBytes: max(sourceOffset-acked, 0), LagMS: l.Lag.Milliseconds(),
		BytesPerSec: m.rates.streamRate,
	}
	if sourceOffset > l.ReadOffset { // it has written more than has arrived
		link.LagMS = max(link.LagMS, l.Silent.Milliseconds())
	}
	if l.State != relay.Streaming && l.AckedOffset <= 0 {
		link.LagBytes, link.LagMS, link.SourceOffset = 0, 0, l.ReadOffset
	}
	s.Links = append(s.Links, link)
	s.Spool = SpoolStatus{
		MemoryBytes: l.Spool.MemoryBytes, MemoryLimit: l.Spool.MemoryLimit,
		DiskBytes: l.Spool.DiskBytes, DiskLimit: l.Spool.DiskLimit, Full: l.Spool.Full,
	}
	s.Copy = m.copyStatus(l, s.At)
	s.Ready, s.NotReady = m.ready(l, from, to)
	s.NextSteps = nextSteps(s, m.rec.Primary)
	return s
}

func (m *Migration) copyStatus(l relay.Snapshot, now time.Time) CopyStatus {
	if l.FullResyncs > 0 { // of this link; one after a switch has none to show
		m.copy.bytes, m.copy.totalBytes, m.copy.fullResyncs = l.CopyBytes, l.CopyTotal, l.FullResyncs
	}
	return m.copy.status(m.rates, now)
}

// status is what is shown of a copy.
func (p copyProgress) status(r rates, now time.Time) CopyStatus {
	c := CopyStatus{
		Keys: p.keys, TotalKeys: p.totalKeys, Bytes: p.bytes, TotalBytes: p.totalBytes,
		KeysPerSecond: r.keysPerSec, BytesPerSecond: r.bytesPerSec,
		ETASeconds: -1, FullResyncs: p.fullResyncs,
	}
	if p.began.IsZero() {
		return c
	}
	if !p.ended.IsZero() {
		c.Seconds = p.ended.Sub(p.began).Seconds()
		c.ETASeconds, c.Fraction = 0, 1
		if c.Seconds > 0 {
			c.KeysPerSecond, c.BytesPerSecond = float64(c.Keys)/c.Seconds, float64(c.Bytes)/c.Seconds
		}
		return c
	}
	c.Seconds = now.Sub(p.began).Seconds()
	// A target that stores the snapshot before it loads it has two halves to go.
	byKeys, byBytes := fraction(c.Keys, c.TotalKeys), fraction(c.Bytes, c.TotalBytes)
	c.Fraction = byKeys
	if c.TotalBytes > 0 {
		c.Fraction = max(byKeys, (byKeys+byBytes)/2)
	}
	if c.Fraction > 0.01 {
		c.ETASeconds = c.Seconds * (1 - c.Fraction) / c.Fraction
	}
	return c
}

func fraction(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return min(float64(part)/float64(whole), 1)
}

func (e *end) down() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.unreachable
}

// outOfMemory tells why the server would refuse writes as a primary, though as
// a replica it takes them; empty when it would not.
func (e *end) outOfMemory() string {
	info := e.seen()
	used, most := info.Int("used_memory"), info.Int("maxmemory")
	if most == 0 || used <= most || info["maxmemory_policy"] != "noeviction" {
		return ""
	}
	return fmt.Sprintf("%s uses %d bytes, more than its maxmemory of %d, and would refuse writes", e.address(), used, most)
}

// offset is the server's replication offset as last seen.
func (e *end) offset() int64 { return e.seen().Int("master_repl_offset") }

func (e *end) status() ServerStatus {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := ServerStatus{URL: e.endpoint.String(), Unreachable: e.unreachable}
	if e.info == nil {
		return s
	}
	s.Version = e.info.Version().String()
	s.Keys, s.UsedMemory = keys(e.info), e.info.Int("used_memory")
	if e.unreachable == "" {
		s.Role = role(e.info)
	}
	return s
}

func role(info server.Info) string {
	if info["role"] == "slave" {
		return "replica"
	}
	return "primary"
}

// status is what the record alone tells.
func (r *header) status() Status {
	s := r.Last
	s.Name, s.Phase, s.Engine, s.PID = r.Name, r.Phase, r.Engine, r.PID
	if s.Engine == "" {
		s.Engine = plan.Relay
	}
	s.Running, s.Ready, s.NotReady = false, false, "it is not running"
	s.Cutover = r.Cutover
	required := s.Verify.Required
	s.Verify = r.Verify
	s.Verify.killed()
	s.Verify = s.Verify.shown()
	s.Verify.Required = required
	s.Cutover.Steps = append([]StepStatus{}, r.Cutover.Steps...)
	s.Events = append([]Event{}, r.Events...)
	s.Completing, s.Error, s.Hint = r.Completing, r.Error, r.Hint
	s.StartedAt, s.At = r.Started, r.Updated
	s.Source.URL, s.Target.URL, s.DBMap = r.From, r.To, r.DBMap
	s.ShardBy = r.ShardBy
	if s.Links == nil {
		s.Links = []LinkStatus{}
	}
	if s.Dropped == nil {
		s.Dropped = []DroppedStatus{}
	}
	s.NextSteps = nextSteps(s, r.Primary)
	if r.untouched() {
		s.NextSteps = s.NextSteps[:1] // there is nothing to abort
	}
	return s
}

// nextSteps are the commands that make sense now, by who accepts writes.
func nextSteps(s Status, primary Side) []string {
	name := ""
	if s.Name != DefaultName {
		name = " " + s.Name
	}
	if !s.Running {
		switch s.Phase {
		case Completed, Aborted:
			return []string{}
		case Switched:
			if s.Completing {
				return []string{"godwit complete" + name}
			}
			return []string{"godwit run … (the same command goes on; needed for a rollback)", "godwit complete" + name}
		case Switching:
			return []string{"godwit run … (the same command brings the switch to an end)"}
		case Failed:
			end := "godwit abort"
			if primary == Target {
				end = "godwit complete"
			}
			return []string{"godwit run … (the same command goes on once the cause is mended: see the hint)", end + name}
		}
		return []string{"godwit run … (the same command goes on)", "godwit abort" + name}
	}
	var steps []string
	if s.Verify.State == VerifyDifferent {
		steps = []string{"godwit verify show" + name, "godwit verify" + name + " --repair"}
	}
	switch s.Phase {
	case Planned, Copying:
		return []string{"wait for the copy", "godwit abort" + name}
	case Following, RolledBack:
		if v := s.Verify; v.Required && !v.Verified && v.State == VerifyDifferent && v.Stale == "" {
			return []string{"godwit verify show" + name, "godwit verify" + name + " --repair", "godwit abort" + name}
		}
		if !s.Ready {
			return append(steps, "wait: "+s.NotReady, "godwit abort"+name)
		}
		return append(steps, "godwit cutover"+name+" --dry-run", "godwit cutover"+name, "godwit abort"+name)
	case Switched:
		if s.Completing {
			return append(steps, "wait: "+s.NotReady)
		}
		return append(steps, "godwit rollback"+name, "godwit complete"+name)
	}
	return []string{}
}
