package apply

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/go-redis/v9"

	"godwit/internal/resp"
	"godwit/internal/server"
)

// A shard of a cluster lives on when its primary does not: a replica takes its place, at
// another address, and goes on with the stream under a replid of its own. What the old
// primary had not yet sent to that replica is lost. Where the target has it nevertheless,
// the shard's slots are carried by value once more.

// locate finds out where the source is by now.
func (l *Link) locate(ctx context.Context) error {
	e, err := l.find(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.source.Endpoint = e
	l.mu.Unlock()
	return nil
}

// inherit sees whether the stream that goes on under another replid has everything that
// the target has of it: what was carried by value may be beyond what the stream says.
// until is the greatest offset at which a key has been read. It is errFullResync if not.
func (l *Link) inherit(ctx context.Context, until int64) error {
	p := l.progress()
	replid := l.in.history()
	if replid == p.ReplID {
		return nil
	}
	if l.slots != nil {
		for _, of := range l.slots.of(l.index) {
			until = max(until, l.slots.until[of].Load())
		}
	}
	info, err := replication(ctx, l.in.source)
	if err != nil {
		return err
	}
	// The bytes before second_repl_offset are those of the old replid (replication.c
	// shiftReplicationId).
	if info["master_replid2"] != p.ReplID || info.Int("second_repl_offset") <= until {
		return fmt.Errorf("%s: values were read up to offset %d of %s, which has ended before: %w", l.in.source.Address, until, p.ReplID, errFullResync)
	}
	p.ReplID = replid
	return l.save(p)
}

// replication asks a server for that section of INFO.
func replication(ctx context.Context, e server.Endpoint) (server.Info, error) {
	client, err := server.Dial(ctx, e, clientName)
	if err != nil {
		return nil, err
	}
	defer func() { _ = client.Close() }() // nothing was left unsent
	return client.Info(ctx, "replication")
}

// recheck has slots be carried by value again of whose values the target may have lost
// some: it stands before the offset at which they were carried.
func (l *Link) recheck(at *standing) error {
	if l.slots == nil {
		return nil
	}
	_, err := l.slots.unsettle(func(of uint16) bool {
		return int(l.slots.owner[of].Load()) == l.index && at.had[at.mark[of]].sound.at < l.slots.until[of].Load()
	})
	return err
}

// libraries loads the function libraries that the source has into all shards.
func (l *Link) libraries(ctx context.Context, now *shards) error {
	client, err := server.Dial(ctx, l.in.source, clientName)
	if err != nil {
		return err
	}
	defer func() { _ = client.Close() }() // nothing was left unsent
	list, err := client.Redis().FunctionList(ctx, redis.FunctionListQuery{WithCode: true}).Result()
	var refused redis.Error
	if errors.As(err, &refused) && strings.HasPrefix(err.Error(), "ERR unknown command") {
		return nil // a server before 7.0 has none
	}
	if err != nil {
		return server.Failed(l.in.source.Address, "FUNCTION LIST", err)
	}
	for _, library := range list {
		load := resp.AppendCommand(nil, "FUNCTION", "LOAD", "REPLACE", library.Code)
		for _, shard := range now.primaries {
			if err := tell(ctx, shard, load, "FUNCTION LOAD"); err != nil {
				return err
			}
		}
	}
	return nil
}

// fromHere begins a stream that has no beginning, or whose source cannot go on where the
// target stands. That of a shard of a cluster begins where the source stands at present:
// all its slots are carried by value after that. Any other is errCopyAgain.
func (l *Link) fromHere(ctx context.Context, cause error) error {
	if l.slots == nil {
		return fmt.Errorf("%s: %w: %w", l.source.Endpoint.Address, cause, errCopyAgain)
	}
	l.set(Attaching, cause)
	if _, err := l.slots.unsettle(func(of uint16) bool { return int(l.slots.owner[of].Load()) == l.index }); err != nil {
		return err
	}
	if err := l.locate(ctx); err != nil {
		return err
	}
	now, err := l.shards(ctx)
	if err != nil {
		return err
	}
	before := l.progress()
	if err := l.seal(ctx, now, before); err != nil {
		return err
	}
	ids, err := now.identities(ctx)
	if err != nil {
		return err
	}
	if err := l.in.join(ctx); err != nil {
		return err
	}
	if err := l.libraries(ctx, now); err != nil {
		return err
	}
	db := unknownDB
	if one, err := hasOneDB(ctx, l.in.source, l.route.Maps()); err != nil {
		return err
	} else if one {
		db = 0
	}
	next := SourceProgress{
		ReplID: l.in.history(), Generation: before.Generation + 1,
		Had: []Had{{Slots: allSlots(), At: l.in.start, DB: db, Sound: l.in.start, SoundDB: db}}, Seen: now.jobs(),
	}
	next.Lanes = now.lanes(l.name, next.Generation, ids)
	if err := l.save(next); err != nil {
		return err
	}
	for _, old := range before.Lanes {
		l.forget(ctx, now, old.Key)
	}
	l.log.Warn("the shard's stream begins here: its slots are carried by value", "source", l.in.source.Address, "offset", l.in.start, "cause", cause)
	return nil
}
