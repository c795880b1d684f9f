package census

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"godwit/internal/resp"
	"godwit/internal/server"
)

// monitor is a connection that MONITOR was sent on.
type monitor struct {
	conn    net.Conn
	lines   *lineReader
	address string
	parser  Parser
}

// openMonitor connects and sends MONITOR. Errors are a *server.ConnError or *Error.
func (w *watcher) openMonitor(ctx context.Context) (m *monitor, err error) {
	e := w.endpoint
	conn, err := e.DialConn(ctx)
	if err != nil {
		return nil, server.Failed(e.Address, "dial", err)
	}
	defer func() {
		if err != nil {
			_ = conn.Close() // the first error is the one that tells
		}
	}()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := conn.SetDeadline(time.Now().Add(server.DialTimeout)); err != nil {
		return nil, server.Failed(e.Address, "MONITOR", err)
	}
	names := []string{"CLIENT", "MONITOR"}
	question := resp.AppendCommand(resp.AppendCommand(nil, "CLIENT", "SETNAME", Name), "MONITOR")
	if e.Password != "" {
		auth := []string{"AUTH", e.Password}
		if e.Username != "" {
			auth = []string{"AUTH", e.Username, e.Password}
		}
		names, question = append([]string{"AUTH"}, names...), append(resp.AppendCommand(nil, auth...), question...)
	}
	if _, err := conn.Write(question); err != nil {
		return nil, server.Failed(e.Address, "MONITOR", err)
	}
	m = &monitor{conn: conn, lines: newLineReader(conn), address: conn.LocalAddr().String()}
	for _, name := range names {
		w.own[name]++
		reply, _, err := m.lines.next()
		if err != nil {
			return nil, server.Failed(e.Address, name, err)
		}
		if len(reply) > 0 && reply[0] == '-' && name != "CLIENT" { // the name is a courtesy
			return nil, server.Replied(e.Address, name, string(reply[1:]))
		}
	}
	return m, conn.SetDeadline(time.Time{})
}

// listen gives the lines of the next d to a census. It returns the error of a
// connection that was closed, or of ctx.
func (m *monitor) listen(ctx context.Context, d time.Duration, c *Census, bad func(line []byte, err error)) error {
	if err := m.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = m.conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		line, cut, err := m.lines.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("the server closed the connection of MONITOR: %w", err)
		}
		parsed, err := m.parser.Parse(line, cut)
		if err != nil {
			bad(line, err)
			continue
		}
		c.Add(parsed)
	}
}

func (m *monitor) close() { _ = m.conn.Close() } // nothing was left unsent
