//go:build fault

package fault

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"godwit/internal/sandbox"
	"godwit/internal/server"
)

// churn writes what is hard on a comparison: keys that come and go, hot counters
// and values that take turns, keys that expire in a moment, elements that move
// within lists, and a db that is emptied again and again. It writes to whichever
// server is the primary.
type churn struct {
	commands atomic.Int64
	began    time.Time
	stop     func() float64 // ends it, and says how many commands a second there were
}

const (
	churnWriters  = 4
	churnPipeline = 50
)

// startChurn sends about rate commands a second to the first of the servers that takes writes, from
// that one on.
func startChurn(t *testing.T, rate int, servers ...*sandbox.Server) *churn {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &churn{began: time.Now()}
	var wg sync.WaitGroup
	for id := range churnWriters {
		wg.Go(func() { c.write(ctx, id, rate/churnWriters, servers) })
	}
	stopped := sync.OnceValue(func() float64 {
		cancel()
		wg.Wait()
		return float64(c.commands.Load()) / time.Since(c.began).Seconds()
	})
	c.stop = stopped
	t.Cleanup(func() { stopped() })
	return c
}

func (c *churn) write(ctx context.Context, id, rate int, servers []*sandbox.Server) {
	rng := rand.New(rand.NewPCG(7, uint64(id)))
	var clients []*server.Client
	for _, s := range servers {
		client, err := server.New(s.Endpoint(), "churn")
		if err != nil {
			return
		}
		defer func() { _ = client.Close() }() // what it wrote is not audited
		clients = append(clients, client)
	}
	tick := time.NewTicker(time.Second * churnPipeline / time.Duration(rate))
	defer tick.Stop()
	for at := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		pipe := clients[at].Redis().Pipeline()
		for range churnPipeline {
			churnCommand(ctx, pipe, rng)
		}
		cmds, _ := pipe.Exec(ctx) // each has its own error; that there was nothing to move is none
		if slices.ContainsFunc(cmds, isReadOnly) {
			at = (at + 1) % len(clients)
			continue
		}
		c.commands.Add(churnPipeline)
	}
}

func isReadOnly(cmd redis.Cmder) bool {
	return cmd.Err() != nil && strings.HasPrefix(cmd.Err().Error(), "READONLY")
}

func churnCommand(ctx context.Context, pipe redis.Pipeliner, rng *rand.Rand) {
	key := func(kind string, n int) string { return fmt.Sprint("churn:", kind, ":", rng.IntN(n)) }
	switch rng.IntN(14) {
	case 0:
		pipe.Set(ctx, key("toggle", 20), "on", 0)
	case 1:
		pipe.Del(ctx, key("toggle", 20))
	case 2:
		pipe.Incr(ctx, key("hot", 3))
	case 3:
		pipe.Set(ctx, key("turns", 5), []string{"heads", "tails"}[rng.IntN(2)], 0)
	case 4:
		pipe.Set(ctx, key("brief", 5000), rng.Uint64(), time.Duration(1+rng.IntN(300))*time.Millisecond)
	case 5:
		pipe.PExpire(ctx, key("hot", 3), time.Duration(1+rng.IntN(100_000))*time.Second)
	case 6:
		pipe.LMove(ctx, "churn:list", "churn:list", "LEFT", "RIGHT")
	case 7:
		pipe.RPush(ctx, "churn:list", rng.IntN(1000))
		pipe.LTrim(ctx, "churn:list", -500, -1)
	case 8:
		pipe.HSet(ctx, key("hash", 50), fmt.Sprint("field:", rng.IntN(300)), rng.IntN(1e6))
	case 9:
		pipe.HDel(ctx, key("hash", 50), fmt.Sprint("field:", rng.IntN(300)))
	case 10:
		pipe.ZIncrBy(ctx, key("zset", 20), 0.1, fmt.Sprint("member:", rng.IntN(200)))
	case 11:
		pipe.XAdd(ctx, &redis.XAddArgs{Stream: "churn:stream", MaxLen: 1000, Approx: true, Values: []string{"f", "v"}})
	case 12:
		pipe.Copy(ctx, "churn:list", "churn:copied", 0, true)
		pipe.SAdd(ctx, key("set", 20), rng.IntN(2000))
	case 13:
		if rng.IntN(200) == 0 { // a db of its own, as many keys at once
			pipe.Do(ctx, "SELECT", 9)
			for i := range 100 {
				pipe.Set(ctx, fmt.Sprint("churn:flushed:", i), i, 0)
			}
			pipe.FlushDB(ctx)
			pipe.Set(ctx, "churn:after", 1, 0)
			pipe.Do(ctx, "SELECT", 0)
			return
		}
		pipe.SRem(ctx, key("set", 20), rng.IntN(2000))
	}
}
