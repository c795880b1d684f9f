package apply

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
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
	lost   *alarm            // there are losses, of this lane or another

	mu       sync.Mutex
	losses   []loss              // guarded by mu
	flaws    []flaw              // guarded by mu
	answered mark                // where the batch answered last ends; guarded by mu
	finished int64               // its number; guarded by mu
	ever     map[string]struct{} // keys of all losses, of the goroutine that receives

	leads []lead // keys that are ahead, of the dispatcher

	sealed  atomic.Int64 // number of the last batch that was flushed
	given   atomic.Int64 // the source's offset up to which it has been given commands
	applied atomic.Int64 // the source's offset up to which the shard has everything
	busy    atomic.Int64 // UnixNano of the last batch sent or byte that came
	failed  chan error   // the first error, once
	wg      sync.WaitGroup
}

// openLane connects to a shard. lost and changed: see lane and listen.
func openLane(ctx context.Context, shard server.Endpoint, key, owner string, lost *alarm, changed func(node, was string) error) (*lane, error) {
	l, err := connectLane(ctx, shard, key, owner, applyScript)
	if err != nil {
		return nil, err
	}
	l.lost = lost
	if err := l.listen(ctx, changed); err != nil {
		_ = l.conn.Close() // the first error is the one that tells
		return nil, err
	}
	return l, nil
}

// connectLane is a lane whose batches a script carries out, and which is told of nothing
// that the shard does by itself.
func connectLane(ctx context.Context, shard server.Endpoint, key, owner, script string) (*lane, error) {
	c, err := dial(ctx, shard)
	if err != nil {
		return nil, err
	}
	l := &lane{
		shard: shard, key: []byte(key), owner: []byte(owner), conn: c, sha: scriptSHA(script),
		free: make(chan *batch, window), out: make(chan *batch, window), sent: make(chan *batch, window),
		failed: make(chan error, 1), lost: new(alarm), ever: map[string]struct{}{},
	}
	for range window {
		l.free <- new(batch)
	}
	if _, err = c.do("SCRIPT", "LOAD", script); err != nil {
		_ = c.Close() // the first error is the one that tells
		return nil, err
	}
	return l, nil
}

// start begins to carry, from where the checkpoint stands. Up to safe it is sound.
func (l *lane) start(ctx context.Context, at, safe mark) {
	l.next, l.answered = at, at
	if safe.at < at.at {
		l.flaws = []flaw{{from: safe, mended: seen}}
	}
	l.given.Store(at.at)
	l.applied.Store(at.at)
	l.busy.Store(time.Now().UnixNano())
	stop := context.AfterFunc(ctx, func() { _ = l.conn.Close() })
	l.wg.Go(func() { l.send(ctx) })
	l.wg.Go(func() {
		defer stop()
		l.receive(ctx)
	})
}

// give notes that the shard is given commands up to an offset, or has had them.
func (l *lane) give(offset int64) {
	if offset > l.given.Load() { // the dispatcher alone stores
		l.given.Store(offset)
	}
}

// stop waits for the goroutines after the ctx of start is done.
func (l *lane) stop() {
	_ = l.conn.Close() // what was sent and not answered is asked for at the next start
	l.wg.Wait()
}

// add gives the shard a command, n arguments in body; db and end are as in batch.add,
// expires as in batch.expires. inside tells that more belongs to the same transaction.
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
func (l *lane) repeat(ctx context.Context, n int, body []byte, expires int64) error {
	b, err := l.filling(ctx)
	if err != nil {
		return err
	}
	b.repeat(n, body)
	b.expires(expires)
	return nil
}

// enter has the next command be carried out in a db of the target.
func (l *lane) enter(ctx context.Context, db int) error {
	b, err := l.filling(ctx)
	if err == nil {
		b.enter(db)
	}
	return err
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
	l.now.begin(l.sha, l.key, l.owner, l.next, l.sound())
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
	l.sealed.Store(b.number)
	l.out <- b // there is room for all there are
}

func (l *lane) send(ctx context.Context) {
	for {
		select {
		case b := <-l.out:
			l.busy.Store(time.Now().UnixNano())
			if _, err := l.conn.Write(b.seal()); err != nil {
				l.fail(server.Failed(l.shard.Address, "EVALSHA", err))
				return
			}
			l.sent <- b // likewise; it is not used again before
		case <-ctx.Done():
			return
		}
	}
}

