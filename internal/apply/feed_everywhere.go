package apply

import (
	"context"
	"errors"
	"fmt"
	"io"

	"godwit/internal/psync"
	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// everywhere carries what a shard says about no key in particular: each shard says it,
// for itself.
func (x *feeder) everywhere(ctx context.Context, args [][]byte, raw []byte) error {
	mine := func(of uint16) bool { return x.link.slots[of] }
	switch name := args[0]; {
	case is(name, "flushall"):
		return x.emptied(ctx, nil, mine)
	case is(name, "flushdb"):
		return x.emptied(ctx, &x.db, mine)
	case is(name, "function"):
		return x.library(ctx, args, raw)
	default:
		return x.say(ctx, args, raw)
	}
}

// library carries a command about function libraries, which all shards say. Several times
// it does the same as once, but for deleting what has been deleted.
func (x *feeder) library(ctx context.Context, args [][]byte, raw []byte) error {
	f := x.link.feed
	f.libraries.Lock()
	defer f.libraries.Unlock()
	if len(args) > 2 && is(args[1], "delete") && !x.inside {
		if err := x.rest(ctx); err != nil {
			return err
		}
		there, err := x.hasLibrary(ctx, args[2])
		if err != nil || !there {
			return err
		}
	}
	twice, _ := again(args, raw)
	e, err := resp.Scan(twice, x.parts)
	if err != nil {
		return err
	}
	x.parts = e.Args
	if err := x.say(ctx, e.Args, twice); err != nil || x.inside {
		return err
	}
	return x.settled(ctx)
}

// settled waits until the replica has the command at hand, too.
func (x *feeder) settled(ctx context.Context) error {
	before := x.offset
	x.offset = x.end
	defer func() { x.offset = before }()
	return x.rest(ctx)
}

// hasLibrary asks the replica whether it has a function library.
func (x *feeder) hasLibrary(ctx context.Context, name []byte) (bool, error) {
	replica := x.link.feed.cfg.Replica
	c, err := server.Dial(ctx, replica, clientName)
	if err != nil {
		return false, err
	}
	defer func() { _ = c.Close() }() // nothing was left unsent
	reply, err := c.Do(ctx, "FUNCTION", "LIST", "LIBRARYNAME", string(globLiteral(name)))
	if err != nil {
		return false, err
	}
	list, ok := reply.([]any)
	if !ok {
		return false, fmt.Errorf("%s: FUNCTION LIST: unexpected reply of type %T", replica.Address, reply)
	}
	return len(list) > 0, nil
}

// globLiteral is a pattern that matches a text only.
func globLiteral(text []byte) []byte {
	var p []byte
	for _, c := range text {
		switch c {
		case '*', '?', '[', ']', '\\', '^', '-':
			p = append(p, '\\')
		}
		p = append(p, c)
	}
	return p
}

// emptied deletes the keys of slots, in one db or in all of them (nil): what FLUSHALL does to
// a shard, and to no other. A snapshot of the replica tells which keys there are: SCAN does not,
// of those whose time has come and that wait for the primary to say so, and a later INCR would
// find them. Nobody but this link writes keys of these slots.
func (x *feeder) emptied(ctx context.Context, db *int, of func(uint16) bool) error {
	if x.inside {
		// What the transaction wrote before is not there yet to be found.
		return fmt.Errorf("a command that empties the shard, within a transaction: %w", errUnfit)
	}
	if err := x.rest(ctx); err != nil {
		return err
	}
	err := x.keysOfReplica(ctx, func(at int, key []byte) error {
		if at == checkpointDB && string(key) == string(x.key) {
			return nil
		}
		to, name, theirs := x.atShard(at, key)
		if !theirs || !of(slot.Of(name)) || db != nil && *db != to {
			return nil
		}
		b, err := x.filling(ctx)
		if err != nil {
			return err
		}
		b.put(at, []byte("UNLINK"), key)
		x.link.given.Store(x.end)
		if !b.full() {
			return nil
		}
		return x.flush(ctx) // up to before this command: it is said again if it is not carried to its end
	})
	if err != nil {
		return err
	}
	if _, err := x.filling(ctx); err != nil { // its checkpoint is after this command
		return err
	}
	x.link.given.Store(x.end)
	return x.forget(ctx, db, of)
}

// forget takes it that keys are not ahead any more that were deleted.
func (x *feeder) forget(ctx context.Context, db *int, of func(uint16) bool) error {
	for name := range x.values.ahead {
		at, err := slotAhead(name)
		if err != nil {
			return err
		}
		var in int
		if _, err := fmt.Sscanf(name, "%d:", &in); err != nil {
			return err
		}
		if x.values.ahead[name] >= x.end || !of(at) || db != nil && *db != in {
			continue // its value is of after this command
		}
		delete(x.values.ahead, name)
		b, err := x.filling(ctx)
		if err != nil {
			return err
		}
		b.put(checkpointDB, []byte("HDEL"), x.key, []byte(aheadField+name))
	}
	return nil
}

// keysOfReplica calls f for each key that the replica has, by a snapshot of it.
func (x *feeder) keysOfReplica(ctx context.Context, f func(db int, key []byte) error) error {
	replica := x.link.feed.cfg.Replica
	raw, err := replica.DialConn(ctx)
	if err != nil {
		return server.Failed(replica.Address, "dial", err)
	}
	defer func() { _ = raw.Close() }() // it was only read from
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	defer stop()
	stream, answer, err := psync.Attach(ctx, raw, psync.Hello{
		Username: replica.Username, Password: replica.Password, EOF: true, PSYNC2: true, RDBOnly: true,
		Version: x.link.feed.cfg.version(),
	}, "?", psync.NoOffset, nil)
	if err != nil {
		return err
	}
	if !answer.Full {
		return errors.New("it goes on where a snapshot was asked for")
	}
	header, err := stream.SnapshotHeader(nil)
	if err != nil {
		return err
	}
	s := rdb.NewScanner(stream.Snapshot(header), rdb.ScannerOptions{CRC: x.link.feed.crc, Single: rdb.AllCodes()})
	for {
		span, err := s.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: snapshot: %w", replica.Address, err)
		case span.Kind == rdb.KindKey:
			if err := f(span.DB, span.Key); err != nil {
				return err
			}
		}
	}
}

// version is the replica's: by it a primary chooses the format of a snapshot.
func (c FeedConfig) version() string {
	v := c.Knows.Version
	return fmt.Sprintf("%d.%d.0", v.Major, v.Minor)
}
