package shards

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"
)

// Command is one command with its arguments.
type Command []any

// key is what tells where to send the command: its first argument, or the second of
// those that have a subcommand.
func (c Command) key() string {
	at := 1
	switch c[0] {
	case "MEMORY", "XINFO", "OBJECT":
		at = 2
	}
	if at >= len(c) {
		return ""
	}
	key, _ := c[at].(string)
	return key
}

// Session is a connection to each shard, with one db selected. It is not for
// concurrent use.
type Session struct {
	deployment *Deployment
	conns      []*redis.Conn
	found      map[string]int // of a set of servers: where Locate found keys
	prefix     string         // see Rename
	before     string         // likewise
}

// Rename has commands say something before each key that begins with a prefix.
func (s *Session) Rename(prefix, before string) { s.prefix, s.before = prefix, before }

// Begins tells whether a key does so with a prefix, be it in a hash tag.
func Begins(key, prefix string) bool { return strings.HasPrefix(strings.TrimPrefix(key, "{"), prefix) }

// renamed are commands as Rename wants them.
func (s *Session) renamed(commands []Command) []Command {
	if s.before == "" {
		return commands
	}
	list := make([]Command, len(commands))
	for i, c := range commands {
		list[i] = slices.Clone(c)
		for j, arg := range c {
			if key, ok := arg.(string); ok && Begins(key, s.prefix) {
				list[i][j] = s.before + key
			}
		}
	}
	return list
}

// Session opens connections that have selected the db.
func (d *Deployment) Session(ctx context.Context, db int) (*Session, error) {
	s := &Session{deployment: d}
	for i, client := range d.clients {
		s.conns = append(s.conns, client.Redis().Conn())
		if err := s.conns[i].Select(ctx, db).Err(); err != nil {
			s.Close()
			return nil, fmt.Errorf("%s: SELECT %d: %w", client.Endpoint().Address, db, err)
		}
	}
	return s, nil
}

// Close ends the connections.
func (s *Session) Close() {
	for _, conn := range s.conns {
		_ = conn.Close() // every reply has been read
	}
}

// Owner is the shard that a key is in, or would be.
func (s *Session) Owner(key string) int {
	if shard, ok := s.found[key]; ok {
		return shard
	}
	return s.deployment.Owner(key)
}

// Locate looks which of several servers has each of the keys, for the commands that
// follow, and gives the keys that more than one of them has. In a cluster, or a single
// server, there is nothing to look for.
func (s *Session) Locate(ctx context.Context, keys []string) (twice []string, err error) {
	if s.deployment.IsCluster() || len(s.conns) == 1 {
		return nil, nil
	}
	commands := make([]Command, len(keys))
	for i, key := range keys {
		commands[i] = Command{"EXISTS", key}
	}
	s.found = make(map[string]int, len(keys))
	doubled := make(map[string]bool)
	for shard := range s.conns {
		replies, err := s.AskShard(ctx, shard, commands)
		if err != nil {
			return nil, err
		}
		for i, reply := range replies {
			if reply != int64(1) {
				continue
			}
			if _, elsewhere := s.found[keys[i]]; !elsewhere {
				s.found[keys[i]] = shard
			} else if !doubled[keys[i]] {
				doubled[keys[i]] = true
				twice = append(twice, keys[i])
			}
		}
	}
	return twice, nil
}

// Ask sends each command to the shard that has its key, all of them in one pipeline a
// shard, and gives the replies in their order: string, int64, []any or nil. An error
// reply to any of them is an error.
func (s *Session) Ask(ctx context.Context, commands []Command) ([]any, error) {
	commands = s.renamed(commands)
	if len(s.conns) == 1 || len(commands) == 0 {
		return s.AskShard(ctx, 0, commands)
	}
	at := make([][]int, len(s.conns)) // indexes of commands, by shard
	for i, c := range commands {
		shard := s.Owner(c.key())
		at[shard] = append(at[shard], i)
	}
	replies := make([]any, len(commands))
	group, ctx := errgroup.WithContext(ctx)
	for shard, indexes := range at {
		group.Go(func() error {
			own := make([]Command, len(indexes))
			for i, index := range indexes {
				own[i] = commands[index]
			}
			answers, err := s.AskShard(ctx, shard, own)
			for i, answer := range answers {
				replies[indexes[i]] = answer
			}
			return err
		})
	}
	return replies, group.Wait()
}

// AskShard sends all commands to one shard.
func (s *Session) AskShard(ctx context.Context, shard int, commands []Command) ([]any, error) {
	if len(commands) == 0 {
		return nil, nil
	}
	pipe := s.conns[shard].Pipeline()
	for _, c := range commands {
		pipe.Do(ctx, c...)
	}
	cmds, err := pipe.Exec(ctx)
	if err != nil && !errors.Is(err, redis.Nil) {
		address := s.deployment.clients[shard].Endpoint().Address
		for _, cmd := range cmds {
			if cmd.Err() != nil && !errors.Is(cmd.Err(), redis.Nil) {
				return nil, fmt.Errorf("%s: %s: %w", address, strings.ToUpper(cmd.Name()), cmd.Err())
			}
		}
		return nil, fmt.Errorf("%s: %w", address, err)
	}
	replies := make([]any, len(cmds))
	for i, cmd := range cmds {
		if cmd, ok := cmd.(*redis.Cmd); ok {
			replies[i] = cmd.Val()
		}
	}
	return replies, nil
}

// Scan gives the keys that one shard has, with their names in batches of about so
// many, until each fails.
func (s *Session) Scan(ctx context.Context, shard, batch int, each func(keys []string) error) error {
	for cursor := uint64(0); ; {
		keys, next, err := s.conns[shard].Scan(ctx, cursor, "", int64(batch)).Result()
		if err != nil {
			return fmt.Errorf("%s: SCAN: %w", s.deployment.clients[shard].Endpoint().Address, err)
		}
		if len(keys) > 0 {
			if err := each(keys); err != nil {
				return err
			}
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}
