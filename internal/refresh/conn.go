package refresh

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"time"

	"godwit/internal/rdb"
	"godwit/internal/resp"
	"godwit/internal/server"
)

// Name is what CLIENT LIST shows of a Conn.
const Name = "godwit-refresh"

// DefaultLimit is the largest payload that is read, in bytes: what a server takes
// back by its default proto-max-bulk-len.
const DefaultLimit = 512 << 20

// silence is after how long without a byte a connection counts as dead. A large
// DUMP takes a second or two, and others wait for a slow command as long as this.
const silence = 60 * time.Second

// Conn is a connection to one server. It is not safe for concurrent use. After an
// error of the connection itself, or after ctx was done during a call, every call
// fails with that error, and only Close is left.
type Conn struct {
	endpoint server.Endpoint
	conn     net.Conn
	r        *resp.ReplyReader
	w        *bufio.Writer
	broken   error

	db      int // that is selected
	version server.Version
	cluster bool

	limit   int64 // bytes of a payload
	values  []Value
	keys    [][]byte
	arena   []byte // what values and keys point to
	scratch []byte
	writing translator
}

// Dial connects and authenticates. Errors are a *server.ConnError or *Error.
func Dial(ctx context.Context, e server.Endpoint) (*Conn, error) {
	conn, err := e.DialConn(ctx)
	if err != nil {
		return nil, server.Failed(e.Address, "dial", err)
	}
	patient := patientConn{conn}
	c := &Conn{
		endpoint: e, conn: conn, limit: DefaultLimit,
		r: resp.NewReplyReader(patient), w: bufio.NewWriterSize(patient, 64<<10),
	}
	within, cancel := context.WithTimeout(ctx, server.DialTimeout)
	defer cancel()
	if err := c.exchange(within, c.introduce); err != nil {
		_ = conn.Close() // the first error is the one that tells
		if within.Err() != nil && ctx.Err() == nil {
			err = server.Failed(e.Address, "dial", err)
		}
		return nil, err
	}
	return c, nil
}

// patientConn gives each read and write as long as silence.
type patientConn struct{ conn net.Conn }

func (c patientConn) Read(p []byte) (int, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	return c.conn.Read(p)
}

func (c patientConn) Write(p []byte) (int, error) {
	if err := c.conn.SetWriteDeadline(time.Now().Add(silence)); err != nil {
		return 0, err
	}
	return c.conn.Write(p)
}