// receive reads the replies, and what the shard tells by itself, until the connection
// ends.
func (l *lane) receive(ctx context.Context) {
	var now *batch // its call was answered, the PING after it not yet
	var refused *CommandError
	for {
		reply, err := l.conn.r.Next()
		if err != nil {
			l.fail(server.Failed(l.shard.Address, "EVALSHA", eof(err)))
			return
		}
		if reply.Kind == resp.Failure {
			l.fail(l.failure(ctx, now, string(reply.Line)))
			return
		}
		l.busy.Store(time.Now().UnixNano())
		texts, err := l.conn.texts(nil, reply)
		if err != nil {
			l.fail(server.Failed(l.shard.Address, "EVALSHA", err))
			return
		}
		switch {
		case reply.Kind == resp.Push:
			l.told(texts)
		case refused != nil:
			refused.lost = l.blames(now, refused)
			l.fail(refused)
			return
		case now != nil:
			l.finish(now)
			now = nil
		default:
			select {
			case now = <-l.sent:
			case <-ctx.Done():
				return
			}
			if refused, err = l.answer(now, texts); err != nil {
				l.fail(err)
				return
			}
		}
	}
}

// failure is an error reply to a call, or to the PING after it: then now is the batch.
// Nothing, or a part, of the call was carried out: the checkpoint knows.
func (l *lane) failure(ctx context.Context, now *batch, reply string) error {
	if now != nil {
		return &replyError{server.Replied(l.shard.Address, "PING", reply)}
	}
	select {
	case b := <-l.sent:
		e := newCommandError(l.shard.Address, b, 0, reply)
		e.Command = strings.TrimSuffix("EVALSHA of "+e.Command, " of ")
		return e
	case <-ctx.Done():
		return &replyError{server.Replied(l.shard.Address, "EVALSHA", reply)}
	}
}

// finish notes that the shard has a batch, and has told all that came of it.
func (l *lane) finish(b *batch) {
	l.mu.Lock()
	l.answered, l.finished = b.to, b.number
	l.dropMended(b.number)
	l.mu.Unlock()
	l.applied.Store(b.to.at)
	l.free <- b
}

// answer takes the reply to a batch. refused is the command at which it has stopped.
func (l *lane) answer(b *batch, texts [][]byte) (refused *CommandError, err error) {
	if len(texts) != 3 {
		return nil, fmt.Errorf("%s: unexpected reply of the script: %.100q", l.shard.Address, texts)
	}
	done, err1 := strconv.Atoi(string(texts[0]))
	now, err2 := strconv.ParseInt(string(texts[1]), 10, 64)
	if err1 != nil || err2 != nil || done < 0 || done > b.commands {
		return nil, fmt.Errorf("%s: unexpected reply of the script: %.100q", l.shard.Address, texts)
	}
	if b.deadline > 0 && b.deadline <= now {
		b.late(now, func(db int, key []byte) { l.lose(db, key, b.number) })
	}
	if done < b.commands {
		return newCommandError(l.shard.Address, b, done, string(texts[2])), nil
	}
	return nil, nil
}

// blames tells whether the shard had let go of a key of a command that it refused.
func (l *lane) blames(b *batch, refused *CommandError) (lost bool) {
	n := refused.number
	b.each(func(_ int, args [][]byte, _ int64) bool {
		if n--; n >= 0 {
			return true
		}
		for _, arg := range args {
			_, ever := l.ever[string(arg)]
			lost = lost || ever
		}
		return false
	})
	return lost
}

func (l *lane) fail(err error) {
	select {
	case l.failed <- err:
	default:
	}
}

// reached waits until the shard has a batch, and all before it.
func (l *lane) reached(ctx context.Context, number int64) error {
	again := time.NewTicker(time.Millisecond)
	defer again.Stop()
	for {
		l.mu.Lock()
		finished := l.finished
		l.mu.Unlock()
		if finished >= number {
			return nil
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// silent fails a lane whose shard owes an answer and has not said anything for too long.
func (l *lane) silent() {
	since := time.Since(time.Unix(0, l.busy.Load()))
	if since > silence && l.owed() {
		l.fail(server.Failed(l.shard.Address, "EVALSHA", fmt.Errorf("no answer for %v: %w", since.Round(time.Second), os.ErrDeadlineExceeded)))
	}
}

// owed tells whether batches were sent that are not answered.
func (l *lane) owed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.finished < l.sealed.Load()
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
