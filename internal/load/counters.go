package load

import (
	"fmt"
	"strconv"
	"time"
)

// counters are the four kinds, which every writer writes and which cost the least.
// The INCRs never change; the others end in a number that is written into a buffer
// used again and again.
type counters struct {
	history history
	fixed   [kinds]write // complete
	buffer  []byte
	digits  []byte
	list    string
	unique  string
	expiry  []byte // the last arguments of a SET, nil if its key is to stay
}

func newCounters(prefix string, id int, ttl time.Duration) *counters {
	c := &counters{list: listKey(prefix, id), unique: uniqueKey(prefix, id)}
	c.fixed[IncrShared] = newWrite(sharedKey(prefix), "INCR", sharedKey(prefix))
	c.fixed[IncrOwn] = newWrite(ownKey(prefix, id), "INCR", ownKey(prefix, id))
	if ttl > 0 {
		c.expiry = appendBulk(appendBulk(nil, "PX"), strconv.FormatInt(ttl.Milliseconds(), 10))
	}
	return c
}

func (c *counters) name() string {
	kind, _ := c.history.last()
	return kind.String()
}

func (c *counters) next(time.Duration) write {
	c.history.next()
	kind, seq := c.history.last()
	if c.fixed[kind].wire != nil {
		return c.fixed[kind]
	}
	c.digits = strconv.AppendInt(c.digits[:0], seq, 10)
	var key []byte
	if kind == PushUnique {
		c.buffer = append(c.buffer[:0], "*3\r\n$5\r\nRPUSH\r\n"...)
		c.buffer = appendBulk(c.buffer, c.list)
		key = c.buffer[len(c.buffer)-len(c.list)-2 : len(c.buffer)-2]
	} else {
		head := "*3\r\n$3\r\nSET\r\n$"
		if c.expiry != nil {
			head = "*5\r\n$3\r\nSET\r\n$"
		}
		c.buffer = append(c.buffer[:0], head...)
		c.buffer = strconv.AppendInt(c.buffer, int64(len(c.unique)+len(c.digits)), 10)
		c.buffer = append(c.buffer, "\r\n"...)
		from := len(c.buffer)
		c.buffer = append(c.buffer, c.unique...)
		c.buffer = append(c.buffer, c.digits...)
		key = c.buffer[from:]
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
	return write{key: key, wire: c.buffer, replies: 1}
}

func (c *counters) end(is outcome, r reply) { c.history.end(is, r.integer) }

func sharedKey(prefix string) string         { return prefix + "shared" }
func ownKey(prefix string, id int) string    { return fmt.Sprintf("%s%d:counter", prefix, id) }
func listKey(prefix string, id int) string   { return fmt.Sprintf("%s%d:list", prefix, id) }
func uniqueKey(prefix string, id int) string { return fmt.Sprintf("%s%d:unique:", prefix, id) }
