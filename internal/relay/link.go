package relay

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/lag"
	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/server"
	"godwit/internal/spool"
)

// State of a link.
type State string

// The states of a link.
const (
	Waiting   State = "waiting"   // for the target to connect
	Attaching State = "attaching" // the target's question is being put to the source
	Copying   State = "copying"   // the snapshot is on its way
	Loading   State = "loading"   // the snapshot was sent; the target loads it
	Streaming State = "streaming" // the replication stream is on its way
	Broken    State = "broken"    // an end is out of reach; it is tried again
)

// Config of a link.
type Config struct {
	Source       server.Endpoint // read from as a replica
	Target       string          // for messages
	AnnounceHost string          // what the source shows as this replica's address; FAILOVER TO finds it by these
	AnnouncePort int
	Spool        spool.Options
	Editor       Editor // nil: bytes pass untouched and unparsed
	// Snapshot says what a snapshot becomes that the target would not load as it
	// is; nil: all of them pass untouched and unparsed.
	Snapshot *rdb.ConverterOptions
	// EverySnapshot has Snapshot hold for those too whose format the target loads: it
	// lacks a module, and ends when it is sent a value of it (rdb.c rdbLoadObject).
	EverySnapshot bool
	// SnapshotVersion is the version that a replica should have to be sent the
	// source's newest format, where Snapshot is set and the source asks: Valkey,
	// from 9.1 on, else writes an old format, or fails where that lacks something.
	SnapshotVersion string
	// From is where the target is known to stand: the link reads the source from
	// there at once, so that the source's backlog need not last until the target
	// connects. The zero value waits for the target's own question.
	From Position
	// Knows is what the target calls the place From: the replid that it will ask
	// with, and the offset of the first byte it wants. Zero: as the source does.
	Knows Position
	// OwnReplID has the target told a replid of the link's own, for a stream that
	// an Editor makes longer: at the source's replid its offsets would mean
	// other bytes.
	OwnReplID bool
	// Shared asks the source up to which offset its history is that of replid, which
	// it had before. From Knows on the target may have more than the source has kept.
	// nil: no further than where the link begins.
	Shared func(ctx context.Context, replid string) (int64, error)
	// Checkpoint is told, once a second at most, which place of the source's stream
	// is which one of the target's. From and Knows of a later link are such a pair,
	// as long as its Editor makes the same of the same commands; and what was left
	// out up to there, from which it goes on to count. nil for no one.
	Checkpoint func(source, target Position, dropped rdb.Dropped)
	// Dropped is what earlier links of the same stream have left out up to From.
	Dropped rdb.Dropped
	// Told are features of which a user has heard already that they are left out of
	// the stream.
	Told []rdb.Feature
	Log  *slog.Logger
	// AllowFull is asked before a full resync of the target is passed on; an
	// error ends the link with it, unless it is a *server.ConnError: then the
	// target asks again. nil allows every one.
	AllowFull func(ctx context.Context) error
	// Notify is told what a user should hear of; it must not block.
	Notify func(level slog.Level, text string)
}

// Position is a place in a replication stream.
type Position struct {
	ReplID string
	Offset int64 // of the first byte wanted
	DB     int   // selected there, as far as an Editor of the link has seen; no other link wants to know
}

