package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/psync"
	"godwit/internal/reserved"
	"godwit/internal/server"
)

// session is one connection of the replica that is fed. It begins with what the
// replica says of itself, and ends with the connection.
type session struct {
	feed  *Feed
	peer  *psync.Peer
	start *feedCheckpoint // of the replica, when the connection began
	at    int64           // where the replica stood then, by its own count

	cancel context.CancelCauseFunc
	wg     sync.WaitGroup
	ended  chan error // once

	out     chan *feedBatch
	sent    atomic.Int64 // offset of the replica that was sent
	acked   atomic.Int64 // that it has applied
	heard   atomic.Int64 // UnixNano of its last sign of life
	live    atomic.Bool  // the replica is being fed
	begun   atomic.Int64 // transactions of all sessions, as the replica counts them, with those under way
	mu      sync.Mutex
	pending []sentBatch // guarded by mu, in the order in which they were sent
	done    int64       // guarded by mu: of begun, those that it has applied
}

// sentBatch is a transaction that the replica has not confirmed.
type sentBatch struct {
	end  int64 // offset of the replica
	link *feedLink
	to   int64 // as in feedBatch
}

const (
	// pingInterval is how often a primary pings its replicas (repl-ping-replica-period).
	pingInterval = 10 * time.Second
	// pollInterval is how often the replica is asked how far it has come when somebody
	// waits: by itself it says so once a second.
	pollInterval = 500 * time.Microsecond
	// outgoing is how many transactions wait to be sent.
	outgoing = 16
)

// open begins a session. Its end is told by ended.
func (f *Feed) open(lifetime context.Context, p *psync.Peer) *session {
	ctx, cancel := context.WithCancelCause(lifetime)
	s := &session{feed: f, peer: p, cancel: cancel, ended: make(chan error, 1), out: make(chan *feedBatch, outgoing), at: p.Offset - 1}
	s.sent.Store(s.at)
	s.acked.Store(s.at)
	s.alive()
	f.mu.Lock()
	f.session = s
	f.mu.Unlock()
	s.wg.Go(func() {
		err := s.run(ctx, lifetime)
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		_ = p.Close() // nothing is left to say
		s.ended <- err
	})
	return s
}

// stop ends the session, and what it began.
func (s *session) stop() {
	s.cancel(errSessionOver)
	_ = s.peer.Close()
	s.wg.Wait()
	s.feed.mu.Lock()
	s.feed.session = nil
	s.feed.mu.Unlock()
}

var errSessionOver = errors.New("the replica has connected again")

// interrupt ends the present session: the next one begins anew from the checkpoint.
func (f *Feed) interrupt(why error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.session != nil {
		f.session.cancel(why)
		_ = f.session.peer.Close()
	}
}

// fail ends the feed.
func (f *Feed) fail(err error) {
	select {
	case f.fatal <- err:
	default:
	}
}

// resumed tells that a shard is being read again.
func (f *Feed) resumed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.session != nil && f.state == Broken {
		f.state, f.reason = Streaming, ""
	}
}

