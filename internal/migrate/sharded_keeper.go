package migrate

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"godwit/internal/apply"
	"godwit/internal/command"
	"godwit/internal/cutover"
	"godwit/internal/server"
)

// shardsInterval is how often the shards are asked for what they hold.
const shardsInterval = 2 * time.Second

// whole tells whether the source answers.
func (m *Sharded) whole() bool { return m.source.down() == "" }

// tend looks at the source once and moves the phase on.
func (m *Sharded) tend(ctx context.Context) error {
	if time.Since(m.looked) > shardsInterval {
		m.cluster.look(ctx)
		m.looked = time.Now()
	}
	info, err := m.source.look(ctx)
	if err != nil {
		return nil //nolint:nilerr // it is waited for; the status says why
	}
	if m.pending() {
		if err := m.recover(ctx); err != nil {
			m.log.Debug("the switch is not settled yet", "error", err)
		}
	}
	if m.pending() {
		return nil // asked again at the next look
	}
	if m.completing() {
		return nil
	}
	m.tendVerify(ctx)
	m.mu.Lock()
	primary, phase, followed := m.rec.Primary, m.rec.Phase, m.rec.Followed
	m.mu.Unlock()
	if err := m.carry(ctx); err != nil {
		m.event(slog.LevelWarn, fmt.Sprintf("%s: %v", Target, err))
		return nil // tried again at the next look
	}
	if primary == Source && time.Since(m.usersAt) > shardsInterval {
		m.usersAt = time.Now()
		if err := m.known(ctx); err != nil {
			m.log.Warn("not every node of the cluster could be told of godwit's own user", "error", err)
		}
		if news := m.cluster.unmovableNow(); news != "" {
			m.event(slog.LevelWarn, news)
		}
	}
	if command.SaysRelativeTTLs(m.source.found().Capabilities().Version) {
		if err := m.source.clock.set(ctx, m.source.client); err != nil {
			m.log.Debug("asking for the time", "server", m.source.address(), "error", err)
		}
	}
	switch {
	case primary == Source && info["role"] == "slave":
		return m.sourceBecameReplica(ctx, info)
	case primary == Target:
		m.tendLeft(ctx)
		return m.tendOld(ctx, info)
	}
	engine := m.present()
	if engine == nil {
		return nil
	}
	v := engine.View()[0]
	m.measure(v, info)
	if v.State != apply.Streaming || followed && phase != Copying {
		return nil
	}
	if err := m.update(func(r *shardedRecord) { r.Followed = true }); err != nil {
		return err
	}
	if phase != Copying {
		return nil
	}
	if err := m.setPhase(Following); err != nil {
		return err
	}
	m.event(slog.LevelInfo, "the copy is done; following")
	return nil
}

// tendOld sees that the old primary is a replica of godwit, for as long as there is a way
// back.
func (m *Sharded) tendOld(ctx context.Context, info server.Info) error {
	m.mu.Lock()
	back, before := m.rec.Back, m.rec.SourceRun
	m.rec.SourceRun = info["run_id"]
	m.mu.Unlock()
	switch {
	case back == nil || back.Lost != "":
		return nil
	case info["role"] == "master" && before == info["run_id"]:
		return hinted("if clients write there: keep it for what it has taken since the cutover; else `godwit complete`",
			"%s was made a primary by somebody else, and the cluster at %s serves", m.source.address(), m.cfg.To.Address)
	case info["role"] == "master":
		m.event(slog.LevelWarn, fmt.Sprintf("%s was restarted; it is attached again", m.source.address()))
	case m.source.follows(info):
		return m.tendFollower(ctx, m.source)
	case info["master_host"] != "" && !m.wasOurs(info):
		return hinted("if that is meant, end the migration with `godwit complete`; if not, REPLICAOF NO ONE there, then run again",
			"%s was made a replica of %s:%s by somebody else", m.source.address(), info["master_host"], info["master_port"])
	}
	if err := m.attach(ctx, m.source); err != nil {
		m.event(slog.LevelWarn, fmt.Sprintf("%s cannot be attached: %v", m.source.address(), err))
	}
	return nil // tried again at the next look
}

// sourceBecameReplica is for a role change that no switch of ours made: of a FAILOVER
// to godwit that somebody else sent it is taken back.
func (m *Sharded) sourceBecameReplica(ctx context.Context, info server.Info) error {
	if !m.source.follows(info) {
		return hinted("see who switches here (a Sentinel, an operator); run again with the present primary as source",
			"%s is a replica of %s:%s now, by somebody else's hand", m.source.address(), info["master_host"], info["master_port"])
	}
	m.event(slog.LevelWarn, m.source.address()+" hands over to godwit, and no switch is under way: it is made the primary again; `godwit cutover` switches")
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	if err := cutover.Release(ctx, m.source.client); err != nil {
		m.event(slog.LevelWarn, fmt.Sprintf("%s: %v", m.source.address(), err))
	}
	return nil // tried again at the next look
}

// measure updates progress and rates; the keeper calls it after each look.
func (m *Sharded) measure(v apply.View, source server.Info) {
	now := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	switch v.State {
	case apply.Copying:
		if m.copy.began.IsZero() || !m.copy.ended.IsZero() {
			m.copy = copyProgress{began: now, totalKeys: keys(source), fullResyncs: m.copy.fullResyncs + 1}
		}
		m.copy.keys, m.copy.bytes, m.copy.totalBytes = v.Keys, v.Copied, v.Total
	case apply.Streaming:
		if m.copy.began.IsZero() && v.Keys > 0 { // it began and ended between two looks
			m.copy = copyProgress{began: m.rec.Started, totalKeys: keys(source), fullResyncs: m.copy.fullResyncs + 1}
		}
		if !m.copy.began.IsZero() && m.copy.ended.IsZero() {
			m.copy.ended, m.copy.keys, m.copy.bytes, m.copy.totalBytes = now, v.Keys, v.Copied, v.Total
		}
	default:
	}
	m.rates.step(now, m.copy.keys, v.Copied, v.Read)
}

// poll asks the source for its offset, so that the lag is known.
func (m *Sharded) poll(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		engine := m.present()
		if engine == nil {
			continue
		}
		v := engine.View()[0]
		if v.State != apply.Streaming {
			continue
		}
		if info, err := m.source.client.Info(ctx, "replication"); err == nil {
			m.lag.note(time.Now(), info.Int("master_repl_offset"), v.Acked)
		}
	}
}

// lagMeter tells how long ago the source stood where the target stands now.
type lagMeter struct {
	mu      sync.Mutex
	ahead   []offsetAt // of the source, that the target had not come to; oldest first
	present time.Duration
	source  int64
}

type offsetAt struct {
	offset int64
	at     time.Time
}

// lagSamples is how many are kept: a quarter of an hour's. The oldest one tells.
const lagSamples = 36_000

// note takes what both were seen at.
func (l *lagMeter) note(now time.Time, source, acked int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.source = source
	if source > acked && len(l.ahead) < lagSamples && (len(l.ahead) == 0 || l.ahead[len(l.ahead)-1].offset < source) {
		l.ahead = append(l.ahead, offsetAt{source, now})
	}
	n := 0
	for n < len(l.ahead) && l.ahead[n].offset <= acked {
		n++
	}
	l.ahead = l.ahead[n:]
	l.present = 0
	if len(l.ahead) > 0 {
		l.present = now.Sub(l.ahead[0].at)
	}
}

// now is the present lag, and the source's offset.
func (l *lagMeter) now() (time.Duration, int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.present, l.source
}
