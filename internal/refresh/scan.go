package refresh

import (
	"bytes"
	"context"
	"strconv"

	"godwit/internal/resp"
)

// Scan is one call of SCAN: names of keys that match (all if match is ""), and
// where to go on, 0 at the end. count is how many the server is to look at. The
// names are valid until the next call. Errors are a *Error or *server.ConnError.
func (c *Conn) Scan(ctx context.Context, db int, cursor uint64, match string, count int) (next uint64, keys [][]byte, err error) {
	err = c.on(ctx, db, func() error {
		c.begin()
		args := append(make([]string, 0, 6), "SCAN", strconv.FormatUint(cursor, 10))
		if match != "" {
			args = append(args, "MATCH", match)
		}
		c.send(append(args, "COUNT", strconv.Itoa(count))...)
		if _, err := c.array("SCAN", 2); err != nil {
			return err
		}
		text, err := c.text("SCAN")
		if err != nil {
			return err
		}
		if next, err = strconv.ParseUint(text, 10, 64); err != nil {
			return c.fail("SCAN", err)
		}
		n, err := c.array("SCAN", -1)
		if err != nil {
			return err
		}
		for range n {
			key, err := c.bulk("SCAN")
			if err != nil {
				return err
			}
			c.keys = append(c.keys, key)
		}
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	return next, c.keys, nil
}

// bulk reads a bulk string into the arena.
func (c *Conn) bulk(command string) ([]byte, error) {
	reply, err := c.next()
	if err != nil {
		return nil, err
	}
	if reply.Kind != resp.Bulk || reply.Null {
		return nil, c.fail(command, unexpectedReply(reply))
	}
	return c.keep(command)
}

// Pipe sends commands at once, all in one db, and gives each reply to each, in
// order. each reads all of a reply, or calls Skip. Where the server answers a
// command with an error, each is not called for it; the first of these errors is
// returned in the end, a *KeyError if the command is about a key. An error of each
// ends it and the connection.
func (c *Conn) Pipe(ctx context.Context, db int, commands [][][]byte, each func(i int, reply resp.Reply, r *resp.ReplyReader) error) error {
	return c.on(ctx, db, func() error {
		c.begin()
		for _, args := range commands {
			c.sendArgs(args...)
		}
		var refused error
		for i, args := range commands {
			reply, err := c.next()
			if err != nil {
				return err
			}
			if reply.Kind != resp.Failure {
				if err := each(i, reply, c.r); err != nil {
					return c.fail(name(args), noEOF(err))
				}
				continue
			}
			if refused == nil {
				refused = c.refusedArgs(db, args, reply)
			}
		}
		return refused
	})
}

// name is a command as errors name it.
func name(args [][]byte) string {
	command := string(bytes.ToUpper(args[0]))
	if subcommands(command) && len(args) > 1 {
		command += " " + string(bytes.ToUpper(args[1]))
	}
	return command
}

// subcommands tells of the commands in use here whether a subcommand follows.
func subcommands(command string) bool {
	switch command {
	case "MEMORY", "XINFO", "FUNCTION":
		return true
	}
	return false
}

// keyOf is the key that a command is about, nil if it is about none.
func keyOf(args [][]byte) []byte {
	at := 1
	switch command := string(bytes.ToUpper(args[0])); {
	case command == "INFO", command == "FUNCTION":
		return nil
	case subcommands(command):
		at = 2
	}
	if len(args) <= at {
		return nil
	}
	return args[at]
}

func (c *Conn) refusedArgs(db int, args [][]byte, reply resp.Reply) error {
	key := keyOf(args)
	if key == nil {
		return c.refused(name(args), reply)
	}
	return keyError(db, bytes.Clone(key), c.replied(name(args), reply))
}

// Types are the types of keys by TYPE, which does not count as a use of them;
// "none" where there is no such key.
func (c *Conn) Types(ctx context.Context, db int, keys [][]byte) ([]string, error) {
	types := make([]string, len(keys))
	commands := make([][][]byte, len(keys))
	for i, key := range keys {
		commands[i] = [][]byte{[]byte("TYPE"), key}
	}
	err := c.Pipe(ctx, db, commands, func(i int, reply resp.Reply, r *resp.ReplyReader) error {
		types[i] = string(reply.Line)
		return r.Skip(reply)
	})
	return types, err
}

// Sizes are the bytes of memory that keys take, by MEMORY USAGE: an estimate, from
// a few elements of a large one. It does not count as a use of them. Where there is
// no such key it is 0.
func (c *Conn) Sizes(ctx context.Context, db int, keys [][]byte) ([]int64, error) {
	sizes := make([]int64, len(keys))
	commands := make([][][]byte, len(keys))
	for i, key := range keys {
		commands[i] = [][]byte{[]byte("MEMORY"), []byte("USAGE"), key}
	}
	err := c.Pipe(ctx, db, commands, func(i int, reply resp.Reply, r *resp.ReplyReader) error {
		sizes[i] = reply.N
		return r.Skip(reply)
	})
	return sizes, err
}
