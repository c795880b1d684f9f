package topology

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/redis/go-redis/v9"

	"godwit/internal/server"
)

// result is the reply to one command of a pipeline.
type result struct {
	value any   // nil for a nil reply
	err   error // an error reply as a *server.Error, or why there was no reply
}

// pipeliner is a redis.Client or a redis.Conn.
type pipeliner interface {
	Pipeline() redis.Pipeliner
}

// pipeline sends all commands at once and returns as many results.
func pipeline(ctx context.Context, on pipeliner, commands [][]any) []result {
	pipe := on.Pipeline()
	cmds := make([]*redis.Cmd, len(commands))
	for i, args := range commands {
		cmds[i] = pipe.Do(ctx, args...)
	}
	_, failed := pipe.Exec(ctx) // the first error of any command; each has its own
	if slices.ContainsFunc(cmds, func(cmd *redis.Cmd) bool { return cmd.Err() != nil }) {
		failed = nil
	} // else nothing was sent: the server refused our user, say
	results := make([]result, len(cmds))
	for i, cmd := range cmds {
		value, err := cmd.Result()
		err = cmp.Or(err, failed)
		var reply redis.Error
		switch {
		case errors.Is(err, redis.Nil):
			err = nil
		case errors.As(err, &reply):
			name, _ := commands[i][0].(string)
			err = server.NewError("", name, reply.Error())
		}
		results[i] = result{value: value, err: err}
	}
	return results
}

// isReply tells whether the server answered, be it with an error.
func isReply(err error) bool {
	var reply *server.Error
	return err == nil || errors.As(err, &reply)
}
