package apply

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"godwit/internal/reserved"
	"godwit/internal/resp"
	"godwit/internal/server"
)

// Which db is selected where a stream is joined in its middle, the source does not tell: it
// says so only where that changes (replication.c replicationFeedReplicas), and to who begins
// with a snapshot. So the source is stirred. Where the stream is to count from the moment of a
// switch on, it is followed from before that (selecting). A dispatcher whose stream begins in
// its middle goes by no db until it has read of one (unknownDB): that is before slots are
// carried by value, which has what it left out.

// selected is a place of a stream from which on a db is selected.
type selected struct {
	offset int64
	db     int
}

// maxSelected bounds how many of these are remembered: for as long as a replica of a shard
// may be behind.
const maxSelected = 10_000

// selecting remembers which dbs a source's stream has selected.
type selecting struct {
	in *intake

	// Of who follows:
	followed int64  // offset up to which SELECTs were noted
	rest     []byte // what was read after that, of a command

	mu       sync.Mutex
	selected []selected // guarded by mu, in the order of the offsets
}

// selects notes which db is selected behind an offset.
func (s *selecting) selects(offset int64, db int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := len(s.selected)
	for i > 0 && s.selected[i-1].offset >= offset {
		i-- // it is read again
	}
	s.selected = append(s.selected[:i], selected{offset, db})
	if len(s.selected) > maxSelected {
		s.selected = append(s.selected[:0], s.selected[maxSelected/2:]...)
	}
}

// dbAt is the db that is selected behind an offset.
func (s *selecting) dbAt(offset int64) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	db := 0
	for i, x := range s.selected {
		if x.offset > offset && i > 0 {
			break
		}
		db = x.db
	}
	return db
}

// from has the stream be followed from an offset on.
func (s *selecting) from(offset int64) { s.followed, s.rest = offset, s.rest[:0] }

// follow notes the SELECTs in what was read of the source. Nobody else reads it meanwhile.
func (s *selecting) follow(ctx context.Context) error {
	for {
		position, there := s.in.position(s.followed + int64(len(s.rest)))
		if _, end := s.in.spool.Range(); !there || position >= end {
			return nil
		}
		chunk, err := s.in.next(ctx, position)
		if err != nil {
			return err
		}
		s.rest = append(s.rest, chunk...)
		at := 0
		for at < len(s.rest) {
			e, err := resp.Scan(s.rest[at:], nil)
			if errors.Is(err, resp.ErrIncomplete) {
				break
			}
			if err != nil {
				return fmt.Errorf("%s: stream at offset %d: %w", s.in.source.Address, s.followed, err)
			}
			at += e.Size
			s.followed += int64(e.Size)
			if len(e.Args) == 2 && is(e.Args[0], "select") {
				db, err := strconv.Atoi(string(e.Args[1]))
				if err != nil {
					return err
				}
				s.selects(s.followed, db)
			}
		}
		s.rest = append(s.rest[:0], s.rest[at:]...)
	}
}

// selectedAt is the db that is selected behind an offset, which the source has said already.
// It is followed while following is held.
func (s *selecting) selectedAt(ctx context.Context, following sync.Locker, offset int64) (int, error) {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		following.Lock()
		err := s.follow(ctx)
		reached := s.followed >= offset
		following.Unlock()
		if err != nil || reached {
			return s.dbAt(offset), err
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// hasOneDB tells whether a primary has db 0 alone. maps tells that dbs are mapped, for which a
// user needs the right to SELECT; without a mapping, one who has it not has but one db.
func hasOneDB(ctx context.Context, primary server.Endpoint, maps bool) (bool, error) {
	c, err := dial(ctx, primary)
	if err != nil {
		return false, err
	}
	defer func() { _ = c.Close() }() // every reply was read
	err = c.enter(1)
	if server.IsCode(err, "ERR") || !maps && server.IsCode(err, "NOPERM") { // out of range, or not in a cluster
		return true, nil
	}
	return false, err
}

// stir has a primary that has several dbs select one in its stream, so that it is known
// which: by writing a key of godwit's own, of a slot that it has, to two of them, and
// deleting it. Any other has db 0 selected.
func stir(ctx context.Context, primary server.Endpoint, name string, of uint16) error {
	c, err := dial(ctx, primary)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // every reply was read
	key := reserved.Checkpoint(name+":stir", 0, 0, of)
	for _, db := range []int{1, 0} {
		err := c.enter(db)
		if db > 0 && server.IsCode(err, "ERR") {
			return nil
		}
		if err != nil {
			return err
		}
		// It goes by itself if the DEL does not get there.
		for _, command := range [][]string{{"SET", key, "", "PX", "60000"}, {"DEL", key}} {
			if _, err := c.do(command...); err != nil {
				return err
			}
		}
	}
	return nil
}

const (
	// stirTimeout is how long a source is given to take a write of godwit's: nothing of its
	// stream is carried meanwhile. stirPause is how long it is left alone if it does not.
	stirTimeout = time.Second
	stirPause   = 5 * time.Second
)

// stir has the source say further on in its stream which db is selected there, unless it
// refuses for now: it may have paused its clients, or be full.
func (d *dispatcher) stir(ctx context.Context, of uint16) (told bool, err error) {
	if time.Since(d.refused) < stirPause {
		return false, nil
	}
	limited, cancel := context.WithTimeout(ctx, stirTimeout)
	err = stir(limited, d.source, d.link.name, of)
	cancel()
	if err != nil {
		d.refused = time.Now()
		err = fmt.Errorf("%s does not take a key of godwit's, by which it would tell the db that it has selected: %w", d.source.Address, err)
		d.log.Warn("slots are not carried yet", "error", err)
		d.link.set(Streaming, err)
		return false, ctx.Err()
	}
	if !d.refused.IsZero() {
		d.refused = time.Time{}
		d.link.set(Streaming, nil)
	}
	d.stirred = true
	return true, nil
}

// homeless is an error if the source has keys in a db that has no way: commands on these may
// have been left out while slots were not carried. It is a *route.UnmappedError.
func (d *dispatcher) homeless(ctx context.Context) error {
	client, err := server.Dial(ctx, d.source, clientName)
	if err != nil {
		return err
	}
	info, err := client.Info(ctx, "keyspace")
	_ = client.Close() // nothing was left unsent
	if err != nil {
		return err
	}
	for name := range info {
		number, ok := strings.CutPrefix(name, "db")
		db, err := strconv.Atoi(number)
		if !ok || err != nil {
			continue
		}
		if s := selects(d.route, db); s.way == nil {
			if found, err := d.hasKeys(ctx, db); found || err != nil {
				return cmp.Or(err, d.link.unmapped(s.err))
			}
		}
	}
	return nil
}

// hasKeys tells whether the source has keys in a db beside godwit's own.
func (d *dispatcher) hasKeys(ctx context.Context, db int) (bool, error) {
	if err := d.values.dial(ctx); err != nil {
		return false, err
	}
	for cursor := uint64(0); ; {
		next, keys, err := d.values.conn.Scan(ctx, db, cursor, "", scanCount)
		if err != nil {
			d.values.close()
			return false, err
		}
		if slices.ContainsFunc(keys, func(key []byte) bool { return !reserved.Is(key) }) {
			return true, nil
		}
		if cursor = next; cursor == 0 {
			return false, nil
		}
	}
}
