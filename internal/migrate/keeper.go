package migrate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"godwit/internal/command"
	"godwit/internal/cutover"
	"godwit/internal/relay"
	"godwit/internal/server"
)

const (
	// pollInterval is how often the replica is asked for its offset; each
	// answer is ACKed to the primary, which natively hears it once a second.
	pollInterval = 25 * time.Millisecond
	// readyLag is the lag up to which a switch is likely to succeed at once.
	readyLag = 200 * time.Millisecond
)

// whole tells whether both servers answer.
func (m *Migration) whole() bool { return m.source.down() == "" && m.target.down() == "" }

// poll asks the replica for its offset, so that the lag is known and the
// primary's own view of it is fresh.
func (m *Migration) poll(ctx context.Context) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		link := m.present()
		if link == nil || link.State() != relay.Streaming {
			continue
		}
		m.askApplied(ctx, link, m.replica())
	}
}

// askApplied asks the replica what it has applied, and tells the link.
func (m *Migration) askApplied(ctx context.Context, link *relay.Link, replica *end) {
	info, err := replica.client.Info(ctx, "replication")
	if err == nil && replica.follows(info) && info["master_link_status"] == "up" && m.present() == link {
		link.Acknowledge(info.Int("slave_repl_offset"))
	}
}

// tend looks at both servers once and mends what it may.
func (m *Migration) tend(ctx context.Context) error {
	primary, replica := m.primary(), m.replica()
	var infos [2]server.Info
	for i, e := range []*end{primary, replica} {
		info, err := e.look(ctx)
		if err == nil {
			infos[i] = info
			m.noticeRestart(ctx, e, info)
		}
	}
	if infos[0] != nil && command.SaysRelativeTTLs(primary.found().Capabilities().Version) {
		if err := primary.clock.set(ctx, primary.client); err != nil {
			m.log.Debug("asking for the time", "server", primary.address(), "error", err)
		}
	}
	m.measure()
	if ctx.Err() != nil || m.completing() {
		return nil //nolint:nilerr // keep returns it
	}
	if m.pending() {
		if infos[0] == nil || infos[1] == nil {
			return nil // what they are is not known, and nothing may be assumed
		}
		var gone *server.ConnError
		if err := m.recover(ctx); !errors.As(err, &gone) || gone.Op != "dial" {
			return err
		}
		return nil // it has gone since, and is looked at again
	}
	if info := infos[0]; info != nil && info["role"] == "slave" {
		if primary.follows(info) && (infos[1] == nil || infos[1]["role"] == "slave") {
			return m.takeBack(ctx, primary)
		}
		return m.primaryBecameReplica(ctx, primary, replica, info, infos[1])
	}
	if infos[0] != nil {
		m.intact(primary, infos[0])
	}
	for i, e := range []*end{primary, replica} {
		if infos[i] != nil {
			m.tendMended(ctx, e)
		}
	}
	if infos[1] != nil {
		if err := m.refused(primary, replica, infos[1]["run_id"], infos[1].Int(refusalCounter)); err != nil {
			return err
		}
		if err := m.tendReplica(ctx, primary, replica, infos[1]); err != nil {
			return err
		}
	}
	return m.advance(ctx)
}

// takeBack makes a primary one again that has handed over to the listener
// without being asked: somebody sent FAILOVER, and godwit was the replica that
// it chose, or a command of a switch that was given up came late. It cannot
// authenticate to the listener then, and would hold its clients' writes for ever.
func (m *Migration) takeBack(ctx context.Context, primary *end) error {
	m.event(slog.LevelWarn, primary.address()+" hands over to godwit, and no switch is under way: it is made the primary again; `godwit cutover` switches")
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	if err := cutover.Release(ctx, primary.client); err != nil {
		m.event(slog.LevelWarn, fmt.Sprintf("%s: %v", primary.address(), err))
	}
	return nil // tried again at the next look
}

// noticeRestart tells of a server that is another process than before, and asks it
// anew what it is: it may be of another version.
func (m *Migration) noticeRestart(ctx context.Context, e *end, info server.Info) {
	m.mu.Lock()
	before := m.rec.RunIDs[e.side]
	m.rec.RunIDs[e.side] = info["run_id"]
	m.mu.Unlock()
	if before != "" && before != info["run_id"] {
		m.event(slog.LevelWarn, fmt.Sprintf("%s (%s) was restarted", e.side, e.address()))
		if m.replica() == e && info["role"] == "master" {
			m.restarted(e)
		}
		if err := e.inspect(ctx); err != nil {
			m.event(slog.LevelWarn, fmt.Sprintf("%s is taken for what it was before it was restarted: %v", e.address(), err))
		}
		m.rememberProbes()
	}
}

