package apply

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"godwit/internal/resp"
	"godwit/internal/server"
)

// clientName is what CLIENT LIST of the target shows.
const clientName = "godwit-apply"

// silence is after how long without a byte, where one is due, a connection counts as dead.
const silence = 60 * time.Second

// conn is a connection to a shard, on which one goroutine writes and one reads.
type conn struct {
	net.Conn
	address string
	r       *resp.ReplyReader
	db      int // that is selected
	forget  func() bool
}

// dial connects and authenticates. The connection ends with ctx: whoever waits for an answer
// gets an error then.
func dial(ctx context.Context, e server.Endpoint) (*conn, error) {
	raw, err := e.DialConn(ctx)
	if err != nil {
		return nil, server.Failed(e.Address, "dial", err)
	}
	c := &conn{Conn: raw, address: e.Address, r: resp.NewReplyReader(raw)}
	c.forget = context.AfterFunc(ctx, func() { _ = raw.Close() })
	limited, cancel := context.WithTimeout(ctx, server.DialTimeout)
	defer cancel()
	stop := context.AfterFunc(limited, func() { _ = raw.Close() })
	err = c.introduce(e)
	if !stop() {
		err = server.Failed(e.Address, "dial", limited.Err())
	}
	if err != nil {
		_ = c.Close() // the first error is the one that tells
		return nil, err
	}
	return c, nil
}

// Close ends the connection.
func (c *conn) Close() error {
	c.forget()
	return c.Conn.Close()
}

func (c *conn) introduce(e server.Endpoint) error {
	if e.Password != "" {
		auth := []string{"AUTH", e.Password}
		if e.Username != "" {
			auth = []string{"AUTH", e.Username, e.Password}
		}
		if _, err := c.do(auth...); err != nil {
			return err
		}
	}
	_, err := c.do("CLIENT", "SETNAME", clientName)
	var refused *server.Error
	if errors.As(err, &refused) {
		err = nil // a courtesy that an ACL may forbid
	}
	return err
}

// do sends a command and returns the texts of its reply: that of a status, of a
// bulk string or of an integer, those of an array's elements. A string that is not
// there is nil.
func (c *conn) do(args ...string) ([][]byte, error) {
	if _, err := c.Write(resp.AppendCommand(nil, args...)); err != nil {
		return nil, server.Failed(c.address, args[0], err)
	}
	reply, err := c.r.Next()
	if err != nil {
		return nil, server.Failed(c.address, args[0], eof(err))
	}
	texts, err := c.texts(nil, reply)
	var connection net.Error
	if errors.As(err, &connection) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, server.Failed(c.address, args[0], err)
	}
	if reply.Kind == resp.Failure {
		return nil, &replyError{server.Replied(c.address, args[0], string(reply.Line))}
	}
	return texts, err
}

// enter selects a db.
func (c *conn) enter(db int) error {
	if c.db == db {
		return nil
	}
	_, err := c.do("SELECT", strconv.Itoa(db))
	if err == nil {
		c.db = db
	}
	return err
}

func (c *conn) texts(dst [][]byte, reply resp.Reply) ([][]byte, error) {
	switch {
	case reply.Null:
		return append(dst, nil), nil
	case reply.Kind == resp.Integer:
		return append(dst, fmt.Append(nil, reply.N)), nil
	case reply.Kind == resp.Bulk:
		body, err := c.r.Body(make([]byte, 0, reply.N))
		return append(dst, body), err
	case reply.Kind == resp.Array, reply.Kind == resp.Map, reply.Kind == resp.Push:
		for range reply.N {
			element, err := c.r.Next()
			if err != nil {
				return dst, eof(err)
			}
			if dst, err = c.texts(dst, element); err != nil {
				return dst, err
			}
		}
		return dst, nil
	default:
		return append(dst, append([]byte(nil), reply.Line...)), nil
	}
}

func eof(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// endClients ends the server's other connections of a name.
func (c *conn) endClients(name string) error {
	own, err := c.do("CLIENT", "ID")
	if err != nil {
		return err
	}
	list, err := c.do("CLIENT", "LIST")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(list[0])) {
		fields := strings.Fields(line)
		id, _ := strings.CutPrefix(fields[0], "id=")
		if id == string(own[0]) || !slices.Contains(fields, "name="+name) {
			continue
		}
		if _, err := c.do("CLIENT", "KILL", "ID", id); err != nil && !server.IsCode(err, "ERR") { // it has ended meanwhile
			return err
		}
	}
	return nil
}
