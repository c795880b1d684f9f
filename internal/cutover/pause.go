package cutover

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/psync"
	"godwit/internal/server"
)

const (
	// pollInterval is how often New is asked for its offset while writes are
	// stopped. Redis itself ACKs once a second.
	pollInterval = 200 * time.Microsecond
	// watchInterval is how often Old is asked whether it still goes on.
	watchInterval = 20 * time.Millisecond
	// fenceReplicas is a number of replicas that no server has.
	fenceReplicas = 1 << 30
	// catchUpTimeout bounds the wait for a small lag, before anything is stopped.
	catchUpTimeout = 30 * time.Second
)

// catchUp waits until New lags so little that the pause will be short, and Old
// would take a FAILOVER to it.
func (m *Machine) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpTimeout)
	defer cancel()
	const enough = 1 << 20 // bytes; a replica applies far more in a tenth of a second
	for {
		old, err := m.Old.Client.Info(ctx, "replication")
		if err != nil {
			return err
		}
		if old["role"] != "master" {
			return fmt.Errorf("%s is not a primary any more", m.Old.address())
		}
		if state := old["master_failover_state"]; state != "" && state != "no-failover" {
			return fmt.Errorf("%s is in a FAILOVER that somebody else began: %s", m.Old.address(), state)
		}
		at, err := m.New.Follows(ctx)
		if err != nil {
			return err
		}
		lag := old.Int("master_repl_offset") - at
		online := m.Method == Fence || m.online(old)
		if lag <= enough && online {
			return nil
		}
		select {
		case <-ctx.Done():
			if !online {
				return fmt.Errorf("%s does not list godwit (%s:%d) as an online replica", m.Old.address(), m.Old.AnnounceHost, m.Old.AnnouncePort)
			}
			return fmt.Errorf("%s lags %d bytes behind and does not catch up", m.New.Address(), lag)
		case <-time.After(watchInterval):
		}
	}
}

// online tells whether Old takes godwit for a replica that it may fail over to
// (replication.c failoverCommand). It does once it has noticed that the child that
// sent the snapshot is gone, which may be after New has loaded it and follows.
func (m *Machine) online(old server.Info) bool {
	godwit := fmt.Sprintf("ip=%s,port=%d,state=online,", m.Old.AnnounceHost, m.Old.AnnouncePort)
	for i := range int(old.Int("connected_slaves")) {
		if strings.HasPrefix(old["slave"+strconv.Itoa(i)], godwit) {
			return true
		}
	}
	return false
}

// poll has what New has applied acknowledged to Old, again and again, until the
// returned function is called.
func (m *Machine) poll(ctx context.Context) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(pollInterval)
		defer tick.Stop()
		for {
			m.New.Acknowledge(ctx)
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() { cancel(); wg.Wait() }
}

// pauseAndDemote stops writes at Old and returns Old's vote: its PSYNC, at an
// offset that New has applied. On an error name is the step it failed in.
func (m *Machine) pauseAndDemote(ctx context.Context) (vote *psync.Peer, name Name, err error) {
	var fence int64 // the offset to drain to, where it is known
	m.stopped = time.Now()
	err = m.step(Pause, func() error {
		if m.Method == Fence {
			fence, err = m.fence(ctx)
			return err
		}
		_, err := m.Old.Client.Do(ctx, "FAILOVER", "TO", m.Old.AnnounceHost, m.Old.AnnouncePort, "TIMEOUT", m.Limits.MaxPause.Milliseconds())
		return err
	})
	if err != nil {
		return nil, Pause, err
	}
	if m.Method == Fence {
		if err := m.step(Drain, func() error { return m.drainFenced(ctx, fence) }); err != nil {
			return nil, Drain, err
		}
		return nil, Demote, m.step(Demote, func() error { return m.demote(ctx) })
	}
	// FAILOVER drains by itself; the vote ends that.
	err = m.step(Drain, func() error {
		vote, err = m.vote(ctx)
		return err
	})
	if err != nil {
		return vote, Drain, err
	}
	if err := m.step(Demote, func() error { return m.settle(ctx, vote) }); err != nil {
		_ = vote.Close() // a replica by now, or a primary again; retreat sees which
		return nil, Demote, err
	}
	return vote, Demote, nil
}

// settle answers Old's vote and waits until Old is a replica for good. While
// its PSYNC … FAILOVER waits for an answer, the end of that connection makes it
// a writable primary again (replication.c syncWithMaster: abortFailover on
// anything but +CONTINUE and +FULLRESYNC), so the vote binds only from here on:
// a promotion before that would make two primaries where godwit dies, or the
// network fails, in between. The stream that +CONTINUE promises is empty.
func (m *Machine) settle(ctx context.Context, vote *psync.Peer) error {
	if err := vote.Continue(vote.ReplID); err != nil {
		return err
	}
	for {
		info, err := m.Old.Client.Info(ctx, "replication")
		switch {
		case err != nil:
		case info["role"] != "slave":
			return fmt.Errorf("%s has taken its demotion back", m.Old.address())
		case info["master_failover_state"] == "no-failover":
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s did not settle as a replica within %v", m.Old.address(), m.Limits.MaxPause), err)
		case <-time.After(pollInterval):
		}
	}
}

