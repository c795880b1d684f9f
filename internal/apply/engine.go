package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/server"
	"godwit/internal/slot"
	"godwit/internal/spool"
	"godwit/internal/topology"
)

// Config of a link from one source to the shards of a target.
type Config struct {
	Name   string // of the migration and the source: part of the names of checkpoints
	Owner  string // what the checkpoints of this copy say whose they are
	Source server.Endpoint
	Target server.Endpoint // any node of the cluster

	Capabilities command.Capabilities // of the source
	Rewriter     *command.Rewriter    // nil where the target understands every command of the source
	Format       rdb.Format           // what the target loads
	Transcoder   rdb.TranscoderOptions
	Version      string // what the source is told that the replica is, see psync.Hello
	Spool        spool.Options
	Log          *slog.Logger
}

// State of a link.
type State string

// The states of a link.
const (
	Attaching State = "attaching" // the source is being asked for its data
	Copying   State = "copying"   // the snapshot is on its way
	Streaming State = "streaming" // the stream is on its way
	Broken    State = "broken"    // an end is out of reach, or refuses; it is tried again
)

// Link carries one source to the shards of a target.
type Link struct {
	cfg Config
	in  *intake
	crc *rdb.CRC64

	mu     sync.Mutex
	state  State
	reason string

	keys  atomic.Int64 // of the snapshot, that the target has
	read  atomic.Int64 // offset of the source up to which lanes have been given its commands
	acked atomic.Int64 // offset up to which the target has everything
}

// NewLink makes a link; Run carries it.
func NewLink(c Config) *Link {
	return &Link{cfg: c, crc: rdb.NewCRC64(), in: newIntake(c.Source, c.Version, c.Spool, c.Log), state: Attaching}
}

// Run carries the link until ctx is done, or until an error that waiting cannot mend.
func (l *Link) Run(ctx context.Context) error {
	defer func() { _ = l.in.spool.Close() }() // its file has no name any more
	defer l.in.detach()
	if err := l.copy(ctx); err != nil {
		return err
	}
	return l.follow(ctx)
}

// copy carries the snapshot.
func (l *Link) copy(ctx context.Context) error {
	target, err := topology.Resolve(ctx, l.cfg.Target)
	if err != nil {
		return err
	}
	if err := l.in.attach(ctx, "", 0); err != nil {
		return err
	}
	l.set(Copying, "")
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	loaders := make([]*loader, len(target.Primaries))
	var wg sync.WaitGroup
	for i, shard := range target.Primaries {
		loaders[i] = newLoader(shard, &l.keys)
		for range loadConns {
			wg.Go(func() {
				if err := loaders[i].carry(ctx); err != nil {
					cancel(err)
				}
			})
		}
	}
	err = l.scan(ctx, loaders, target)
	for _, x := range loaders {
		if err == nil {
			err = x.flush(ctx)
		}
		close(x.out)
	}
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// scan goes through the snapshot and gives each key to the shard of its slot.
func (l *Link) scan(ctx context.Context, loaders []*loader, target topology.Deployment) error {
	r := &restorer{crc: l.crc, to: l.cfg.Format}
	s := rdb.NewScanner(l.in.snapshot(ctx), rdb.ScannerOptions{CRC: l.crc, Single: rdb.AllCodes(), BufferSize: 1 << 20})
	for {
		span, err := s.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: snapshot: %w", l.cfg.Source.Address, err)
		}
		switch span.Kind {
		case rdb.KindHeader:
			r.begin(s.Format(), l.cfg.Transcoder)
		case rdb.KindKey:
			if span.DB != 0 {
				return fmt.Errorf("%s: key %.200q is in db %d", l.cfg.Source.Address, span.Key, span.DB)
			}
			if err := l.load(ctx, loaders, target, r, s, span); err != nil {
				return err
			}
		default:
		}
	}
}

