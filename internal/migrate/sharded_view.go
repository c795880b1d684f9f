package migrate

import (
	"fmt"
	"time"

	"godwit/internal/apply"
)

// Status is a snapshot of everything; it is cheap and free to any goroutine.
func (m *Sharded) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.statusLocked()
}

func (m *Sharded) statusLocked() Status {
	s := m.rec.status()
	s.Running, s.At = m.running, time.Now()
	s.Source = m.source.status()
	s.Target = m.cluster.status()
	s.Links, s.Spool = []LinkStatus{}, SpoolStatus{}
	s.Emergency, s.Dropped = m.emergency(), m.drops.status()
	s.Verify = m.verifyStatus(s.At)
	s.Copy = m.copy.status(m.rates, s.At)
	s.Ready, s.NotReady = m.readyLocked()
	s.NextSteps = m.nextSteps(s)
	if m.feed != nil {
		v := m.feed.feed.View()
		for _, shard := range v.Shards {
			s.Links = append(s.Links, LinkStatus{
				Source: shard.Address, Target: m.source.address(), State: string(v.State), Reason: v.Reason,
				SourceOffset: shard.Read, TargetOffset: shard.Applied, LagBytes: max(shard.Read-shard.Applied, 0),
			})
		}
	}
	if m.engine == nil {
		return s
	}
	lag, offset := m.lag.now()
	for _, v := range m.engine.engine.View() {
		source := max(v.Read, offset)
		link := LinkStatus{
			Source: v.Source, Target: m.cfg.To.Address, State: string(v.State), Reason: v.Reason, ReplID: v.ReplID,
			SourceOffset: source, TargetOffset: v.Acked, LagBytes: max(source-v.Acked, 0), LagMS: lag.Milliseconds(),
			BytesPerSec: m.rates.streamRate,
		}
		if v.State != apply.Streaming && v.Acked <= 0 {
			link.LagBytes, link.LagMS, link.SourceOffset = 0, 0, v.Read
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

// readyLocked tells whether a cutover now would succeed within its limits, or why not.
func (m *Sharded) readyLocked() (bool, string) {
	switch {
	case m.rec.Phase != Following && m.rec.Phase != Switched && m.rec.Phase != RolledBack:
		return false, "phase " + string(m.rec.Phase)
	case m.rec.Completing:
		return false, errCompleting.Error()
	case m.source.down() != "":
		return false, m.source.down()
	case m.rec.Primary == Target:
		return m.backReady()
	case m.engine == nil:
		return false, "no link is up"
	}
	v := m.engine.engine.View()[0]
	lag, _ := m.lag.now()
	switch {
	case v.State != apply.Streaming:
		return false, fmt.Sprintf("the link is %s %s", v.State, v.Reason)
	case v.Renewing > 0:
		return false, fmt.Sprintf("%d slots of the cluster have moved, and are carried once more", v.Renewing)
	case m.lagging(v):
		return false, fmt.Sprintf("the cluster is %d ms behind", lag.Milliseconds())
	}
	if why := m.source.deaf(); why != "" {
		return false, why
	}
	if why := m.unverified(); why != "" {
		return false, why
	}
	return true, ""
}

// lagging tells whether the cluster is so far behind that a switch would not succeed at
// once. One that is held back is released by it.
func (m *Sharded) lagging(v apply.View) bool {
	lag, _ := m.lag.now()
	return !v.Held && lag > max(readyLag, m.cfg.MaxPause/2)
}

// backReady tells whether a rollback now would succeed within its limits, or why not.
func (m *Sharded) backReady() (bool, string) {
	switch {
	case m.rec.Back == nil:
		return false, "there is no way back"
	case m.rec.Back.Lost != "":
		return false, m.rec.Back.Lost
	case m.feed == nil:
		return false, "no link is up"
	}
	v := m.feed.feed.View()
	if v.State != apply.Streaming {
		return false, fmt.Sprintf("the way back is %s %s", v.State, v.Reason)
	}
	const enough = 1 << 20 // bytes; as a switch demands
	for _, shard := range v.Shards {
		if lag := shard.Read - shard.Applied; lag > enough {
			return false, fmt.Sprintf("%s is %d bytes behind the shard %s", m.source.address(), lag, shard.Address)
		}
	}
	return true, ""
}

// nextSteps are the commands that make sense now.
func (m *Sharded) nextSteps(s Status) []string { return nextSteps(s, m.rec.Primary) }

// emergency is what an operator sends by hand if godwit is gone for good.
func (m *Sharded) emergency() []string {
	source, cluster := m.source.found(), "the cluster at "+m.cfg.To.Address
	free := source.CLI("REPLICAOF", "NO", "ONE")
	r := &m.rec
	switch {
	case r.Phase == Planned || r.Phase == Completed || r.Phase == Aborted || r.untouched():
		return nil
	case r.Switch != nil:
		lines := []string{source.CLI("ROLE"), "# if it says master: " + m.source.address() + " serves; no client may write to " + cluster + "."}
		if r.Switch.to() == Target {
			lines = append(lines, "# if it waits in a failover still: "+source.CLI("FAILOVER", "ABORT"))
		}
		lines = append(lines, "# if it says slave: "+cluster+" serves, and no client may write to "+m.source.address()+".",
			"# In either case, whatever of it has been done, as soon as clients are to write to "+cluster+":")
		return append(lines, m.cluster.byHand(r.Fence)...)
	case r.Primary == Target:
		return []string{
			"# " + cluster + " serves, and no client may write to " + m.source.address() + ".",
			"# It stays as it is: read-only. To make it a server of its own:", free,
		}
	case r.Fence != nil:
		return append([]string{"# " + m.source.address() + " serves. To have " + cluster + " take writes again, as a deployment of its own:"}, m.cluster.byHand(r.Fence)...)
	}
	return []string{"# " + m.source.address() + " serves. Nothing is set there; at " + cluster + " the keys godwit:" + m.cfg.Name + ":* and the user " + m.cluster.user() + " may be deleted"}
}
