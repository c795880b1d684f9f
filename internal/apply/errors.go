package apply

import (
	"bytes"
	"fmt"
	"strings"

	"godwit/internal/server"
)

// CommandError says which command a shard did not carry out, and what it answered.
type CommandError struct {
	Shard   string
	Command string // its name
	Key     []byte // its first argument, nil if it has none
	Offset  int64  // of the source, up to which everything was carried out
	Reply   string

	number int  // of the command in its batch
	lost   bool // the shard had let go of the key by itself
}

// newCommandError names the n-th command of a batch.
func newCommandError(shard string, b *batch, n int, reply string) *CommandError {
	e := &CommandError{Shard: shard, Offset: b.from.at, Reply: strings.TrimSpace(reply), number: n}
	b.each(func(args [][]byte, size int64) bool {
		if n--; n >= 0 {
			e.Offset += max(size, 0)
			return true
		}
		if len(args) == 0 {
			return false
		}
		e.Command = string(args[0])
		at := 1
		if is(args[0], "xgroup") || is(args[0], "bitop") { // the key comes after another word
			at = 2
		}
		if len(args) > at {
			e.Key = bytes.Clone(args[at])
		}
		return false
	})
	return e
}

func (e *CommandError) Error() string {
	if e.Key == nil {
		return fmt.Sprintf("%s: %s (source offset %d): %s", e.Shard, e.Command, e.Offset, e.Reply)
	}
	return fmt.Sprintf("%s: %s of key %.200q (source offset %d): %s", e.Shard, e.Command, e.Key, e.Offset, e.Reply)
}

// elsewhere tells that the checkpoint was not where the batch begins.
func (e *CommandError) elsewhere() bool { return strings.Contains(e.Reply, "GODWIT-ELSEWHERE") }

// moved tells that the shard does not serve the key's slot, or not this key (any
// more): script.c scriptVerifyClusterState, of 6.0 scripting.c luaRedisGenericCommand.
func (e *CommandError) moved() bool {
	return strings.Contains(e.Reply, "access a non local key") || strings.Contains(e.Reply, "during rehashing of the slot")
}

// again tells that it may well be carried out when it is tried again.
func (e *CommandError) again() bool { return e.lost || e.elsewhere() || e.moved() || e.temporary() }

// temporary tells that the same command may succeed later.
func (e *CommandError) temporary() bool { return temporary(e.Reply) }

func temporary(reply string) bool {
	for _, code := range []string{"OOM ", "MISCONF ", "LOADING ", "READONLY ", "CLUSTERDOWN ", "TRYAGAIN ", "MASTERDOWN ", "BUSY ", "NOREPLICAS ", "UNKILLABLE ", "NOSCRIPT "} {
		if strings.Contains(reply, code) {
			return true
		}
	}
	return false
}

// HintText is what the user can do about it.
func (e *CommandError) HintText() string {
	return server.NewError(e.Shard, e.Command, e.Reply).Message
}