// fence makes Old refuse writes and returns the offset at which it began to.
func (m *Machine) fence(ctx context.Context) (int64, error) {
	lag, _, err := m.Old.Client.ConfigGet(ctx, "min-replicas-max-lag")
	if err != nil {
		return 0, err
	}
	if lag == "0" {
		return 0, errors.New("min-replicas-max-lag is 0, so min-replicas-to-write would not hold writes: CONFIG SET min-replicas-max-lag 10")
	}
	if err := m.Old.Client.ConfigSet(ctx, "min-replicas-to-write", strconv.Itoa(fenceReplicas)); err != nil {
		return 0, err
	}
	info, err := m.Old.Client.Info(ctx, "replication")
	if err != nil {
		return 0, err
	}
	return info.Int("master_repl_offset"), nil
}

// demote makes Old a replica and sees that New has applied all that Old has
// written. Old's connection attempt, which is its vote where it demotes
// itself, comes up to a second later here (before 6.2 a replica connects from
// replicationCron), so its last offset is read together with the demotion.
func (m *Machine) demote(ctx context.Context) error {
	// Not in one MULTI: up to 6.2 an INFO in it has EXEC written to the backlog of
	// a server that is a replica by then, 14 bytes that no other server has
	// (multi.c execCommand), and its offsets are wrong from there on. A demoted
	// server writes nothing, so its offset stands still.
	if _, err := m.Old.Client.Do(ctx, "REPLICAOF", m.Old.AnnounceHost, m.Old.AnnouncePort); err != nil {
		return err
	}
	info, err := m.Old.Client.Info(ctx, "replication")
	if err != nil {
		return err
	}
	if info["role"] != "slave" {
		return fmt.Errorf("%s did not become a replica", m.Old.address())
	}
	return m.agree(ctx, info["master_replid"], info.Int("slave_repl_offset"))
}

// drainFenced waits until New has applied what Old had written when it began to refuse
// writes, and what it has written by itself since then: it deletes keys that expire, and
// its demotion cuts off what is not sent by then.
func (m *Machine) drainFenced(ctx context.Context, offset int64) error {
	const often = 3 // each time there is less; demote sees that nothing is missing
	for range often {
		if err := m.drained(ctx, offset); err != nil {
			return err
		}
		info, err := m.Old.Client.Info(ctx, "replication")
		if err != nil {
			return err
		}
		now := info.Int("master_repl_offset")
		if now == offset {
			return nil
		}
		offset = now
	}
	return m.drained(ctx, offset)
}

// drained waits until New has applied offset.
func (m *Machine) drained(ctx context.Context, offset int64) error {
	last := int64(-1)
	for {
		at, err := m.New.Applied(ctx)
		if err == nil {
			last = at
			if at >= offset {
				return nil
			}
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return err
			}
			return fmt.Errorf("%s stands at offset %d of %d after %v", m.New.Address(), last, offset, m.Limits.MaxPause)
		case <-time.After(pollInterval):
		}
	}
}

// vote waits for the PSYNC of an Old that demotes itself, and sees that New has applied exactly what Old
// has written.
func (m *Machine) vote(ctx context.Context) (*psync.Peer, error) {
	watch := time.NewTicker(watchInterval)
	defer watch.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("not drained and demoted within %v", m.Limits.MaxPause)
		case <-watch.C:
			info, err := m.Old.Client.Info(ctx, "replication")
			if err == nil && info["role"] == "master" && info["master_failover_state"] == "no-failover" {
				return nil, fmt.Errorf("%s ended its FAILOVER by itself: the new primary did not catch up within %v, or someone sent FAILOVER ABORT", m.Old.address(), m.Limits.MaxPause)
			}
		case p := <-m.Votes:
			if !p.Failover {
				_ = p.Refuse("a switch is under way") // an older connection attempt
				_ = p.Close()
				continue
			}
			return p, m.agree(ctx, p.ReplID, p.Offset-1)
		}
	}
}

// agree waits until New has applied exactly what Old has written, up to offset last.
func (m *Machine) agree(ctx context.Context, replid string, last int64) error {
	if !strings.EqualFold(replid, m.ReplID) {
		return fmt.Errorf("%s has left the stream: its replid is %s, not %s", m.Old.address(), replid, m.ReplID)
	}
	if err := m.drained(ctx, last); err != nil {
		return fmt.Errorf("%s has written more than it sent: %w", m.Old.address(), err)
	}
	at, err := m.New.Applied(ctx)
	if err != nil {
		return err
	}
	if at > last {
		return fmt.Errorf("%s stands at offset %d, beyond the %d of %s", m.New.Address(), at, last, m.Old.address())
	}
	return m.Intact(ctx)
}

// forgetVotes turns away what connected before the switch began.
func (m *Machine) forgetVotes() {
	for {
		select {
		case p := <-m.Votes:
			_ = p.Close() // it asks again
		default:
			return
		}
	}
}
