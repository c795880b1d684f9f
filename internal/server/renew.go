package server

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"
)

const renewTimeout = time.Second

// Renew drops the connections that the server has ended meanwhile, as CLIENT
// KILL TYPE normal does with all but the one that it came on. On a plain
// connection the library notices that before it sends the next command; over
// TLS it does not, and that command would fail. It takes a second at most.
func (c *Client) Renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	conns := make([]*redis.Conn, poolSize)
	for i := range conns { // all at a time, so that each is another one
		conns[i] = c.rdb.Conn()
		_ = conns[i].Ping(ctx).Err() // that it fails is why it is sent
	}
	for _, conn := range conns {
		_ = conn.Close() // back to the pool, unless it is broken
	}
}