// Close ends the connection.
func (c *Conn) Close() error {
	if c.broken == nil {
		c.broken = net.ErrClosed
	}
	if err := c.conn.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

// Address is the server's.
func (c *Conn) Address() string { return c.endpoint.Address }

// Version is the server's.
func (c *Conn) Version() server.Version { return c.version }

// Cluster tells whether the server is one of a cluster: then the keys of one Read
// must be of one slot.
func (c *Conn) Cluster() bool { return c.cluster }

// Limit sets the largest payload that Read and Look return, in bytes.
func (c *Conn) Limit(bytes int64) { c.limit = bytes }

// family is who gave the numbers in the server's payloads their meaning.
func (c *Conn) family() rdb.Family {
	switch c.version.Product {
	case server.Valkey:
		return rdb.Valkey
	case server.Redict:
		return rdb.Redict
	default:
		return rdb.Redis
	}
}

// introduce authenticates, and asks what is spoken to.
func (c *Conn) introduce() error {
	if c.endpoint.Password != "" {
		if c.endpoint.Username != "" {
			c.send("AUTH", c.endpoint.Username, c.endpoint.Password)
		} else {
			c.send("AUTH", c.endpoint.Password)
		}
		if err := c.status("AUTH"); err != nil {
			return err
		}
	}
	// Both are courtesies that an old server or an ACL may refuse. With NO-TOUCH
	// (from 7.2 on) DUMP leaves alone what the server knows of a key's use.
	c.send("CLIENT", "SETNAME", Name)
	c.send("CLIENT", "NO-TOUCH", "ON")
	c.send("INFO", "server")
	c.send("INFO", "cluster")
	for range 2 {
		if _, err := c.next(); err != nil {
			return err
		}
	}
	info, err := c.text("INFO")
	if err != nil {
		return errors.Join(err, c.skip())
	}
	c.version = server.ParseInfo(info).Version()
	if info, err = c.text("INFO"); err != nil {
		return err
	}
	c.cluster = server.ParseInfo(info)["cluster_enabled"] == "1"
	return nil
}

// exchange has talk send commands and read all of their replies. When ctx is done
// the connection is closed.
func (c *Conn) exchange(ctx context.Context, talk func() error) error {
	if c.broken != nil {
		return c.broken
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	err := talk()
	if !stop() {
		c.broken = ctx.Err()
		return c.broken
	}
	return err
}

// on is exchange in a db.
func (c *Conn) on(ctx context.Context, db int, talk func() error) error {
	return c.exchange(ctx, func() error {
		if db != c.db {
			c.send("SELECT", strconv.Itoa(db))
			if err := c.status("SELECT"); err != nil {
				return err
			}
			c.db = db
		}
		return talk()
	})
}

// fail keeps the first error of the connection itself.
func (c *Conn) fail(command string, err error) error {
	if c.broken == nil {
		c.broken = server.Failed(c.endpoint.Address, command, err)
	}
	return c.broken
}

// send adds a command to those that the next reading sends. An error of writing
// is returned then.
func (c *Conn) send(args ...string) {
	c.scratch = resp.AppendCommand(c.scratch[:0], args...)
	_, _ = c.w.Write(c.scratch) // flush returns what has gone wrong
}

// sendKey is send for a command with a key.
func (c *Conn) sendKey(command string, key []byte) {
	c.scratch = append(c.scratch[:0], "*2\r\n$"...)
	c.scratch = strconv.AppendInt(c.scratch, int64(len(command)), 10)
	c.scratch = append(append(c.scratch, "\r\n"...), command...)
	c.scratch = append(c.scratch, "\r\n$"...)
	c.scratch = strconv.AppendInt(c.scratch, int64(len(key)), 10)
	c.scratch = append(append(c.scratch, "\r\n"...), key...)
	c.scratch = append(c.scratch, "\r\n"...)
	_, _ = c.w.Write(c.scratch) // flush returns what has gone wrong
}

// sendArgs is send for what is bytes already; a large argument is not copied.
func (c *Conn) sendArgs(args ...[]byte) {
	c.scratch = append(c.scratch[:0], '*')
	c.scratch = strconv.AppendInt(c.scratch, int64(len(args)), 10)
	for _, arg := range args {
		c.scratch = append(c.scratch, "\r\n$"...)
		c.scratch = strconv.AppendInt(c.scratch, int64(len(arg)), 10)
		c.scratch = append(c.scratch, '\r', '\n')
		_, _ = c.w.Write(c.scratch) // flush returns what has gone wrong
		_, _ = c.w.Write(arg)
		c.scratch = c.scratch[:0]
	}
	_, _ = c.w.WriteString("\r\n")
}

// flush sends what has been added.
func (c *Conn) flush() error {
	if err := c.w.Flush(); err != nil {
		return c.fail("write", err)
	}
	return nil
}

// next sends what has been added and reads the next reply.
func (c *Conn) next() (resp.Reply, error) {
	if err := c.flush(); err != nil {
		return resp.Reply{}, err
	}
	reply, err := c.r.Next()
	if err != nil {
		return resp.Reply{}, c.fail("read", noEOF(err))
	}
	return reply, nil
}

// noEOF makes the end of a connection that owes a reply an error.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// skip reads a reply that does not matter.
func (c *Conn) skip() error {
	reply, err := c.next()
	if err != nil {
		return err
	}
	return c.pass(reply)
}

// pass leaves the rest of a reply.
func (c *Conn) pass(reply resp.Reply) error {
	if err := c.r.Skip(reply); err != nil {
		return c.fail("read", noEOF(err))
	}
	return nil
}

// status reads a reply that is to be a status.
func (c *Conn) status(command string) error {
	reply, err := c.next()
	if err != nil {
		return err
	}
	switch reply.Kind {
	case resp.Status:
		return nil
	case resp.Failure:
		return c.refused(command, reply)
	default:
		return c.fail(command, unexpectedReply(reply))
	}
}

// text reads a reply that is to be a bulk string.
func (c *Conn) text(command string) (string, error) {
	reply, err := c.next()
	if err != nil {
		return "", err
	}
	return c.textOf(command, reply)
}

func (c *Conn) textOf(command string, reply resp.Reply) (string, error) {
	switch {
	case reply.Kind == resp.Failure:
		return "", c.refused(command, reply)
	case reply.Kind != resp.Bulk || reply.Null:
		return "", c.fail(command, unexpectedReply(reply))
	}
	var err error
	if c.scratch, err = c.r.Body(c.scratch[:0]); err != nil {
		return "", c.fail(command, noEOF(err))
	}
	return string(c.scratch), nil
}

// array reads the beginning of an array of n elements, of any number if n is negative.
func (c *Conn) array(command string, n int64) (int64, error) {
	reply, err := c.next()
	if err != nil {
		return 0, err
	}
	switch {
	case reply.Kind == resp.Failure:
		return 0, c.refused(command, reply)
	case reply.Kind != resp.Array || reply.Null || n >= 0 && reply.N != n:
		return 0, c.fail(command, unexpectedReply(reply))
	}
	return reply.N, nil
}

// replied is the error that an error reply is.
func (c *Conn) replied(command string, reply resp.Reply) error {
	return server.Replied(c.endpoint.Address, command, string(reply.Line))
}

// refused is replied for what belongs to no key, with a hint.
func (c *Conn) refused(command string, reply resp.Reply) error {
	err := c.replied(command, reply)
	return &Error{Hint: hint(err), Err: err}
}

func unexpectedReply(reply resp.Reply) error {
	return fmt.Errorf("unexpected reply %q%.80s of %d", byte(reply.Kind), reply.Line, reply.N)
}

// keep adds the body of a reply to the arena.
func (c *Conn) keep(command string) ([]byte, error) {
	start := len(c.arena)
	var err error
	if c.arena, err = c.r.Body(c.arena); err != nil {
		return nil, c.fail(command, noEOF(err))
	}
	return c.arena[start:len(c.arena):len(c.arena)], nil
}

// keptArena is how many bytes of the arena outlive a call.
const keptArena = 4 << 20

// Forget lets go of what the last call has returned, which else waits for the next.
func (c *Conn) Forget() { c.begin() }

// begin lets go of what the last call has returned.
func (c *Conn) begin() {
	if cap(c.arena) > keptArena {
		c.arena = nil
	}
	c.arena, c.values, c.keys = c.arena[:0], c.values[:0], c.keys[:0]
}