// Link carries the snapshot and the stream of one source to one target. The
// actor in Run owns both connections; everything else reads counters.
type Link struct {
	cfg   Config
	spool *spool.Spool
	peers chan serveRequest
	// trails are wishes for a hold; hold is the present one, nil for none.
	trails chan trailRequest
	hold   atomic.Pointer[Hold]
	done   chan struct{} // closed when Run has returned

	up       *upstream
	attached bool // there has been an upstream
	down     *downstream
	edit     editing // of the goroutine that reads the source
	// targetEOF tells that the target takes a snapshot that ends in a marker.
	targetEOF bool
	// behindSince is when the target first asked for more than was read.
	behindSince time.Time
	// shared is the source's offset up to which a target that an earlier link has
	// served may have the same history.
	shared int64

	// Written by the actor, read by anyone.
	mu        sync.Mutex
	state     State
	reason    string
	replid    string // of the source's stream, as far as it is in the spool; "" when the spool holds nothing that can be continued
	told      string // replid that the target was told
	previous  string // replid that it was told before, good up to prevEnd
	prevEnd   int64
	full      int   // full resyncs passed on
	rewritten int64 // keys of the last snapshot that had to be rewritten

	drops drops // what was left out of the snapshot and of the stream

	// start is the target's offset of the first byte after streamAt, the spool
	// position where the stream begins.
	start    atomic.Int64
	streamAt atomic.Int64 // -1 while the snapshot's end has not been seen
	end      atomic.Int64 // the source's offset of the last byte read from it
	acked    atomic.Int64 // the target's offset that it has applied, notLoaded while it loads
	offsets  offsets      // which offset of the source's is which of the target's
	copied   atomic.Int64 // bytes of the snapshot read so far
	total    atomic.Int64 // bytes of the snapshot, 0 while not known
	heard    atomic.Int64 // UnixNano of the last byte of the source, 0 before the first connection

	ackSignal chan struct{}
	lag       lag.Clock
	silence   time.Duration // after how long without a sign of life an end counts as gone
	catchUp   time.Duration // for how long a target that is ahead is put off
}

type serveRequest struct {
	peer   *psync.Peer
	answer chan error
}

// NewLink makes a link; Run carries it.
func NewLink(c Config) *Link {
	if c.Notify == nil {
		c.Notify = func(slog.Level, string) {}
	}
	l := &Link{
		cfg: c, spool: spool.New(c.Spool), state: Waiting,
		peers: make(chan serveRequest), trails: make(chan trailRequest), done: make(chan struct{}), ackSignal: make(chan struct{}, 1),
		silence: psync.SilenceTimeout, catchUp: catchUpTimeout,
	}
	l.streamAt.Store(-1)
	l.acked.Store(notLoaded)
	l.drops.reset(c.Dropped)
	l.shared = math.MaxInt64
	if c.From.ReplID != "" {
		knows := c.Knows
		if knows.ReplID == "" {
			knows = c.From
		}
		l.replid, l.told = c.From.ReplID, knows.ReplID
		l.begin(c.From.Offset-1, knows.Offset-1, c.From.DB)
		if c.Editor != nil {
			c.Editor.Reset(c.From.DB)
		}
		l.streamAt.Store(0)
	}
	return l
}

// begin sets where the stream begins, in both counts: after these offsets, in db.
func (l *Link) begin(source, target int64, db int) {
	l.offsets.reset(source, target, db)
	l.start.Store(target + 1)
	l.end.Store(source)
}

// ErrLinkEnded is returned by Serve once Run has returned.
var ErrLinkEnded = errors.New("the link has ended")

// Serve hands over a peer of the listener that has asked PSYNC: the target. It
// returns once the peer was answered; the link then owns the connection. On an
// error the peer was not answered and is still the caller's.
func (l *Link) Serve(ctx context.Context, p *psync.Peer) error {
	req := serveRequest{peer: p, answer: make(chan error, 1)}
	select {
	case l.peers <- req:
	case <-l.done:
		return ErrLinkEnded
	case <-ctx.Done():
		return ctx.Err()
	}
	return <-req.answer
}