// begun tells whether the replica has been fed, or it is known from where on it is.
func (f *Feed) begun() bool {
	select {
	case <-f.started:
		return true
	default:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.session != nil && f.session.start != nil
}

func (s *session) alive() { s.heard.Store(time.Now().UnixNano()) }

// run answers the replica and feeds it.
func (s *session) run(ctx, lifetime context.Context) (err error) {
	if s.peer.Offset < 0 || s.peer.ReplID == "?" {
		return s.askAgain(ctx)
	}
	// What it has can be read only once its link is up (replica-serve-stale-data no). It
	// has nothing from us before we know.
	if err := s.peer.Continue(s.peer.ReplID); err != nil {
		return err
	}
	var inner sync.WaitGroup
	defer inner.Wait()
	defer func() {
		s.cancel(err)
		_ = s.peer.Close() // ends those that wait for it
	}()
	inner.Go(func() { s.cancelBy(s.readAcks()) })
	inner.Go(func() { s.cancelBy(s.write(ctx)) })
	inner.Go(func() { s.cancelBy(s.watch(ctx)) })
	start, err := s.standing(ctx)
	if err != nil {
		return err
	}
	links, err := s.links(ctx, lifetime, start)
	if err != nil {
		return err
	}
	feeders := make([]*feeder, len(links))
	for i, l := range links {
		if feeders[i], err = newFeeder(l, s, start.shards[i], start); err != nil {
			return err
		}
		defer feeders[i].close()
		if l.gate.mending.Load() {
			if err := l.lockOut(ctx); err != nil {
				return err
			}
		}
	}
	s.feed.asked = ""
	s.live.Store(true)
	defer s.live.Store(false)
	s.feed.set(Streaming, "")
	inner.Go(func() { s.poll(ctx) })
	var feeding sync.WaitGroup
	for _, x := range feeders {
		feeding.Go(func() { s.cancelBy(x.run(ctx)) })
	}
	feeding.Wait()
	return context.Cause(ctx)
}

// cancelBy ends the session for a reason.
func (s *session) cancelBy(err error) {
	if err != nil {
		s.cancel(err)
	}
}

// standing reads how far the replica has come, and judges whether that is so. Where it has
// had nothing yet, that is written first.
func (s *session) standing(ctx context.Context) (*feedCheckpoint, error) {
	p, err := s.read(ctx)
	if err != nil {
		return nil, err
	}
	if p == nil {
		s.feed.set(Attaching, "it is not known yet from where the shards' streams count")
		select {
		case <-s.feed.started:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	suspect, err := s.judge(ctx, p)
	if err != nil {
		return nil, err
	}
	replid := s.peer.ReplID
	if p != nil && p.replid == replid {
		s.begin(p)
		return p, nil
	}
	key := []byte(reserved.WayBack(s.feed.cfg.Name))
	b := &feedBatch{}
	b.begin()
	fields := []string{ownerField, s.feed.cfg.Owner, replidField, replid}
	if p == nil {
		s.feed.mu.Lock()
		p = newCheckpoint()
		p.owner, p.shards = s.feed.cfg.Owner, slices.Clone(s.feed.from)
		s.feed.mu.Unlock()
		b.put(checkpointDB, []byte("DEL"), key) // of another way back
		for _, at := range p.shards {
			fields = append(fields, at.Shard, at.text())
		}
	}
	if suspect {
		for _, at := range p.shards {
			now, err := s.feed.now(ctx, at.Shard)
			if err != nil {
				return nil, err
			}
			p.mend[at.Shard] = now.Offset
			fields = append(fields, mendField+at.Shard, strconv.FormatInt(now.Offset, 10))
		}
	}
	s.begin(p)
	b.note(key, fields...)
	return p, s.put(ctx, b)
}

// begin is called when it is known what the replica has.
func (s *session) begin(p *feedCheckpoint) {
	s.feed.mu.Lock()
	s.start = p
	s.feed.mu.Unlock()
	s.mu.Lock()
	s.done = p.count
	s.mu.Unlock()
	s.begun.Store(p.count)
}

// read reads the checkpoint, as soon as the replica answers.
func (s *session) read(ctx context.Context) (*feedCheckpoint, error) {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		p, err := s.feed.readCheckpoint(ctx)
		if err == nil || !kindOf(err.Error()).waits && !unanswered(err) {
			return p, err
		}
		if !wait(ctx, pause) {
			return nil, context.Cause(ctx)
		}
	}
}

// judge tells whether the replica has all that its checkpoint says, and nothing else: its
// replid says so, which it changes as soon as it is a primary. One that was a primary for a
// while has another; it must not have taken a write. It may have let keys expire whose life
// is longer by now, as it would have heard: it is suspect.
func (s *session) judge(ctx context.Context, p *feedCheckpoint) (suspect bool, err error) {
	s.feed.mu.Lock()
	from := s.feed.demoted
	s.feed.mu.Unlock()
	known := func(replid string) bool {
		return strings.EqualFold(replid, from.ReplID) || p != nil && strings.EqualFold(replid, p.replid)
	}
	switch {
	case p == nil && !known(s.peer.ReplID):
		return false, s.lost("it stands in another stream (replid %s, not %s), and has no checkpoint", s.peer.ReplID, from.ReplID)
	case p == nil && s.at < from.Offset:
		return false, s.lost("it has lost data: it stands at offset %d, and stood at %d when it became a replica", s.at, from.Offset)
	case known(s.peer.ReplID):
		return false, nil
	}
	c, err := server.Dial(ctx, s.feed.cfg.Replica, clientName)
	if err != nil {
		return false, err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	info, err := c.Info(ctx, "replication")
	if err != nil {
		return false, err
	}
	if known(info["master_replid2"]) && s.at-info.Int("second_repl_offset") < leastWrite {
		return true, nil // it has written nothing since that was its replid
	}
	return true, s.untouched(ctx, c)
}

// leastWrite is shorter than any write in a stream, and longer than the EXEC that a server
// of up to 6.2 writes when a transaction makes it a replica.
const leastWrite = 20

// untouched sees that nobody has written to a replica that was a primary for a while
// since it was started. What it loads, and what expires, it does not count as commands.
func (s *session) untouched(ctx context.Context, c *server.Client) error {
	info, err := c.Info(ctx, "stats", "commandstats")
	if err != nil {
		return err
	}
	if n := info.Int("evicted_keys"); n != 0 {
		return s.lost("it was a primary for a while, and has evicted %d keys", n)
	}
	if n := info.Int("unexpected_error_replies"); n != 0 { // see moved
		return s.lost("its append-only file was cut within a transaction, of which it may have done a part twice when it was started: it met %d errors in it", n)
	}
	for field := range info {
		name, counted := strings.CutPrefix(field, "cmdstat_")
		if !counted {
			continue
		}
		writes, err := flagged(ctx, c, name, "write")
		if err != nil {
			return err
		}
		if writes && !strings.HasPrefix(info[field], "calls=0,") {
			return s.lost("it was a primary for a while, and may have been written to (it has carried out %s since it was started)", strings.ToUpper(name))
		}
	}
	return nil
}

// flagged tells whether a server has a flag for one of its commands.
func flagged(ctx context.Context, c *server.Client, name, flag string) (bool, error) {
	reply, err := c.Do(ctx, "COMMAND", "INFO", name)
	if err != nil {
		return false, err
	}
	list, _ := reply.([]any)
	if len(list) != 1 {
		return false, nil
	}
	command, _ := list[0].([]any) // nil for one that it does not know by this name
	if len(command) < 3 {
		return false, nil
	}
	flags, _ := command[2].([]any)
	return slices.Contains(flags, any(flag)), nil
}

func (s *session) lost(format string, args ...any) error {
	return &WayBackLostError{Replica: s.feed.cfg.Replica.Address, Reason: fmt.Sprintf(format, args...)}
}

// askAgain is for a replica that asks for a full resync. It has not necessarily lost its
// data: one that was started with its append only file does not know where it stands, nor
// does one of up to 6.2 whose question was not answered before its connection ended. Made a
// primary and a replica again at once, it asks from where it is.
func (s *session) askAgain(ctx context.Context) error {
	deferred(s.peer, "godwit asks for its place")
	c, err := server.Dial(ctx, s.feed.cfg.Replica, clientName)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	info, err := c.Info(ctx, "server", "replication")
	if err != nil {
		return err
	}
	if s.feed.asked == info["run_id"] {
		return s.lost("it asks for a full resync, which would delete what it has")
	}
	if info["role"] != "slave" {
		return fmt.Errorf("%s is no replica any more", s.feed.cfg.Replica.Address)
	}
	s.feed.asked = info["run_id"]
	_, err = c.Transaction(ctx, []any{"REPLICAOF", "NO", "ONE"}, []any{"REPLICAOF", info["master_host"], info["master_port"]})
	if err != nil {
		return err
	}
	return errors.New("it was told to ask from where it stands")
}

// links are those of the shards that the checkpoint names, each read from there on.
func (s *session) links(ctx, lifetime context.Context, p *feedCheckpoint) ([]*feedLink, error) {
	known := s.feed.all()
	for _, l := range known {
		if !slices.ContainsFunc(p.shards, func(at ShardStand) bool { return at.Shard == l.name }) {
			return nil, &FatalError{fmt.Errorf("the shard of slots %s is not in the checkpoint %s", l.name, reserved.WayBack(s.feed.cfg.Name))}
		}
	}
	var links []*feedLink
	for n, at := range p.shards {
		i := slices.IndexFunc(known, func(l *feedLink) bool { return l.name == at.Shard })
		if i < 0 {
			l, err := s.feed.link(lifetime, at.Shard)
			if err != nil {
				return nil, err
			}
			i, known = len(known), append(known, l)
		}
		l := known[i]
		from, doubted, err := l.attachAt(ctx, lifetime, at, p.ahead)
		if err != nil {
			return nil, err
		}
		p.shards[n] = from
		if len(doubted) > 0 {
			p.doubted[at.Shard] = doubted
		}
		l.stand(from.Offset)
		links = append(links, l)
	}
	return links, nil
}
