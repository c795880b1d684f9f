package verify

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"golang.org/x/time/rate"

	"godwit/internal/digest"
	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/server"
)

// incoming is a snapshot that a shard has begun to send.
type incoming struct {
	shard  *shard
	stream *psync.Stream
	answer psync.Answer
}

func (in *incoming) close() { _ = in.stream.Close() } // what it still sends is of no use

// reading sums up one snapshot.
type reading struct {
	run     *run
	in      *incoming
	shard   int // its number
	seen    seen
	wanted  *buckets
	options digest.Options // keys too that expire at its Expired or before are none
	besides ahead          // keys that are passed over, by the names they are compared by
	limiter *rate.Limiter
}

// keysAtOnce is how many keys are counted before it is told.
const keysAtOnce = 256

// do reads to the snapshot's verified end. When ctx is done the connection is closed.
func (r *reading) do(ctx context.Context) error {
	stop := context.AfterFunc(ctx, r.in.close)
	err := r.read(ctx)
	if !stop() {
		return ctx.Err()
	}
	r.in.close()
	return err
}

func (r *reading) read(ctx context.Context) error {
	header, err := r.in.stream.SnapshotHeader(nil)
	if err != nil {
		return r.in.shard.refused(ctx, err)
	}
	begin, err := r.in.stream.Peek(rdb.HeaderSize)
	if err != nil {
		return r.in.shard.lost(ctx, err)
	}
	if err := r.run.knows(r.in.shard, begin); err != nil {
		return err
	}
	side, options := r.in.shard.side, r.options
	snapshot := digest.NewSnapshot(&limited{ctx: ctx, r: r.in.stream.Snapshot(header), limiter: r.limiter, side: side}, options)
	sums := &adder{table: r.seen.table}
	defer sums.flush()
	keys := int64(0)
	defer func() { side.keys.Add(keys) }()
	count := func(n int64) {
		if keys += n; keys >= keysAtOnce {
			side.keys.Add(keys)
			keys = 0
		}
	}
	waiting := &asking{reading: r, sums: sums}
	for {
		entry, err := snapshot.Next()
		switch {
		case errors.Is(err, io.EOF):
			counted, err := waiting.flush(ctx)
			count(counted)
			return err
		case err != nil:
			return r.failed(ctx, err)
		}
		if !side.owns(r.shard, entry.DB, entry.Key) {
			continue
		}
		if entry.DB == libraries && r.seen.libraries.passes(entry) {
			continue
		}
		if side.ruled() && entry.DB != libraries {
			counted, err := waiting.add(ctx, entry)
			if err != nil {
				return err
			}
			count(counted)
			continue
		}
		if entry.DB, entry.Key = side.compared(entry.DB, entry.Key); r.besides.has(entry.DB, entry.Key) {
			continue
		}
		counts, err := r.entry(sums, entry)
		if err != nil {
			return err
		}
		if counts {
			count(1)
		}
	}
}

// entry adds one to what is seen, if it counts.
func (r *reading) entry(sums *adder, e *digest.Entry) (counts bool, err error) {
	hash := r.options.KeyHash(e.Key)
	if e.ExpireAt != rdb.None && e.ExpireAt <= r.options.Expired || !r.run.filter.keeps(e.DB, e.Key, hash) {
		return false, nil
	}
	place := bucket(hash)
	sums.add(place, r.options.Mix(e))
	if r.wanted == nil || !r.wanted.has(place) {
		return true, nil
	}
	return true, r.seen.records.add(&record{hash: hash, key: e.Key, db: e.DB, shard: r.shard, expireAt: e.ExpireAt, Value: e.Value})
}

// failed tells a connection that ended from a snapshot that cannot be read.
func (r *reading) failed(ctx context.Context, err error) error {
	var read *rdb.ReadError
	if errors.As(err, &read) {
		return r.in.shard.lost(ctx, err)
	}
	return &hintedError{
		fmt.Errorf("the snapshot of the %s %s: %w", r.in.shard.side.role, r.in.shard.address(), err),
		"--method scan reads it key by key",
	}
}

// knows sees to it that what the snapshot's format cannot hold does not count. As a
// rule a server sends its newest format, and that is known before.
func (r *run) knows(s *shard, begin []byte) error {
	format, err := rdb.ParseHeader(begin)
	if err != nil {
		return &hintedError{fmt.Errorf("the snapshot of the %s %s: %w", s.side.role, s.address(), err), "--method scan reads it key by key"}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if slices.ContainsFunc(r.digest.Formats, func(f rdb.Format) bool { return f.Version == format.Version }) {
		return nil
	}
	r.digest.Formats = append(r.digest.Formats, format)
	return &passingError{err: fmt.Errorf("the snapshot of the %s %s is of another format than its server's: %s", s.side.role, s.address(), format)}
}

// limited counts and limits what is read.
type limited struct {
	ctx     context.Context //nolint:containedctx // that of the one call it is made for
	r       io.Reader
	limiter *rate.Limiter
	side    *side
}

func (l *limited) Read(p []byte) (int, error) {
	if l.limiter != nil {
		p = p[:min(len(p), burst)]
	}
	n, err := l.r.Read(p)
	l.side.bytes.Add(int64(n))
	if waited := throttle(l.ctx, l.limiter, n); waited != nil {
		return 0, waited // with bytes beside it, an error may be passed over
	}
	return n, err
}

// lost says why a shard's snapshot has ended too early.
func (s *shard) lost(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	err = fmt.Errorf("the %s: %w", s.side.role, err) // it names the address
	info, asked := s.client.Info(ctx, "persistence")
	if asked != nil {
		return &hintedError{fmt.Errorf("%w; and now: %w", err, asked), "see that the server runs, then compare again"}
	}
	if info["rdb_last_bgsave_status"] == "err" {
		return &hintedError{
			fmt.Errorf("%w; its last BGSAVE failed", err),
			"its log says why: no memory for the fork, no space on its disk; --method scan needs no snapshot",
		}
	}
	return &passingError{err, "a FLUSHALL ends a snapshot, and so do a child that the kernel kills for want of memory and an output buffer that overflows (client-output-buffer-limit replica), see the server's log: compare when the server is less busy, or use --method scan"}
}

// refused says why a shard does not send a snapshot.
func (s *shard) refused(ctx context.Context, err error) error {
	var reply *server.Error
	if !errors.As(err, &reply) {
		return s.lost(ctx, err)
	}
	err = fmt.Errorf("the %s: %w", s.side.role, err)
	switch reply.Code {
	case "NOMASTERLINK":
		return &passingError{err, "it is a replica whose link to its primary is down, and gives no snapshot before that is up again"}
	case "LOADING":
		return &passingError{err, "wait until it has loaded its data"}
	case "NOPERM":
		return &barredError{err}
	case "NOAUTH", "WRONGPASS":
		return &hintedError{err, "permit replication to this user (+psync +replconf), or use --method scan"}
	}
	return &hintedError{err, "a snapshot needs a fork, and memory for it (vm.overcommit_memory=1), or space on its disk: the server's log says more; --method scan needs none"}
}

// barredError says that a server gives our user no snapshot. That is not always known
// before one is asked for: ACL DRYRUN may not be permitted either.
type barredError struct{ err error }

func (e *barredError) Error() string { return e.err.Error() }
func (e *barredError) Unwrap() error { return e.err }

// HintText is what the user can do about it.
func (e *barredError) HintText() string {
	return "permit replication to this user (+psync +replconf), or use --method scan"
}