// restarted notes that the replica's role is that of its configuration file,
// not somebody's wish.
func (m *Migration) restarted(e *end) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reattach == nil {
		m.reattach = make(map[Side]bool)
	}
	m.reattach[e.side] = true
}

// tendReplica attaches a replica that came loose.
func (m *Migration) tendReplica(ctx context.Context, primary, replica *end, info server.Info) error {
	if replica.follows(info) {
		return m.tendFollower(ctx, replica)
	}
	if info["role"] == "slave" {
		if info["master_host"] != "" && !m.wasOurs(info) {
			return hinted("if that is meant, end the migration with `godwit abort` or `godwit complete`; if not, REPLICAOF NO ONE there, then run again",
				"%s was made a replica of %s:%s by somebody else", replica.address(), info["master_host"], info["master_port"])
		}
		return m.reattachNow(ctx, replica) // the listener's address has changed
	}
	m.mu.Lock()
	restarted := m.reattach[replica.side]
	expected := restarted || m.rec.Doubtful || !m.rec.Followed
	phase := m.rec.Phase
	m.mu.Unlock()
	// Bytes that a promoted server has written since (replication.c
	// shiftReplicationId: second_repl_offset is the first one that is its own).
	own := info.Int("master_repl_offset") - info.Int("second_repl_offset") + 1
	if info.Int("second_repl_offset") <= 0 {
		own = info.Int("master_repl_offset")
	}
	if !expected && own > 0 {
		return hinted(wayOut(primary, replica),
			"%s was promoted by somebody else in phase %s and has written %d bytes of its own", replica.address(), phase, own)
	}
	// A server without a backlog does not count bytes; its changes since it
	// loaded its data tell (INFO persistence). Those of a server that was not
	// restarted are of the stream that it has followed.
	if n := info.Int("rdb_changes_since_last_save"); own > 0 || restarted && n > 0 {
		m.event(slog.LevelError, fmt.Sprintf("%s came back as a primary and took writes of its own before godwit saw it (%d changes, %d bytes): they are lost now, and it follows %s again; keep clients away from it", replica.address(), n, max(own, 0), primary.address()))
	}
	return m.reattachNow(ctx, replica)
}

// wayOut is what helps when two servers take writes: nobody but the operator
// knows which of them has the clients.
func wayOut(primary, replica *end) string {
	if replica.side == Target {
		return fmt.Sprintf("two servers accept writes now. If clients are at %s only: `godwit abort`, then the same `godwit run` with --replace copies anew; if they are at %s: `godwit abort` leaves both as they are", primary.address(), replica.address())
	}
	return fmt.Sprintf("two servers accept writes now. If clients are at %s only: `godwit complete` makes %s a read-only replica of nobody, with what it has written; if they are at %s: keep %s for what it has taken since the cutover", primary.address(), replica.address(), replica.address(), primary.address())
}

func (m *Migration) reattachNow(ctx context.Context, replica *end) error {
	if err := m.attach(ctx, replica); err != nil {
		m.event(slog.LevelWarn, fmt.Sprintf("%s cannot be attached: %v", replica.address(), err))
		return nil // tried again at the next look
	}
	m.mu.Lock()
	delete(m.reattach, replica.side)
	m.rec.Doubtful = false
	m.mu.Unlock()
	m.event(slog.LevelInfo, fmt.Sprintf("%s was attached", replica.address()))
	return nil
}

// primaryBecameReplica is a role change that no switch of ours made.
func (m *Migration) primaryBecameReplica(_ context.Context, primary, replica *end, info, other server.Info) error {
	role := "out of reach"
	if other != nil {
		role = map[string]string{"master": "a primary", "slave": "a replica"}[other["role"]]
	}
	return hinted("see who switches here (a Sentinel, an operator); run again with the present primary as source",
		"%s is a replica of %s:%s now, by somebody else's hand; %s is %s", primary.address(), info["master_host"], info["master_port"], replica.address(), role)
}

// advance moves the phase on when the link has got further.
func (m *Migration) advance(ctx context.Context) error {
	link := m.present()
	if link == nil || link.State() != relay.Streaming {
		return nil
	}
	m.mu.Lock()
	followed, phase := m.rec.Followed, m.rec.Phase
	resumed := m.resumed
	m.resumed = false
	m.mu.Unlock()
	if s := link.Snapshot(); resumed && followed && s.FullResyncs == 0 {
		m.event(slog.LevelInfo, fmt.Sprintf("%s goes on at offset %d; nothing was copied again", m.replica().address(), s.AckedOffset))
	}
	if !followed {
		if err := m.update(func(r *record) { r.Followed = true }); err != nil {
			return err
		}
	}
	if phase != Copying {
		return nil
	}
	m.copied(ctx)
	if err := m.setPhase(Following); err != nil {
		return err
	}
	m.event(slog.LevelInfo, "the copy is done; following")
	return nil
}
