package apply

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"

	"godwit/internal/persist"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// copy carries the snapshot, if there is one, to an empty target, and writes the
// checkpoints from which the commands are counted, if there may be some.
func (e *FileEngine) copy(ctx context.Context, source *persist.Source, now *shards) error {
	ids, err := now.identities(ctx)
	if err != nil {
		return err
	}
	p := FileProgress{File: e.present().File, Owner: rand.Text(), Later: source.Describe().Kind != persist.RDB}
	for _, shard := range now.primaries {
		if err := empty(ctx, shard, e.cfg.Capabilities); err != nil {
			return err
		}
	}
	if p.Now, err = timeOf(ctx, now.primaries[0]); err != nil {
		return err
	}
	if err := e.set(p); err != nil { // the times of keys are put off from here on
		return err
	}
	e.keys.Store(0)
	e.expired.Store(0)
	e.left.Store(0)
	e.mu.Lock()
	clear(e.dropped)
	e.mu.Unlock()
	if snapshot := source.Snapshot(); snapshot != nil {
		if err := e.fill(ctx, now, &counted{ctx: ctx, r: snapshot, n: &e.read}, p); err != nil {
			return err
		}
	}
	if err := now.kept(ctx, ids); err != nil {
		return err
	}
	v := e.View()
	p.Keys, p.Expired, p.Left, p.Dropped = v.Keys, v.Expired, v.Left, v.Dropped
	if !p.Later {
		return e.set(p)
	}
	p.Lanes = now.lanes(sourceName(e.cfg.Name, 0), 1, ids)
	for i, lane := range p.Lanes {
		fields := []string{"HSET", lane.Key, "owner", p.Owner, "at", "0", "more", "0"}
		if err := ask(ctx, now.primaries[i], fields...); err != nil {
			return err
		}
	}
	return e.set(p)
}

// ask sends one command on a connection of its own.
func ask(ctx context.Context, shard server.Endpoint, args ...string) error {
	c, err := dial(ctx, shard)
	if err != nil {
		return err
	}
	_, err = c.do(args...)
	_ = c.Close() // nothing was left unsent
	return err
}

