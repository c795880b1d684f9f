package migrate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"godwit/internal/apply"
	"godwit/internal/plan"
	"godwit/internal/topology"
)

// Plan is the plan that was made when the migration began.
func (m *Loading) Plan() plan.Plan {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.planned
}

func (m *Loading) saveLocked() error {
	m.rec.Updated = time.Now()
	m.rec.Last = m.statusLocked()
	return m.journal.save(m.rec)
}

// Status is a snapshot of everything; it is cheap and free to any goroutine.
func (m *Loading) Status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.statusLocked()
}

func (m *Loading) statusLocked() Status {
	s := m.rec.status()
	s.Running, s.At = m.running, time.Now()
	s.Source = ServerStatus{URL: m.rec.From, Version: m.rec.Version, Role: m.rec.Kind, Keys: m.rec.Keys}
	s.Target = m.to.status()
	if m.cluster {
		s.Target = ServerStatus{
			URL: m.rec.To, Version: m.target.Version.String(), Role: fmt.Sprintf("cluster of %d", len(m.shards.addresses)),
			Keys: m.shards.keys, UsedMemory: m.shards.memory, Unreachable: m.shards.unreachable,
		}
	}
	s.Links, s.Spool, s.Dropped = []LinkStatus{}, SpoolStatus{}, []DroppedStatus{}
	s.Ready, s.NotReady = false, "a file takes no writes: there is no cutover"
	s.NextSteps = nextSteps(s, Source)
	s.Copy = m.copy.status(m.rates, s.At)
	if m.copy.ended.IsZero() && m.copy.totalBytes > 0 {
		s.Copy.Fraction = fraction(m.copy.bytes, m.copy.totalBytes)
		if s.Copy.Fraction > 0.01 {
			s.Copy.ETASeconds = s.Copy.Seconds * (1 - s.Copy.Fraction) / s.Copy.Fraction
		}
	}
	if m.engine == nil {
		return s
	}
	v := m.engine.engine.View()
	s.Links = append(s.Links, LinkStatus{
		Source: m.rec.From, Target: m.cfg.To.Address, State: string(v.State), Reason: v.Reason,
		SourceOffset: v.Total, TargetOffset: v.Read, LagBytes: max(v.Total-v.Read, 0), BytesPerSec: m.rates.bytesPerSec,
	})
	for _, f := range slices.Sorted(maps.Keys(v.Dropped)) {
		s.Dropped = append(s.Dropped, DroppedStatus{Feature: string(f), Server: m.cfg.To.Address, Count: v.Dropped[f], Copy: v.Dropped[f]})
	}
	return s
}

// measure updates progress and rates; the keeper calls it.
func (m *Loading) measure(v apply.FileView) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.copy.keys, m.copy.bytes, m.copy.totalBytes = v.Keys, v.Read, v.Total
	m.rates.step(time.Now(), v.Keys, v.Read, v.Read)
}

// lookAtTarget asks the target for what it holds.
func (m *Loading) lookAtTarget(ctx context.Context) {
	_, _ = m.to.look(ctx) // the status says why it could not
	m.mu.Lock()
	cluster := m.cluster
	m.mu.Unlock()
	if !cluster {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	d, err := topology.Resolve(ctx, m.cfg.To)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		m.shards.unreachable = err.Error()
		return
	}
	m.shards = shardsSeen{keys: d.Keys, memory: m.shards.memory}
	for _, e := range d.Primaries {
		m.shards.addresses = append(m.shards.addresses, e.Address)
	}
}
