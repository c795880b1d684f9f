package apply

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"godwit/internal/resp"
	"godwit/internal/server"
)

const (
	// loadConns is over how many connections one shard is filled.
	loadConns = 2
	// chunkBytes is how much is sent at once, and loadWindow how many of these are
	// under way on one connection.
	chunkBytes = 128 << 10
	loadWindow = 4
)

// chunk is commands, of different keys, to be sent at once.
type chunk struct {
	buf  []byte
	head int // commands before those of keys: a SELECT
	n    int
	db   int // of the shard
}

// begin empties a chunk for keys of a db. The connection that it goes over may have
// another one selected.
func (x *chunk) begin(db int, several bool) {
	x.buf, x.head, x.n, x.db = x.buf[:0], 0, 0, db
	if several {
		x.head = 1
		x.buf = resp.AppendCommand(x.buf, "SELECT", strconv.Itoa(db))
	}
}

// loader fills one shard with keys, in any order.
type loader struct {
	shard server.Endpoint
	dbs   bool // keys go to several dbs of the target
	free  chan *chunk
	out   chan *chunk
	now   *chunk
	keys  *atomic.Int64
	// refused is told of what a shard refuses for a while, and with nil that it takes
	// keys. It is called by several goroutines.
	refused func(error)
}

func newLoader(shard server.Endpoint, dbs bool, keys *atomic.Int64, refused func(error)) *loader {
	l := &loader{shard: shard, dbs: dbs, free: make(chan *chunk, loadConns*(loadWindow+1)), out: make(chan *chunk), keys: keys, refused: refused}
	for range cap(l.free) {
		l.free <- new(chunk)
	}
	return l
}

// room is where the next command goes, about a key of a db. It waits while all chunks are
// under way.
func (l *loader) room(ctx context.Context, db int) (*chunk, error) {
	if l.now != nil && l.now.db != db {
		if err := l.flush(ctx); err != nil {
			return nil, err
		}
	}
	if l.now != nil && l.now.db != db {
		l.now.begin(db, l.dbs) // it was empty
	}
	if l.now == nil {
		select {
		case l.now = <-l.free:
			l.now.begin(db, l.dbs)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return l.now, nil
}

// added is called when a command was appended to the chunk.
func (l *loader) added(ctx context.Context) error {
	if l.now.n++; len(l.now.buf) < chunkBytes {
		return nil
	}
	return l.flush(ctx)
}

func (l *loader) flush(ctx context.Context) error {
	if l.now == nil || l.now.n == 0 {
		return nil
	}
	select {
	case l.out <- l.now:
		l.now = nil
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// carry sends what comes until out is closed, and waits for the replies. What a shard
// refuses for a while is sent again: to make a key twice is to make it once. One that
// has become a replica has what its primary has from then on: it is begun again then.
func (l *loader) carry(ctx context.Context) error {
	var left []*chunk // sent, and not or not wholly taken
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		err := l.send(ctx, &left)
		var refused *CommandError
		if err == nil || !errors.As(err, &refused) || !refused.temporary() || refused.demoted() {
			return err
		}
		l.refused(err)
		if !wait(ctx, pause) {
			return context.Cause(ctx)
		}
	}
}

// send does so over one connection, first what is left of one before.
func (l *loader) send(ctx context.Context, left *[]*chunk) error {
	c, err := dial(ctx, l.shard)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // every reply was read, or there is an error that tells more
	sent := make(chan *chunk, loadWindow)
	var refused []*chunk // of the goroutine, up to done
	broken, done := make(chan struct{}), make(chan error, 1)
	go func() {
		var failed error
		for x := range sent {
			if failed == nil {
				if failed = l.replies(c, x); failed != nil {
					_ = c.Close()
					close(broken) // ends the writer
				}
			}
			if failed != nil {
				refused = append(refused, x)
				continue
			}
			l.refused(nil)
			l.keys.Add(int64(x.n))
			l.free <- x
		}
		done <- failed
	}()
	again := *left
	for err == nil {
		x, ok := l.next(&again, broken)
		if !ok {
			break
		}
		_, err = c.Write(x.buf)
		sent <- x // not before: whoever has read the replies uses it again
	}
	close(sent)
	first := <-done
	*left = slices.Concat(refused, again)
	if first != nil {
		return first
	}
	return err
}

// next is what is to be sent next, ok false if there is nothing more, or the connection is
// of no use any more.
func (l *loader) next(again *[]*chunk, broken <-chan struct{}) (x *chunk, ok bool) {
	if len(*again) > 0 {
		x, *again = (*again)[0], (*again)[1:]
		return x, true
	}
	select {
	case x, ok = <-l.out:
		return x, ok
	case <-broken:
		return nil, false
	}
}

// replies reads those to a chunk.
func (l *loader) replies(c *conn, x *chunk) error {
	for i := range x.head + x.n {
		if i%64 == 0 {
			if err := c.SetReadDeadline(time.Now().Add(silence)); err != nil {
				return err
			}
		}
		reply, err := c.r.Next()
		if err != nil {
			return server.Failed(l.shard.Address, "copy", eof(err))
		}
		if reply.Kind == resp.Failure {
			return newLoadError(l.shard.Address, x, i, string(reply.Line))
		}
	}
	return nil
}

// newLoadError names the i-th command of a chunk.
func newLoadError(shard string, x *chunk, i int, reply string) error {
	buf := x.buf
	var args [][]byte
	for ; ; i-- {
		e, err := resp.Scan(buf, args)
		if err != nil {
			return fmt.Errorf("%s: %s", shard, reply)
		}
		if i == 0 {
			key := append([]byte(nil), e.Args[1]...)
			return &CommandError{Shard: shard, Command: string(e.Args[0]), Key: key, Offset: -1, Reply: reply}
		}
		buf, args = buf[e.Size:], e.Args
	}
}