// timeOf is a server's, in milliseconds since 1970.
func timeOf(ctx context.Context, e server.Endpoint) (int64, error) {
	c, err := dial(ctx, e)
	if err != nil {
		return 0, err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	texts, err := c.do("TIME")
	if err != nil {
		return 0, err
	}
	if len(texts) != 2 {
		return 0, fmt.Errorf("%s: reply to TIME: %q", e.Address, texts)
	}
	seconds, err1 := strconv.ParseInt(string(texts[0]), 10, 64)
	micros, err2 := strconv.ParseInt(string(texts[1]), 10, 64)
	return seconds*1000 + micros/1000, errors.Join(err1, err2)
}

// fill gives the keys of the snapshot to the shards.
func (e *FileEngine) fill(parent context.Context, now *shards, snapshot io.Reader, p FileProgress) error {
	e.note(Copying, nil)
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	loaders := make([]*loader, len(now.primaries))
	var wg sync.WaitGroup
	for i, shard := range now.primaries {
		loaders[i] = newLoader(shard, !now.cluster || elsewhere(e.cfg.Route), &e.keys, e.refuses(shard.Address))
		for range loadConns {
			wg.Go(func() {
				if err := loaders[i].carry(ctx); err != nil {
					cancel(err)
				}
			})
		}
	}
	err := e.scan(ctx, loaders, now, snapshot, p)
	for _, x := range loaders {
		if err == nil {
			err = x.flush(ctx)
		}
		close(x.out)
	}
	wg.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return err
}

// refuses notes what a shard refuses for a while, or that it does not any more.
func (e *FileEngine) refuses(shard string) func(error) {
	var refusing atomic.Bool
	return func(err error) {
		switch {
		case err == nil && refusing.CompareAndSwap(true, false):
			e.note(Copying, nil)
		case err != nil:
			refusing.Store(true)
			e.note(Copying, err)
			e.cfg.Log.Warn("it is tried again", "shard", shard, "error", err)
		}
	}
}

// scan goes through the snapshot and gives each key to the shard of its slot.
func (e *FileEngine) scan(ctx context.Context, loaders []*loader, now *shards, snapshot io.Reader, p FileProgress) error {
	s := newSnapshotScan(snapshot, e.crc, e.cfg, now.cluster, p, e.leftOut)
	for {
		span, err := s.next()
		switch {
		case errors.Is(err, io.EOF):
			e.expired.Store(s.expired)
			e.left.Store(s.left)
			return nil
		case err != nil:
			return err
		}
		if span.Kind != rdb.KindKey {
			if err := s.opcode(span, func() error { return library(ctx, now, span) }); err != nil {
				return err
			}
			continue
		}
		e.expired.Store(s.expired)
		e.left.Store(s.left)
		k, err := s.item(span)
		if err != nil {
			return err
		}
		if err := s.key(span, func() error {
			return loadKey(ctx, loaders[now.of[slot.Of(k.key)]], s.restorer, s.scanner, span, &k)
		}); err != nil {
			return err
		}
	}
}

// snapshotScan goes through the snapshot of a file as it is to be loaded.
type snapshotScan struct {
	dropper
	scanner  *rdb.Scanner
	restorer *restorer
	now      int64 // keys whose time has passed by then are left out, unless times are put off
	expired  int64 // that were left out

	cluster bool // the target is one
	route   route.Route
	in      selection // where the keys of the present db go
	left    int64     // keys that stay behind with their dbs
	stayed  func(*rdb.Span)
}

// newSnapshotScan begins to read. cluster tells that the target is one. leftOut is
// told of what it lacks and may do without, of each key and library once.
func newSnapshotScan(snapshot io.Reader, crc *rdb.CRC64, c FileConfig, cluster bool, p FileProgress, leftOut func(rdb.Feature)) *snapshotScan {
	restorer := newRestorer(crc, c.Capabilities)
	restorer.later = p.Later
	s := &snapshotScan{
		// The checksum is verified by package persist.
		scanner:  rdb.NewScanner(snapshot, rdb.ScannerOptions{CRC: crc, NoChecksum: true, Single: rdb.AllCodes(), BufferSize: scanBuffer}),
		restorer: restorer,
		now:      p.Now,
		cluster:  cluster, route: c.Route, in: places(c.Route, cluster, 0), stayed: func(*rdb.Span) {},
	}
	s.prepare(c.Capabilities, c.Transcoder, func(left rdb.LeftOut) { leftOut(left.Feature) })
	return s
}

// next is the next key to be loaded, its time put off if that is to be, or an opcode. It may
// be of a db that has no place.
func (s *snapshotScan) next() (*rdb.Span, error) {
	for {
		span, err := s.scanner.Next()
		if err != nil {
			return nil, err
		}
		if span.Kind == rdb.KindKey {
			if span.DB != s.in.db {
				s.in = places(s.route, s.cluster, span.DB)
			}
			if s.in.stays() {
				s.left++
				s.stayed(span)
				continue
			}
		}
		switch at := span.Attributes.ExpireAt; {
		case span.Kind == rdb.KindHeader:
			s.restorer.begin(s.scanner.Format(), s.coding)
		case span.Kind == rdb.KindOpcode:
			return span, nil
		case span.Kind != rdb.KindKey:
		case at == rdb.None:
			return span, nil
		case s.restorer.later:
			if span.Attributes.ExpireAt, err = later(at); err != nil {
				return nil, &FatalError{fmt.Errorf("db %d, key %.200q: %w", span.DB, span.Key, err)}
			}
			return span, nil
		case at < s.now: // rdb.c rdbLoadRioWithLoadingCtx
			s.expired++
		default:
			return span, nil
		}
	}
}

// item is a key as it is at the target. Errors are a *route.UnmappedError and a
// *route.ClashError.
func (s *snapshotScan) item(span *rdb.Span) (k item, err error) {
	k = itemOf(span)
	switch {
	case s.in.way == nil:
		return k, fmt.Errorf("key %.200q: %w", k.key, &route.UnmappedError{DB: k.db})
	case !s.in.plain:
		if s.restorer.name, err = s.in.way.AppendName(s.restorer.name[:0], k.key); err != nil {
			return k, err
		}
		k.key = s.restorer.name
	}
	k.to = s.in.to
	return k, nil
}
