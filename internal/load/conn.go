package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"godwit/internal/server"
)

// refusedError is an error reply: the command was not done.
type refusedError struct{ text string }

func (e *refusedError) Error() string { return "the server replied " + e.text }

// code is the first word, such as READONLY or MOVED.
func (e *refusedError) code() string {
	code, _, _ := strings.Cut(e.text, " ")
	return code
}

// conn is a bare connection. A client library costs several times as much
// processor time, and the load runs beside what it measures.
type conn struct {
	net.Conn
	reader   *bufio.Reader
	address  string
	timeout  time.Duration
	deadline time.Time // as set on the connection
	release  func() bool
}

// dial connects and authenticates. The connection is cut when ctx is done.
func dial(ctx context.Context, e server.Endpoint, timeout time.Duration) (*conn, error) {
	dialCtx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	nc, err := e.DialConn(dialCtx)
	if err != nil {
		return nil, err
	}
	c := &conn{Conn: nc, reader: bufio.NewReaderSize(nc, 512), address: e.Address, timeout: timeout}
	c.release = context.AfterFunc(ctx, func() { _ = nc.Close() }) // fails what reads or writes
	if err := c.login(e); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *conn) login(e server.Endpoint) error {
	if e.Password != "" {
		auth := []string{"AUTH", e.Password}
		if e.Username != "" {
			auth = []string{"AUTH", e.Username, e.Password}
		}
		if _, err := c.roundTrip(encode(auth...), 1); err != nil {
			return err
		}
	}
	if e.DB != 0 {
		if _, err := c.roundTrip(encode("SELECT", strconv.Itoa(e.DB)), 1); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) close() {
	c.release()
	_ = c.Close() // nothing can be done about it
}

// reply is one that is no error. text is that of a bulk or simple string.
type reply struct {
	integer  int64
	text     string
	null     bool
	elements []reply
	failure  *refusedError // only within elements
}

// roundTrip sends commands and gives the last of their replies. The error is a
// refusedError when the server said no to one of them, the first to which it did;
// after any other they were done or not, and the connection is of no more use.
func (c *conn) roundTrip(commands []byte, replies int) (reply, error) {
	if err := c.extendDeadline(); err != nil {
		return reply{}, err
	}
	if _, err := c.Write(commands); err != nil {
		return reply{}, err
	}
	var first *refusedError
	var last reply
	for range replies {
		var err error
		if last, err = c.read(); err != nil {
			return reply{}, err
		}
		if first == nil {
			first = last.failure
		}
	}
	if first != nil {
		return reply{}, first
	}
	return last, nil
}

// read reads one reply of any type (the protocol's specification, RESP2).
func (c *conn) read() (reply, error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return reply{}, err
	}
	if err != nil || len(line) < 3 {
		return reply{}, fmt.Errorf("unexpected reply %.40q", line)
	}
	kind, line := line[0], line[1:len(line)-2]
	switch kind {
	case '+':
		if string(line) == "OK" {
			return reply{}, nil
		}
		return reply{text: string(line)}, nil
	case '-':
		return reply{failure: &refusedError{text: string(line)}}, nil
	}
	n, err := parseInteger(line)
	if err != nil {
		return reply{}, fmt.Errorf("unexpected reply %c%.20q", kind, line)
	}
	switch {
	case kind == ':':
		return reply{integer: n}, nil
	case kind == '$' && n >= 0:
		text := make([]byte, n+2)
		if _, err := io.ReadFull(c.reader, text); err != nil {
			return reply{}, err
		}
		return reply{text: string(text[:n])}, nil
	case kind == '*' && n >= 0:
		r := reply{elements: make([]reply, 0, n)}
		for range n {
			element, err := c.read()
			if err != nil {
				return reply{}, err
			}
			r.elements = append(r.elements, element)
		}
		return r, nil
	case kind == '$' || kind == '*':
		return reply{null: true}, nil
	}
	return reply{}, fmt.Errorf("unexpected reply %c%.20q", kind, line)
}

// value is the reply as client libraries give it.
func (r reply) value() any {
	switch {
	case r.elements != nil:
		list := make([]any, len(r.elements))
		for i, element := range r.elements {
			list[i] = element.value()
		}
		return list
	case r.null:
		return nil
	case r.text != "":
		return r.text
	default:
		return r.integer
	}
}

// extendDeadline keeps the deadline between one and two timeouts away, so that it
// is not set anew, which costs a timer, for each command.
func (c *conn) extendDeadline() error {
	now := time.Now()
	if c.deadline.Sub(now) > c.timeout {
		return nil
	}
	c.deadline = now.Add(2 * c.timeout)
	return c.SetDeadline(c.deadline)
}

// parseInteger does without the string that strconv wants.
func parseInteger(line []byte) (int64, error) {
	digits, negative := line, false
	if len(digits) > 0 && digits[0] == '-' {
		digits, negative = digits[1:], true
	}
	var n int64
	for _, digit := range digits {
		if digit < '0' || digit > '9' {
			return 0, fmt.Errorf("%.20q is no number", line)
		}
		n = 10*n + int64(digit-'0')
	}
	if len(digits) == 0 {
		return 0, errors.New("no number")
	}
	if negative {
		n = -n
	}
	return n, nil
}

// encode is a command in RESP.
func encode(args ...string) []byte {
	to := []byte{'*'}
	to = strconv.AppendInt(to, int64(len(args)), 10)
	to = append(to, "\r\n"...)
	for _, arg := range args {
		to = appendBulk(to, arg)
	}
	return to
}

func appendBulk(to []byte, s string) []byte {
	to = append(to, '$')
	to = strconv.AppendInt(to, int64(len(s)), 10)
	to = append(to, "\r\n"...)
	to = append(to, s...)
	return append(to, "\r\n"...)
}
