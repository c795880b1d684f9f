package verify

import (
	"context"
	"errors"
	"strings"

	"godwit/internal/refresh"
	"godwit/internal/resp"
	"godwit/internal/server"
)

// sizes are what keys take in the servers' memory, in bytes; 0 for one that is not
// there. A few elements stand for all of a collection, so this is cheap, and not
// exact (object.c memoryCommand). Where the command is not to be had, lengths stand
// for it.
func (r *reader) sizes(ctx context.Context, db int, keys [][]byte) ([]int64, error) {
	all := make([]int64, len(keys))
	if lacks, err := r.lacks(ctx, db); lacks || err != nil || db == libraries {
		return all, err
	}
	err := r.eachShard(ctx, db, keys, func(c *refresh.Conn, db int, keys [][]byte, at []int) (err error) {
		var sizes []int64
		if !r.noMemory {
			sizes, err = c.Sizes(ctx, db, keys)
			var refused *server.Error
			r.noMemory = errors.As(err, &refused) && (refused.Code == "NOPERM" || strings.HasPrefix(refused.Message, "unknown command"))
		}
		if r.noMemory {
			sizes, err = lengths(ctx, c, db, keys)
		}
		for i, size := range sizes {
			all[place(at, i)] = max(all[place(at, i)], size)
		}
		return err
	})
	return all, err
}

// elementBytes is what an element is taken for where only lengths are known.
const elementBytes = 64

// lengths are sizes as far as lengths tell them: those of strings.
func lengths(ctx context.Context, c *refresh.Conn, db int, keys [][]byte) ([]int64, error) {
	types, err := c.Types(ctx, db, keys)
	if err != nil {
		return nil, err
	}
	sizes := make([]int64, len(keys))
	var commands [][][]byte
	var of []int
	for i, key := range keys {
		if length := lengthCommand(types[i]); length != "" {
			commands, of = append(commands, words(length, key)), append(of, i)
		}
	}
	err = c.Pipe(ctx, db, commands, func(i int, reply resp.Reply, rest *resp.ReplyReader) error {
		sizes[of[i]] = reply.N
		if types[of[i]] != "string" {
			sizes[of[i]] *= elementBytes
		}
		return rest.Skip(reply)
	})
	if server.IsCode(err, "WRONGTYPE") { // the key is another by now
		err = nil
	}
	return sizes, err
}

// lengthCommand asks for the length of a value, "" where it has none.
func lengthCommand(typ string) string {
	switch typ {
	case "string":
		return "STRLEN"
	case "list":
		return "LLEN"
	case "set":
		return "SCARD"
	case "hash":
		return "HLEN"
	case "zset":
		return "ZCARD"
	case "stream":
		return "XLEN"
	default:
		return ""
	}
}
