package apply

import (
	"context"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"godwit/internal/resp"
	"godwit/internal/server"
	"godwit/internal/slot"
)

// window is how many batches of a lane are under way, or being filled, at most.
const window = 8

// lane carries the commands of one source to one shard, in order. Its owner fills
// batches (add, pass, flush); two goroutines send them and read the replies.
type lane struct {
	shard      server.Endpoint
	key, owner []byte // of the checkpoint
	sha        string
	conn       *conn

	now  *batch // being filled, nil for none
	next mark   // where the next one begins
	free chan *batch
	out  chan *batch
	sent chan *batch

	number int64             // of the batch begun last
	recent [slot.Count]int64 // the batch that last got a command of a slot
	lost   *atomic.Bool      // there are losses, of this lane or another
	mu     sync.Mutex
	losses []loss              // guarded by mu
	ever   map[string]struct{} // keys of all losses, of the goroutine that receives

	given   atomic.Int64 // the source's offset up to which it has been given commands
	applied atomic.Int64 // the source's offset up to which the shard has everything
	// answered is the number of the last batch that was carried out.
	answered atomic.Int64
	failed   chan error // the first error, once
	wg       sync.WaitGroup
}

// openLane connects to a shard. lost and changed: see lane and listen.
func openLane(ctx context.Context, shard server.Endpoint, key, owner string, lost *atomic.Bool, changed func(shard, was string) error) (*lane, error) {
	c, err := dial(ctx, shard)
	if err != nil {
		return nil, err
	}
	l := &lane{
		shard: shard, key: []byte(key), owner: []byte(owner), conn: c, sha: scriptSHA(applyScript),
		free: make(chan *batch, window), out: make(chan *batch, window), sent: make(chan *batch, window),
		failed: make(chan error, 1), lost: lost, ever: map[string]struct{}{},
	}
	for range window {
		l.free <- new(batch)
	}
	if _, err = c.do("SCRIPT", "LOAD", applyScript); err == nil {
		err = l.listen(changed)
	}
	if err != nil {
		_ = c.Close() // the first error is the one that tells
		return nil, err
	}
	return l, nil
}

// start begins to carry, from where the checkpoint stands.
func (l *lane) start(ctx context.Context, at mark) {
	l.next = at
	l.given.Store(at.at)
	l.applied.Store(at.at)
	stop := context.AfterFunc(ctx, func() { _ = l.conn.Close() })
	l.wg.Go(func() { l.send(ctx) })
	l.wg.Go(func() {
		defer stop()
		l.receive()
	})
}

// stop waits for the goroutines after the ctx of start is done.
func (l *lane) stop() {
	_ = l.conn.Close() // what was sent and not answered is asked for at the next start
	l.wg.Wait()
}

// add gives the shard a command, n arguments in body; end is as in batch.add, expires
// as in batch.expires. inside tells that more belongs to the same transaction.
func (l *lane) add(ctx context.Context, n int, body []byte, db int, end, expires int64, inside bool) error {
	b, err := l.filling(ctx)
	if err != nil {
		return err
	}
	b.add(n, body, db, end)
	b.expires(expires)
	b.inside = inside || end == 0
	if b.full() {
		l.flush()
	}
	return nil
}

// repeat gives the shard a command that does not count, see batch.repeat.
func (l *lane) repeat(ctx context.Context, n int, body []byte, db int, expires int64) error {
	b, err := l.filling(ctx)
	if err != nil {
		return err
	}
	b.repeat(n, body, db)
	b.expires(expires)
	return nil
}

// filling is the batch to add to. It waits while the window is full.
func (l *lane) filling(ctx context.Context) (*batch, error) {
	if l.now != nil {
		return l.now, nil
	}
	select {
	case l.now = <-l.free:
	default:
		select {
		case l.now = <-l.free:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	l.number++
	l.now.begin(l.sha, l.key, l.owner, l.next)
	l.now.number = l.number
	return l.now, nil
}

// flush sends what has been gathered, unless it is the middle of a transaction.
func (l *lane) flush() {
	b := l.now
	if b == nil || b.empty() || b.inside && b.args < batchArgs {
		return
	}
	l.next, l.now = b.to, nil
	l.out <- b // there is room for all there are
}

func (l *lane) send(ctx context.Context) {
	for {
		select {
		case b := <-l.out:
			l.sent <- b // likewise
			if _, err := l.conn.Write(b.seal()); err != nil {
				l.fail(server.Failed(l.shard.Address, "EVALSHA", err))
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// receive reads the replies, and what the shard tells by itself, until the connection
// ends.
func (l *lane) receive() {
	for {
		reply, err := l.conn.r.Next()
		if err != nil {
			l.fail(server.Failed(l.shard.Address, "EVALSHA", eof(err)))
			return
		}
		if reply.Kind == resp.Failure {
			l.fail(server.Replied(l.shard.Address, "EVALSHA", string(reply.Line)))
			return
		}
		texts, err := l.conn.texts(nil, reply)
		if err != nil {
			l.fail(server.Failed(l.shard.Address, "EVALSHA", err))
			return
		}
		if reply.Kind == resp.Push {
			l.told(texts, l.answered.Load())
			continue
		}
		select {
		case b := <-l.sent:
			if err := l.answer(b, texts); err != nil {
				l.fail(err)
				return
			}
			l.answered.Store(b.number)
			l.free <- b
		default:
			l.fail(fmt.Errorf("%s: a reply to nothing: %.80q", l.shard.Address, texts))
			return
		}
	}
}

// answer takes the reply to a batch.
func (l *lane) answer(b *batch, texts [][]byte) error {
	if len(texts) != 3 {
		return fmt.Errorf("%s: unexpected reply of the script: %.100q", l.shard.Address, texts)
	}
	done, err1 := strconv.Atoi(string(texts[0]))
	now, err2 := strconv.ParseInt(string(texts[1]), 10, 64)
	if err1 != nil || err2 != nil || done < 0 || done > b.commands {
		return fmt.Errorf("%s: unexpected reply of the script: %.100q", l.shard.Address, texts)
	}
	if b.deadline > 0 && b.deadline <= now {
		for _, key := range b.late(now) {
			l.lose(key, b.number)
		}
	}
	if done < b.commands {
		e := newCommandError(l.shard.Address, b, done, string(texts[2]))
		b.each(func(args [][]byte, _ int64) bool {
			if done--; done >= 0 {
				return true
			}
			for _, arg := range args {
				if _, lost := l.ever[string(arg)]; lost {
					e.lost = true
				}
			}
			return false
		})
		return e
	}
	l.applied.Store(b.to.at)
	return nil
}

func (l *lane) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}

// drained waits until the shard has everything that was flushed.
func (l *lane) drained(ctx context.Context) error {
	again := time.NewTicker(200 * time.Microsecond)
	defer again.Stop()
	for l.applied.Load() < l.next.at {
		select {
		case <-again.C:
		case err := <-l.failed:
			l.fail(err)
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
