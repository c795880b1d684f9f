package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/lag"
	"godwit/internal/psync"
	"godwit/internal/server"
	"godwit/internal/spool"
)

// intake is a replica of the source: it reads snapshot and stream into the spool as
// fast as they come, and acknowledges what the shards have.
type intake struct {
	find   func(context.Context) (server.Endpoint, error) // where the source is; nil if it stays where it was
	source server.Endpoint                                // where it was attached to last
	hello  psync.Hello
	log    *slog.Logger
	spool  *spool.Spool
	hurry  chan struct{} // an acknowledgement is wanted now

	stream *psync.Stream // set while mu is held
	wg     sync.WaitGroup
	cancel context.CancelFunc
	failed chan error // once, when the connection is of no use any more

	mu       sync.Mutex
	replid   string       // guarded by mu
	start    int64        // offset of the source's last byte before the stream in the spool
	streamAt atomic.Int64 // where in the spool that is; -1 while the snapshot is being read
	end      atomic.Int64 // offset of the last byte read
	clock    lag.Clock    // when which offset was
	heard    atomic.Int64 // UnixNano of the last sign of life
	acked    atomic.Int64 // offset that every shard has
	question atomic.Int64 // offset of the last REPLCONF GETACK that was read
	arrivals arrivals     // of the stream
	copied   atomic.Int64 // bytes of the snapshot
	total    atomic.Int64 // bytes that it has, 0 if that is not known
}

const ackInterval = time.Second

func newIntake(source Source, o spool.Options, log *slog.Logger) *intake {
	in := &intake{
		source: source.Endpoint, spool: spool.New(o), log: log, failed: make(chan error, 1), hurry: make(chan struct{}, 1),
		hello: psync.Hello{
			Username: source.Endpoint.Username, Password: source.Endpoint.Password,
			EOF: true, PSYNC2: true, Version: source.Version,
			IPAddress: source.AnnounceHost, ListeningPort: source.AnnouncePort,
		},
	}
	in.streamAt.Store(-1)
	return in
}

// errFullResync says that the source cannot go on where we stand.
var errFullResync = errors.New("the source cannot continue the stream from there")

// attach asks for a full resync, or, with a replid, for the stream after an offset:
// then it is errFullResync if the source has not got it any more. What the spool
// held is gone.
func (in *intake) attach(ctx context.Context, replid string, after int64) error {
	in.detach()
	in.spool.Reset()
	in.streamAt.Store(-1)
	in.copied.Store(0)
	in.total.Store(0)
	in.arrivals.forget(math.MaxInt64)
	question, offset := "?", int64(psync.NoOffset)
	if replid != "" {
		question, offset = replid, after+1
	}
	stream, answer, err := in.ask(ctx, question, offset)
	if err != nil {
		return err
	}
	switch {
	case answer.Full && replid != "":
		_ = stream.Close() // nothing was read of it
		return errFullResync
	case answer.Full:
		in.start = answer.Offset
		in.named(answer.ReplID)
	default:
		in.named(replid)
		in.named(answer.ReplID)
		in.start = after
		in.streamAt.Store(0)
	}
	in.clock.Reset()
	in.end.Store(in.start)
	in.acked.Store(in.start)
	in.carry(ctx, stream, answer.Full)
	return nil
}

// again attaches after a lost connection, where the spool ends.
func (in *intake) again(ctx context.Context) error {
	in.detach()
	if in.streamAt.Load() < 0 {
		return errFullResync // a snapshot cannot be resumed
	}
	stream, answer, err := in.ask(ctx, in.history(), in.end.Load()+1)
	if err != nil {
		return err
	}
	if answer.Full {
		_ = stream.Close() // nothing was read of it
		return errFullResync
	}
	in.named(answer.ReplID)
	in.carry(ctx, stream, false)
	return nil
}

// join attaches where the source stands at present, and has none of its data. What the
// spool held is gone.
func (in *intake) join(ctx context.Context) error {
	in.detach()
	in.spool.Reset()
	in.streamAt.Store(-1)
	in.arrivals.forget(math.MaxInt64)
	for again := true; ; again = false {
		if err := in.locate(ctx); err != nil {
			return err
		}
		source := in.source
		info, err := replication(ctx, source)
		if err != nil {
			return err
		}
		if role := info["role"]; role != "master" {
			return fmt.Errorf("%s is not a primary: its role is %s", source.Address, role)
		}
		replid, offset := info["master_replid"], info.Int("master_repl_offset")
		stream, answer, err := in.ask(ctx, replid, offset+1)
		if err != nil {
			return err
		}
		if answer.Full {
			// It had no backlog before, or went on too fast; now it has one
			// (replication.c createReplicationBacklog).
			_ = stream.Close() // nothing was read of it
			if again {
				continue
			}
			return fmt.Errorf("%s: %w", source.Address, errFullResync)
		}
		in.named(replid)
		in.named(answer.ReplID)
		in.start = offset
		in.end.Store(offset)
		in.acked.Store(offset)
		in.streamAt.Store(0)
		in.carry(ctx, stream, false)
		return nil
	}
}

// locate finds out where the source is by now.
func (in *intake) locate(ctx context.Context) error {
	if in.find == nil {
		return nil
	}
	source, err := in.find(ctx)
	if err == nil {
		in.source = source
	}
	return err
}

func (in *intake) ask(ctx context.Context, replid string, offset int64) (*psync.Stream, psync.Answer, error) {
	if err := in.locate(ctx); err != nil {
		return nil, psync.Answer{}, err
	}
	raw, err := in.source.DialConn(ctx)
	if err != nil {
		return nil, psync.Answer{}, server.Failed(in.source.Address, "dial", err)
	}
	stream, answer, err := psync.Attach(ctx, raw, in.hello, replid, offset, in.alive)
	if err != nil {
		_ = raw.Close() // the handshake's error is the one that tells
		return nil, psync.Answer{}, err
	}
	return stream, answer, nil
}

