package server

import (
	"context"
	"errors"
	"slices"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// keptIDs is how many connections EndOthers knows of: those of the pool, and
// those that failed and were replaced shortly before.
const keptIDs = 8 * poolSize

// remember notes a connection for EndOthers. Without the permission to
// ask for its id there is nothing to remember.
func (c *Client) remember(ctx context.Context, conn *redis.Conn) error {
	id, err := conn.ClientID(ctx).Result()
	var reply redis.Error
	if errors.As(err, &reply) {
		return nil
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids = append(c.ids, id)
	c.ids = c.ids[max(0, len(c.ids)-keptIDs):]
	return nil
}

// EndOthers has the server end every connection of this client but one, so that
// no command sent before is carried out after it. A command that was given up
// for want of an answer may still be on its way, and arrive later than what is
// sent on another connection. A server that refuses CLIENT KILL to this user is
// left alone.
func (c *Client) EndOthers(ctx context.Context) error {
	conn := c.rdb.Conn()
	defer conn.Close() //nolint:errcheck // it goes back to the pool
	own, err := conn.ClientID(ctx).Result()
	if err != nil {
		return c.unlessRefused("CLIENT ID", err)
	}
	c.mu.Lock()
	ids := slices.Clone(c.ids)
	c.mu.Unlock()
	for _, id := range ids {
		if id == own {
			continue
		}
		if err := conn.ClientKillByFilter(ctx, "ID", strconv.FormatInt(id, 10)).Err(); err != nil {
			return c.unlessRefused("CLIENT KILL", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids = slices.DeleteFunc(c.ids, func(id int64) bool { return id != own && slices.Contains(ids, id) })
	return nil
}

func (c *Client) unlessRefused(command string, err error) error {
	var reply redis.Error
	if errors.As(err, &reply) {
		return nil
	}
	return wrap(c.endpoint.Address, command, err)
}
