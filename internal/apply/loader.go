package apply

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

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
	buf []byte
	n   int
}

// loader fills one shard with keys, in any order.
type loader struct {
	shard server.Endpoint
	free  chan *chunk
	out   chan *chunk
	now   *chunk
	keys  *atomic.Int64
}

func newLoader(shard server.Endpoint, keys *atomic.Int64) *loader {
	l := &loader{shard: shard, free: make(chan *chunk, loadConns*(loadWindow+1)), out: make(chan *chunk), keys: keys}
	for range cap(l.free) {
		l.free <- new(chunk)
	}
	return l
}

// room is where the next command goes. It waits while all chunks are under way.
func (l *loader) room(ctx context.Context) (*chunk, error) {
	if l.now == nil {
		select {
		case l.now = <-l.free:
			l.now.buf, l.now.n = l.now.buf[:0], 0
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

// carry sends what comes until out is closed, and waits for the replies.
func (l *loader) carry(ctx context.Context) error {
	c, err := dial(ctx, l.shard)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	defer func() { _ = c.Close() }() // every reply was read, or there is an error that tells more
	sent := make(chan *chunk, loadWindow)
	failed := make(chan error, 1)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() {
		for x := range sent {
			if err := l.replies(c, x); err != nil {
				failed <- err
				_ = c.Close()    // ends the writer
				for range sent { //nolint:revive // to its end
				}
				return
			}
			l.keys.Add(int64(x.n))
			l.free <- x
		}
		failed <- nil
	})
	for x := range l.out {
		sent <- x
		if _, err = c.Write(x.buf); err != nil {
			break
		}
	}
	close(sent)
	if first := <-failed; first != nil {
		return first
	}
	return err
}

// replies reads those to a chunk.
func (l *loader) replies(c *conn, x *chunk) error {
	for i := range x.n {
		reply, err := c.r.Next()
		if err != nil {
			return server.Failed(l.shard.Address, "RESTORE", eof(err))
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