// Run carries the link until ctx is done, or until an error that waiting
// cannot mend. Every goroutine of the link has ended when it returns.
func (l *Link) Run(ctx context.Context) error {
	defer close(l.done)
	defer func() { _ = l.spool.Close() }() // its file has no name any more
	defer l.stopUpstream()
	defer l.stopDownstream()
	retry := newBackoff() // armed whenever there is a stream to go on with and no source
	defer retry.disarm()
	if l.replidNow() != "" {
		if err := l.resume(ctx); err != nil {
			retry.again()
		}
	}
	for {
		var upDone, downDone <-chan error
		if l.up != nil {
			upDone = l.up.done
		}
		if l.down != nil {
			downDone = l.down.done
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case req := <-l.peers:
			err := l.serve(ctx, req.peer)
			req.answer <- err
			var fatal *FatalError
			if errors.As(err, &fatal) {
				return err
			}
			if l.up != nil {
				retry.disarm()
			}
		case req := <-l.trails:
			hold, err := l.trail(req.delay)
			req.answer <- trailAnswer{hold, err}
		case err := <-downDone:
			l.stopDownstream()
			var fatal *FatalError
			if errors.As(err, &fatal) {
				return err
			}
			l.targetLost(err)
		case err := <-upDone:
			progress := l.heard.Load() > l.up.since.UnixNano()
			l.stopUpstream()
			var fatal *FatalError
			if errors.As(err, &fatal) {
				return err
			}
			l.sourceLost(err)
			retry.lost(progress)
		case <-retry.C():
			if err := l.resume(ctx); err != nil {
				l.set(Broken, fmt.Sprintf("source: %v", err))
				retry.again()
			}
		}
	}
}

// FatalError ends a link: waiting would not mend it.
type FatalError struct {
	Err  error
	Hint string
}

func (e *FatalError) Error() string { return e.Err.Error() }
func (e *FatalError) Unwrap() error { return e.Err }

// HintText is what the user can do about it, by the error itself or by its cause.
func (e *FatalError) HintText() string {
	var cause interface{ HintText() string }
	if e.Hint == "" && errors.As(e.Err, &cause) {
		return cause.HintText()
	}
	return e.Hint
}

// serve answers the target's PSYNC: from the spool where it holds what is
// asked for, else by putting the same question to the source.
func (l *Link) serve(ctx context.Context, p *psync.Peer) error {
	l.stopDownstream() // a server has one replication link: the new connection replaces the old
	if position, ok := l.canContinue(p.ReplID, p.Offset); ok {
		if err := p.Continue(l.toldNow()); err != nil {
			l.set(Waiting, fmt.Sprintf("for the target: %v", err))
			return err
		}
		l.shared = math.MaxInt64 // it has nothing from elsewhere from now on
		l.acknowledge(p.Offset - 1)
		l.startDownstream(ctx, p, position)
		if l.up != nil { // else the source is being tried again
			l.set(Streaming, "")
		}
		return nil
	}
	if l.catchingUpWith(p.ReplID, p.Offset) {
		return errBehindTarget
	}
	l.stopUpstream()
	l.forget()
	l.set(Attaching, "the source has not answered yet; before a snapshot it waits for its repl-diskless-sync-delay, and for one that is under way")
	replid, offset := p.ReplID, p.Offset
	if l.cfg.OwnReplID || l.cfg.Knows.ReplID != "" {
		replid, offset = "?", psync.NoOffset // what it asks for the source does not know, or counts otherwise
	}
	stream, answer, err := l.attach(ctx, p.Hello, replid, offset, func() { _ = p.Keepalive() })
	if err != nil {
		l.set(Broken, fmt.Sprintf("source: %v", err))
		return err
	}
	if answer.Full {
		if l.cfg.AllowFull != nil {
			if err := l.cfg.AllowFull(ctx); err != nil {
				_ = stream.Close() // nothing was read of it
				var unreachable *server.ConnError
				if errors.As(err, &unreachable) {
					l.set(Broken, fmt.Sprintf("source: %v", err))
					return err
				}
				return &FatalError{Err: err}
			}
		}
		told := answer.ReplID
		if l.cfg.OwnReplID {
			told = newReplID()
		}
		l.setReplIDs(answer.ReplID, told)
		err = p.FullResync(told, answer.Offset)
	} else {
		if answer.ReplID == "" {
			answer.ReplID = p.ReplID
		}
		l.setReplIDs(answer.ReplID, answer.ReplID)
		err = p.Continue(answer.ReplID)
	}
	if err != nil {
		_ = stream.Close() // the peer's error is the one that tells
		l.setReplIDs("", "")
		l.set(Waiting, fmt.Sprintf("for the target: %v", err))
		return err
	}
	if answer.Full {
		l.mu.Lock()
		l.full++
		l.mu.Unlock()
		l.begin(answer.Offset, answer.Offset, 0)
		l.drops.reset(rdb.Dropped{})
		l.set(Copying, "")
	} else {
		l.begin(p.Offset-1, p.Offset-1, 0)
		l.streamAt.Store(0)
		l.acknowledge(p.Offset - 1)
		l.set(Streaming, "")
	}
	l.targetEOF = p.EOF
	l.startUpstream(ctx, stream, answer.Full)
	l.startDownstream(ctx, p, 0)
	return nil
}

