package migrate

import (
	"context"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"godwit/internal/server"
)

// clock is a server's. Where TTLs become points in time these must be what the
// server itself makes of them: our own clock may be off by more than they last.
type clock struct {
	ours  func() time.Time
	ahead atomic.Int64 // of ours, nanoseconds
}

// now is in milliseconds since 1970.
func (c *clock) now() int64 {
	return c.ours().Add(time.Duration(c.ahead.Load())).UnixMilli()
}

// set asks the server what time it is. A difference that may as well be one of
// the way there and the way back changes nothing.
func (c *clock) set(ctx context.Context, client *server.Client) error {
	sent := c.ours()
	reply, err := client.Do(ctx, "TIME")
	half := c.ours().Sub(sent) / 2
	if err != nil {
		return err
	}
	theirs, err := parseTime(reply)
	if err != nil {
		return err
	}
	ahead := theirs.Sub(sent.Add(half))
	if change := ahead - time.Duration(c.ahead.Load()); change.Abs() > half {
		c.ahead.Store(int64(ahead))
	}
	return nil
}

// parseTime reads the reply to TIME: seconds and microseconds, as strings.
func parseTime(reply any) (time.Time, error) {
	list, _ := reply.([]any)
	var numbers []int64
	for _, element := range list {
		text, _ := element.(string)
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			break
		}
		numbers = append(numbers, n)
	}
	if len(numbers) != 2 {
		return time.Time{}, fmt.Errorf("reply to TIME: %v", reply)
	}
	return time.Unix(numbers[0], numbers[1]*int64(time.Microsecond)), nil
}