// named is called with the replid that the source's stream has from now on; empty if
// it is as before.
func (in *intake) named(replid string) {
	if replid == "" {
		return
	}
	in.mu.Lock()
	in.replid = replid
	in.mu.Unlock()
}

// history is the replid of the source's stream.
func (in *intake) history() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.replid
}

func (in *intake) alive() { in.heard.Store(time.Now().UnixNano()) }

func (in *intake) carry(ctx context.Context, stream *psync.Stream, snapshot bool) {
	ctx, in.cancel = context.WithCancel(ctx)
	in.mu.Lock()
	in.stream = stream
	in.mu.Unlock()
	in.alive()
	stop := context.AfterFunc(ctx, func() { _ = stream.Close() }) // nothing is left to say
	in.wg.Go(func() {
		defer stop()
		var err error
		if snapshot {
			err = in.readSnapshot(ctx)
		}
		if err == nil {
			err = in.readStream(ctx)
		}
		in.failed <- err
	})
	in.wg.Go(func() { in.acknowledge(ctx) })
}

// leave ends the connection as if the source had.
func (in *intake) leave() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stream != nil {
		_ = in.stream.Close() // ends the reader
	}
}

// detach ends the connection, if there is one.
func (in *intake) detach() {
	if in.cancel == nil {
		return
	}
	in.cancel()
	in.wg.Wait()
	in.cancel = nil
	select {
	case err := <-in.failed:
		in.log.Debug("the connection had ended", "source", in.source.Address, "error", err)
	default:
	}
}

func (in *intake) readSnapshot(ctx context.Context) error {
	header, err := in.stream.SnapshotHeader(in.alive)
	if err != nil {
		return err
	}
	if header.Length > 0 {
		in.total.Store(header.Length)
	}
	body := in.stream.Snapshot(header)
	for {
		space, err := in.spool.Reserve(ctx)
		if err != nil {
			return err
		}
		n, err := body.Read(space)
		if n > 0 {
			in.alive()
			in.copied.Add(int64(n))
			in.spool.Commit(n)
		}
		if errors.Is(err, io.EOF) {
			_, end := in.spool.Range()
			in.streamAt.Store(end)
			return nil
		}
		if err != nil {
			return fmt.Errorf("within the snapshot: %w", err)
		}
	}
}

func (in *intake) readStream(ctx context.Context) error {
	for {
		space, err := in.spool.Reserve(ctx)
		if err != nil {
			return err
		}
		n, err := in.stream.Read(space)
		if n > 0 {
			in.alive()
			in.clock.Mark(in.end.Add(int64(n)), time.Now())
			in.arrivals.came(in.end.Load())
			in.spool.Commit(n)
		}
		if err != nil {
			return eof(err)
		}
	}
}

// acknowledge tells the source what the shards have. While it is still copied they
// have nothing of the stream; a diskless source sends it only after the first
// acknowledgement that follows its child's end (replication.c replconfCommand).
func (in *intake) acknowledge(ctx context.Context) {
	timer := time.NewTicker(25 * time.Millisecond)
	defer timer.Stop()
	var last time.Time
	var told int64
	for {
		select {
		case <-ctx.Done():
			return
		case <-in.hurry:
			if acked := in.acked.Load(); in.streamAt.Load() >= 0 && acked != told {
				told = acked
				_ = in.stream.Ack(acked) // the next one ends the connection
			}
		case now := <-timer.C:
			if in.streamAt.Load() < 0 {
				continue
			}
			if silent := now.Sub(time.Unix(0, in.heard.Load())); silent > psync.SilenceTimeout && !in.spool.Stats().Full {
				in.log.Warn("the source is silent", "source", in.source.Address, "for", silent)
				_ = in.stream.Close() // ends the reader
				return
			}
			acked := in.acked.Load()
			if acked == told && now.Sub(last) < ackInterval && in.end.Load() > in.start {
				continue
			}
			last, told = now, acked
			if err := in.stream.Ack(acked); err != nil {
				_ = in.stream.Close() // ends the reader
				return
			}
		}
	}
}

// position is where in the spool the stream goes on after an offset, ok false if it
// is not there (any more).
func (in *intake) position(after int64) (int64, bool) {
	at := in.streamAt.Load()
	if at < 0 || after < in.start {
		return 0, false
	}
	position := at + after - in.start
	from, to := in.spool.Range()
	return position, position >= from && position <= to
}

// snapshot reads the snapshot from the spool, and lets go of what was read.
func (in *intake) snapshot(ctx context.Context) io.Reader {
	return &spooled{ctx: ctx, in: in}
}

type spooled struct {
	ctx      context.Context //nolint:containedctx // that of the one reading it is made for
	in       *intake
	position int64
	chunk    []byte
}

func (s *spooled) Read(p []byte) (int, error) {
	if len(s.chunk) == 0 {
		s.in.spool.Release(s.position)
		chunk, err := s.in.next(s.ctx, s.position)
		if err != nil {
			return 0, err
		}
		s.chunk = chunk
	}
	n := copy(p, s.chunk)
	s.chunk, s.position = s.chunk[n:], s.position+int64(n)
	return n, nil
}

// next waits for bytes in the spool, or for the end of those who write them.
func (in *intake) next(ctx context.Context, position int64) ([]byte, error) {
	chunk, err := in.spool.Next(ctx, position)
	if err != nil {
		return nil, err
	}
	if at := in.streamAt.Load(); at >= 0 && position < at && position+int64(len(chunk)) > at {
		chunk = chunk[:at-position]
	}
	return chunk, nil
}