// attach asks the source PSYNC replid offset on a new connection.
func (l *Link) attach(ctx context.Context, target psync.Hello, replid string, offset int64, keepalive func()) (*psync.Stream, psync.Answer, error) {
	conn, err := l.cfg.Source.DialConn(ctx)
	if err != nil {
		return nil, psync.Answer{}, err
	}
	version := target.Version
	if l.cfg.Snapshot != nil && l.cfg.SnapshotVersion != "" {
		version = l.cfg.SnapshotVersion
	}
	stream, answer, err := psync.Attach(ctx, conn, psync.Hello{
		Username: l.cfg.Source.Username, Password: l.cfg.Source.Password,
		ListeningPort: l.cfg.AnnouncePort, IPAddress: l.cfg.AnnounceHost,
		// What the target can take is what is asked for in its name.
		EOF: target.EOF, PSYNC2: true, Version: version,
	}, replid, offset, keepalive)
	if err != nil {
		_ = conn.Close() // the handshake's error is the one that tells
		return nil, psync.Answer{}, err
	}
	return stream, answer, nil
}

// forget empties the spool: nothing in it can be continued. Both connections have ended.
func (l *Link) forget() {
	l.stopDownstream()
	l.mu.Lock() // against Acknowledge
	defer l.mu.Unlock()
	l.replid, l.told, l.previous = "", "", ""
	l.shared = math.MaxInt64
	l.edit = editing{}
	if l.cfg.Editor != nil {
		l.cfg.Editor.Reset(0)
	}
	l.streamAt.Store(-1)
	l.spool.Reset()
	l.acked.Store(notLoaded)
	l.copied.Store(0)
	l.total.Store(0)
	l.lag.Reset()
}

func (l *Link) sourceLost(err error) {
	l.cfg.Notify(slog.LevelWarn, fmt.Sprintf("the connection to %s ended: %v", l.cfg.Source.Address, err))
	if l.streamAt.Load() < 0 {
		// A snapshot cannot be resumed.
		l.forget()
		l.set(Broken, fmt.Sprintf("the source ended within the snapshot: %v", err))
		return
	}
	l.set(Broken, fmt.Sprintf("source: %v", err))
}

func (l *Link) targetLost(err error) {
	l.cfg.Notify(slog.LevelWarn, fmt.Sprintf("the connection of %s ended: %v", l.cfg.Target, err))
	if l.acked.Load() == notLoaded {
		// It has not loaded the snapshot, so it will ask for a new one.
		l.stopUpstream()
		l.forget()
	}
	l.set(Waiting, fmt.Sprintf("for the target: %v", err))
}

func (l *Link) set(s State, reason string) {
	l.mu.Lock()
	l.state, l.reason = s, reason
	l.mu.Unlock()
}

// shift goes from one state to the next, unless the link is in another by now.
func (l *Link) shift(from, to State) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == from {
		l.state, l.reason = to, ""
	}
}

// spoolError tells a spool that fails, which no waiting mends, from one that
// the link has stopped to use.
func spoolError(ctx context.Context, err error) error {
	if ctx.Err() != nil || errors.Is(err, spool.ErrReleased) {
		return err
	}
	return &FatalError{Err: err, Hint: "see to the disk of the state directory, then run again"}
}

func (l *Link) setReplIDs(source, target string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.replid, l.told, l.previous = source, target, ""
}

// newReplID is as random as those of servers (replication.c changeReplicationId).
func newReplID() string {
	var b [20]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}
