package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"godwit/internal/server"
)

// refusedError is the code word of an error reply: the command was not done.
type refusedError string

func (e refusedError) Error() string { return "the server replied " + string(e) }

// conn is a bare connection. A client library costs several times as much
// processor time, and the load runs beside what it measures.
type conn struct {
	net.Conn
	reader   *bufio.Reader
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
	c := &conn{Conn: nc, reader: bufio.NewReaderSize(nc, 512), timeout: timeout}
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
		if _, err := c.roundTrip(encode(auth...)); err != nil {
			return err
		}
	}
	if e.DB != 0 {
		if _, err := c.roundTrip(encode("SELECT", strconv.Itoa(e.DB))); err != nil {
			return err
		}
	}
	return nil
}

func (c *conn) close() {
	c.release()
	_ = c.Close() // nothing can be done about it
}

// roundTrip sends one command and reads its reply, an integer or +OK, which is
// given as 0. The error is a refusedError when the server said no; after any
// other the command was done or not, and the connection is of no more use.
func (c *conn) roundTrip(command []byte) (int64, error) {
	if err := c.extendDeadline(); err != nil {
		return 0, err
	}
	if _, err := c.Write(command); err != nil {
		return 0, err
	}
	line, err := c.reader.ReadSlice('\n')
	if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
		return 0, err
	}
	switch {
	case line[0] == ':' && err == nil:
		return parseInteger(line[1:])
	case line[0] == '+' && err == nil:
		return 0, nil
	case line[0] == '-':
		return 0, refusedError(codeWord(line[1:]))
	default:
		return 0, fmt.Errorf("unexpected reply %.40q", line)
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

func parseInteger(line []byte) (int64, error) {
	var n int64
	for _, digit := range line {
		switch {
		case digit == '\r':
			return n, nil
		case digit < '0' || digit > '9': // no counter and no length is negative
			return 0, fmt.Errorf("unexpected reply :%.20q", line)
		}
		n = 10*n + int64(digit-'0')
	}
	return 0, fmt.Errorf("unexpected reply :%.20q", line)
}

func codeWord(line []byte) string {
	code, _, _ := strings.Cut(strings.TrimRight(string(line), "\r\n"), " ")
	return code
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

// commands makes a writer's commands. The INCRs never change; the others end in
// a number that is written into a buffer used again and again.
type commands struct {
	fixed  [kinds][]byte // complete
	buffer []byte
	digits []byte
	list   string
	unique string
	expiry []byte // the last arguments of a SET, nil if its key is to stay
}

func newCommands(prefix string, id int, ttl time.Duration) *commands {
	c := &commands{list: listKey(prefix, id), unique: uniqueKey(prefix, id)}
	c.fixed[IncrShared] = encode("INCR", sharedKey(prefix))
	c.fixed[IncrOwn] = encode("INCR", ownKey(prefix, id))
	if ttl > 0 {
		c.expiry = appendBulk(appendBulk(nil, "PX"), strconv.FormatInt(ttl.Milliseconds(), 10))
	}
	return c
}

// encode gives a command that is good until the next call.
func (c *commands) encode(kind Kind, seq int64) []byte {
	if c.fixed[kind] != nil {
		return c.fixed[kind]
	}
	c.digits = strconv.AppendInt(c.digits[:0], seq, 10)
	if kind == PushUnique {
		c.buffer = append(c.buffer[:0], "*3\r\n$5\r\nRPUSH\r\n"...)
		c.buffer = appendBulk(c.buffer, c.list)
	} else {
		head := "*3\r\n$3\r\nSET\r\n$"
		if c.expiry != nil {
			head = "*5\r\n$3\r\nSET\r\n$"
		}
		c.buffer = append(c.buffer[:0], head...)
		c.buffer = strconv.AppendInt(c.buffer, int64(len(c.unique)+len(c.digits)), 10)
		c.buffer = append(c.buffer, "\r\n"...)
		c.buffer = append(c.buffer, c.unique...)
		c.buffer = append(c.buffer, c.digits...)
		c.buffer = append(c.buffer, "\r\n"...)
	}
	c.buffer = append(c.buffer, '$')
	c.buffer = strconv.AppendInt(c.buffer, int64(len(c.digits)), 10)
	c.buffer = append(c.buffer, "\r\n"...)
	c.buffer = append(c.buffer, c.digits...)
	c.buffer = append(c.buffer, "\r\n"...)
	if kind == SetUnique {
		c.buffer = append(c.buffer, c.expiry...)
	}
	return c.buffer
}

func sharedKey(prefix string) string         { return prefix + "shared" }
func ownKey(prefix string, id int) string    { return fmt.Sprintf("%s%d:counter", prefix, id) }
func listKey(prefix string, id int) string   { return fmt.Sprintf("%s%d:list", prefix, id) }
func uniqueKey(prefix string, id int) string { return fmt.Sprintf("%s%d:unique:", prefix, id) }
