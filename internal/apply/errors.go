package apply

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"godwit/internal/server"
)

// CommandError says which command a shard did not carry out, and what it answered.
type CommandError struct {
	Shard   string
	Command string // its name
	Key     []byte // its first argument, nil if it has none
	DB      int    // of the shard
	Offset  int64  // of the source, up to which everything was carried out; -1 within a snapshot
	Reply   string

	number int  // of the command in its batch
	lost   bool // the shard had let go of the key by itself
}

// newCommandError names the n-th command of a batch.
func newCommandError(shard string, b *batch, n int, reply string) *CommandError {
	e := &CommandError{Shard: shard, Offset: b.from.at, Reply: strings.TrimSpace(reply), number: n}
	b.each(func(db int, args [][]byte, size int64) bool {
		if n--; n >= 0 {
			e.Offset += max(size, 0)
			return true
		}
		e.DB = db
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
	if e.Offset < 0 {
		return fmt.Sprintf("%s: %s of key %.200q: %s", e.Shard, e.Command, e.Key, e.Reply)
	}
	if e.Key == nil {
		return fmt.Sprintf("%s: %s (source offset %d): %s", e.Shard, e.Command, e.Offset, e.Reply)
	}
	return fmt.Sprintf("%s: %s of key %.200q (source offset %d): %s", e.Shard, e.Command, e.Key, e.Offset, e.Reply)
}

// elsewhere tells that the checkpoint was not where the batch begins.
func (e *CommandError) elsewhere() bool { return strings.Contains(e.Reply, "GODWIT-ELSEWHERE") }

// moved tells that the shard does not serve the key's slot, or not this key (any
// more): script.c scriptVerifyClusterState, of 6.0 scripting.c luaRedisGenericCommand; of a
// command by itself cluster.c clusterRedirectClient.
func (e *CommandError) moved() bool {
	return strings.HasPrefix(e.Reply, "MOVED ") || strings.HasPrefix(e.Reply, "ASK ") ||
		strings.Contains(e.Reply, "access a non local key") || strings.Contains(e.Reply, "during rehashing of the slot")
}

// again tells that it may well be carried out when it is tried again.
func (e *CommandError) again() bool { return e.lost || e.elsewhere() || e.moved() || e.temporary() }

// temporary tells that the same command may succeed later.
func (e *CommandError) temporary() bool { return kindOf(e.Reply).waits }

// demoted tells that the shard has become a replica. A node of a cluster says so by MOVED.
func (e *CommandError) demoted() bool { return strings.HasPrefix(e.Reply, "READONLY ") }

// HintText is what the user can do about it.
func (e *CommandError) HintText() string { return kindOf(e.Reply).hint }

// replyError is an error reply with what helps against it.
type replyError struct{ err error }

func (e *replyError) Error() string { return e.err.Error() }
func (e *replyError) Unwrap() error { return e.err }

// HintText is what the user can do about it.
func (e *replyError) HintText() string { return hintOf(e.err) }

// hintOf is what helps against an error: what it says itself, or the kind of error reply
// that it is.
func hintOf(err error) string {
	var hinted interface{ HintText() string }
	if errors.As(err, &hinted) && hinted.HintText() != "" {
		return hinted.HintText()
	}
	var reply *server.Error
	if !errors.As(err, &reply) {
		return ""
	}
	return kindOf(reply.Code + " " + reply.Message).hint
}

// refusal is a kind of error reply.
type refusal struct {
	sign  string // that is in the reply; scripts have theirs in the middle
	waits bool   // the same command may well succeed later
	hint  string
}

// kindOf is the kind of an error reply, zero for one that belongs to the command alone.
func kindOf(reply string) refusal {
	for _, kind := range refusals() {
		if strings.Contains(reply, kind.sign) {
			return kind
		}
	}
	return refusal{hint: elsewise}
}

// elsewise is the hint for an error reply of no kind.
const elsewise = "the shard does not have this key as the source has: does anybody else write to the target, or has another one of several sources a key of this name? Otherwise this is a defect of godwit; to begin anew, abort and run again"

// refusals are the kinds there are: those of server.c shared.*, of script.c and of acl.c.
func refusals() []refusal {
	const permission = "allow the user whom godwit is given for the target this command and this key (ACL SETUSER): see godwit plan"
	return []refusal{
		{"OOM ", true, "the shard has reached its maxmemory: raise it, or make room; godwit goes on by itself then"},
		{"MISCONF ", true, "the shard takes no writes because it cannot save: see its log and disk, or set stop-writes-on-bgsave-error no; godwit goes on by itself then"},
		{"NOREPLICAS ", true, "the shard takes no writes without its replicas: attach them, or lower min-replicas-to-write; godwit goes on by itself then"},
		{"READONLY ", true, "this node is a replica by now, or was made one: godwit looks for the shard's new primary; a server that is in no cluster has to be a primary again (REPLICAOF NO ONE)"},
		{"LOADING ", true, "the shard is loading its data: godwit waits"},
		{"MASTERDOWN ", true, "this node is a replica whose primary is down: godwit looks for the shard's new primary"},
		{"CLUSTERDOWN ", true, "the cluster is not whole: see CLUSTER INFO, and redis-cli --cluster check; godwit goes on by itself then"},
		{"while the cluster is down", true, "the cluster is not whole: see CLUSTER INFO, and redis-cli --cluster check; godwit goes on by itself then"}, // to a script
		{"MOVED ", false, "the slot is another shard's by now: godwit looks whose"},
		{"ASK ", false, "the slot is on its way to another shard: godwit looks whose it is"},
		{"TRYAGAIN ", true, "the slot is on the move: godwit waits for its end"},
		{"BUSY ", true, "a script of another client runs on the shard: wait for its end, or SCRIPT KILL; godwit goes on by itself then"},
		{"UNKILLABLE ", true, "a script that has written runs on the shard: wait for its end; godwit goes on by itself then"},
		{"NOSCRIPT ", true, "somebody has flushed the shard's scripts: godwit loads its own again"},
		{"max number of clients", true, "the shard has reached its maxclients: raise it, or end others; godwit goes on by itself then"},
		{"NOPERM ", false, permission},
		{"The user executing the script can't", false, permission}, // Redis
		{"ACL failure in script", false, permission},               // Valkey 9.1
		{"NOAUTH ", false, "the target asks for a password: name user and password in its URL"},
		{"WRONGPASS ", false, "the target does not take this user or password: see its URL"},
	}
}