func (l *Link) load(ctx context.Context, loaders []*loader, target topology.Deployment, r *restorer, s *rdb.Scanner, span *rdb.Span) error {
	shard := 0
	if target.Slots != nil {
		shard = target.Slots(slot.Of(span.Key))
	}
	to := loaders[shard]
	x, err := to.room(ctx)
	if err != nil {
		return err
	}
	if span.More {
		return fmt.Errorf("%s: key %.200q is too large", l.cfg.Source.Address, span.Key)
	}
	if x.buf, err = r.restore(x.buf, span, span.Value()); err != nil {
		return err
	}
	return to.added(ctx)
}

// follow carries the stream.
func (l *Link) follow(ctx context.Context) error {
	begin := mark{at: l.in.start}
	for {
		err := l.stream(ctx, begin)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		l.set(Broken, err.Error())
		l.cfg.Log.Warn("stream", "error", err)
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// stream carries the stream from where the shards stand until something ends it. A
// shard without a checkpoint stands at begin.
func (l *Link) stream(parent context.Context, begin mark) error {
	target, err := topology.Resolve(parent, l.cfg.Target)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	d := &dispatcher{
		source: l.cfg.Source, in: l.in, placer: command.NewPlacer(l.cfg.Capabilities), rewriter: l.cfg.Rewriter,
		shard: new([slot.Count]uint16), mark: new([slot.Count]uint16),
		values: &carrier{source: l.cfg.Source, crc: l.crc, ahead: map[string]int64{}},
		read:   &l.read,
	}
	defer d.values.close()
	var wg sync.WaitGroup
	defer wg.Wait()
	defer func() {
		cancel(nil)
		for _, x := range d.lanes {
			x.stop()
		}
	}()
	for i, shard := range target.Primaries {
		tag := uint16(0)
		for of := range uint16(slot.Count) {
			if target.Slots == nil || target.Slots(of) == i {
				d.shard[of], d.mark[of], tag = uint16(i), uint16(i), of
			}
		}
		x, at, err := openLane(ctx, shard, checkpointKey(l.cfg.Name, i, tag), l.cfg.Owner)
		if err != nil {
			return err
		}
		d.lanes = append(d.lanes, x)
		if at == nil {
			at = &begin
			if err := x.set(begin); err != nil {
				return err
			}
		}
		d.had = append(d.had, *at)
	}
	d.offset = d.had[0].at
	for i, at := range d.had {
		if at.at <= d.offset {
			d.offset, d.db = at.at, at.db
		}
		d.lanes[i].start(ctx, at)
		wg.Go(func() {
			select {
			case err := <-d.lanes[i].failed:
				cancel(err)
			case <-ctx.Done():
			}
		})
	}
	if d.rewriter != nil {
		d.rewriter.Reset(d.db)
	}
	l.set(Streaming, "")
	wg.Go(func() { l.acknowledge(ctx, d.lanes) })
	err = d.run(ctx)
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return err
}

// acknowledge works out what the target has.
func (l *Link) acknowledge(ctx context.Context, lanes []*lane) {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-again.C:
			acked := l.read.Load()
			for _, x := range lanes {
				// What was given to it after that only makes this less.
				if applied := x.applied.Load(); applied < x.given.Load() {
					acked = min(acked, applied)
				}
			}
			l.acked.Store(acked)
			l.in.acked.Store(acked)
		}
	}
}

// checkpointKey is the name of a shard's checkpoint, which is of one of its slots.
func checkpointKey(name string, shard int, of uint16) string {
	return "godwit:" + name + ":" + strconv.Itoa(shard) + ":{" + slot.Tag(of) + "}"
}

func (l *Link) set(s State, reason string) {
	l.mu.Lock()
	l.state, l.reason = s, reason
	l.mu.Unlock()
}

// View is what a link has done so far.
type View struct {
	State  State
	Reason string
	Keys   int64 // of the snapshot
	Read   int64 // offset of the source that was read
	Acked  int64 // that the target has
}

// View tells what has been done so far.
func (l *Link) View() View {
	l.mu.Lock()
	defer l.mu.Unlock()
	return View{State: l.state, Reason: l.reason, Keys: l.keys.Load(), Read: l.in.end.Load(), Acked: l.acked.Load()}
}
