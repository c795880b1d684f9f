package verify

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"godwit/internal/refresh"
	"godwit/internal/resp"
)

// words makes a command of words, numbers and bytes.
func words(args ...any) [][]byte {
	c := make([][]byte, len(args))
	for i, arg := range args {
		switch arg := arg.(type) {
		case []byte:
			c[i] = arg
		case string:
			c[i] = []byte(arg)
		default:
			c[i] = fmt.Append(nil, arg)
		}
	}
	return c
}

// ask sends commands at once and returns their replies, for what is small.
func ask(ctx context.Context, c *refresh.Conn, db int, commands ...[][]byte) ([]any, error) {
	replies := make([]any, len(commands))
	err := c.Pipe(ctx, db, commands, func(i int, reply resp.Reply, rest *resp.ReplyReader) (err error) {
		replies[i], err = answer(reply, rest)
		return err
	})
	return replies, err
}

// answer reads all of a reply: text as []byte, an int64, nil, or []any.
func answer(reply resp.Reply, rest *resp.ReplyReader) (any, error) {
	switch {
	case reply.Null:
		return nil, nil
	case reply.Kind == resp.Integer:
		return reply.N, nil
	case reply.Kind == resp.Bulk:
		return rest.Body(make([]byte, 0, min(reply.N, 64<<10)))
	case reply.Kind != resp.Array:
		return append([]byte(nil), reply.Line...), nil
	}
	var all []any
	for range reply.N {
		next, err := rest.Next()
		if err != nil {
			return nil, err
		}
		element, err := answer(next, rest)
		if err != nil {
			return nil, err
		}
		all = append(all, element)
	}
	return all, nil
}

func text(reply any) []byte {
	b, _ := reply.([]byte)
	return b
}

func array(reply any) []any {
	a, _ := reply.([]any)
	return a
}

func integer(reply any) int64 {
	n, _ := reply.(int64)
	return n
}

// fields are names and values in turn, as XINFO and FUNCTION LIST have them.
func fields(reply any) map[string]any {
	all := array(reply)
	m := make(map[string]any, len(all)/2)
	for i := 0; i+1 < len(all); i += 2 {
		m[string(text(all[i]))] = all[i+1]
	}
	return m
}

// millisecond is a reply of TIME: seconds and microseconds.
func millisecond(reply any) (int64, error) {
	parts := array(reply)
	if len(parts) != 2 {
		return 0, errors.New("TIME: unexpected reply")
	}
	seconds, err := strconv.ParseInt(string(text(parts[0])), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("TIME: %w", err)
	}
	micros, err := strconv.ParseInt(string(text(parts[1])), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("TIME: %w", err)
	}
	return seconds*1000 + micros/1000, nil
}
