package apply

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"godwit/internal/command"
	"godwit/internal/refresh"
	"godwit/internal/server"
)

// settle puts the times of all keys right. A shard that was started again meanwhile may
// have old ones again: it is done once more then.
func (e *FileEngine) settle(ctx context.Context, now *shards) error {
	p := e.present()
	for {
		ids, err := now.identities(ctx)
		if err != nil {
			return err
		}
		if err := e.putRight(ctx, now, p.Lanes); err != nil {
			return err
		}
		after, err := now.identities(ctx)
		if err != nil {
			return err
		}
		again := false
		for i, lane := range p.Lanes {
			n := now.of[lane.Slots[0].First]
			again = again || ids[n].RunID != after[n].RunID
			at, err := fileCheckpoint(ctx, now.primaries[n], lane.Key, p.Owner)
			if err != nil {
				return err
			}
			if at.at != p.Ends[i] {
				return fmt.Errorf("%s has lost commands of the file: %w", now.primaries[n].Address, errCopyAgain)
			}
		}
		if !again {
			break
		}
		if err := uncut(ctx, now, p.Lanes); err != nil {
			return err
		}
	}
	p.Later = false
	return e.set(p)
}

// settledAtOnce is how many keys one call of the script looks at.
const settledAtOnce = 500

// putRight does so at every shard. It sees to it that the checkpoints of lanes are there;
// there are none where a loading is given up.
func (e *FileEngine) putRight(ctx context.Context, now *shards, lanes []LaneProgress) error {
	e.times.Store(0)
	keys, owner := make([]string, len(now.primaries)), ""
	for _, lane := range lanes {
		keys[now.of[lane.Slots[0].First]], owner = lane.Key, e.present().Owner
	}
	group, ctx := errgroup.WithContext(ctx)
	for i, shard := range now.primaries {
		group.Go(func() error { return e.putRightAt(ctx, shard, keys[i], owner) })
	}
	return group.Wait()
}

func (e *FileEngine) putRightAt(ctx context.Context, shard server.Endpoint, key, owner string) error {
	dbs, err := dbsOf(ctx, shard)
	if err != nil {
		return err
	}
	scan, err := refresh.Dial(ctx, shard)
	if err != nil {
		return err
	}
	defer func() { _ = scan.Close() }() // every reply was read
	c, err := dial(ctx, shard)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // every reply was read
	loaded, err := c.do("SCRIPT", "LOAD", settleScript)
	if err != nil {
		return err
	}
	for _, db := range dbs {
		for cursor := uint64(0); ; {
			next, keys, err := scan.Scan(ctx, db, cursor, "", settledAtOnce)
			if err != nil {
				return err
			}
			args := []string{
				"EVALSHA", string(loaded[0]), "0", key, owner, strconv.FormatInt(putOff, 10), strconv.FormatInt(lateTo, 10),
				strconv.Itoa(db), knowsTimes(e.cfg.Capabilities),
			}
			for _, k := range keys {
				args = append(args, string(k))
			}
			if _, err := c.do(args...); err != nil {
				if strings.Contains(err.Error(), "GODWIT-ELSEWHERE") {
					return fmt.Errorf("%s has lost data: the checkpoint %s is not there: %w", shard.Address, key, errCopyAgain)
				}
				return err
			}
			e.times.Add(int64(len(keys)))
			if cursor = next; cursor == 0 {
				break
			}
		}
	}
	return nil
}

// knowsTimes is what a server can be asked of times: only how long a key has still to live
// (old), when it expires, or when fields of it do, too.
func knowsTimes(c command.Capabilities) string {
	switch {
	case c.Has("HPEXPIREAT"):
		return "fields"
	case c.Version.AtLeast(7, 0):
		return "keys"
	default:
		return "old"
	}
}

// dbsOf are the dbs of a server that have keys.
func dbsOf(ctx context.Context, shard server.Endpoint) ([]int, error) {
	client, err := server.Dial(ctx, shard, clientName)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }() // nothing was left unsent
	info, err := client.Info(ctx, "keyspace")
	if err != nil {
		return nil, err
	}
	var dbs []int
	var failed error
	for name := range info {
		number, ok := strings.CutPrefix(name, "db")
		if !ok {
			continue
		}
		db, err := strconv.Atoi(number)
		failed = errors.Join(failed, err)
		dbs = append(dbs, db)
	}
	return dbs, failed
}
