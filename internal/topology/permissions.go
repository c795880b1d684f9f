package topology

import (
	"context"
	"strings"

	"godwit/internal/reserved"
	"godwit/internal/server"
)

// Command is a command, with its subcommand, that godwit may need.
type Command string

// The commands that a migration needs at one end or the other.
const (
	Info       Command = "INFO"
	Psync      Command = "PSYNC"
	Replconf   Command = "REPLCONF"
	ReplicaOf  Command = "REPLICAOF"
	Failover   Command = "FAILOVER"
	ConfigGet  Command = "CONFIG GET"
	ConfigSet  Command = "CONFIG SET"
	ClientList Command = "CLIENT LIST"
	ClientKill Command = "CLIENT KILL"
	ACLSetUser Command = "ACL SETUSER"
	Restore    Command = "RESTORE" // for Node.probe alone

	// Of a key of godwit's own, at a shard that has several dbs.
	Select Command = "SELECT"
	Set    Command = "SET"
	Del    Command = "DEL"
)

// Rule is the ACL rule that permits the command, with its keys if it has any.
func (c Command) Rule() string {
	rule := "+" + strings.ReplaceAll(strings.ToLower(string(c)), " ", "|")
	if c == Set || c == Del {
		rule += " ~" + reserved.Pattern
	}
	return rule
}

// Permission is whether our user may run a command.
type Permission string

// The permissions. Missing means that the server has no such command, or that
// its configuration renamed it.
const (
	Allowed Permission = "allowed"
	Denied  Permission = "denied"
	Missing Permission = "missing"
	Unknown Permission = "unknown"
)

// Permissions are those of our user, by command.
type Permissions map[Command]Permission

// Of is the permission of a command, Unknown when it was not found out.
func (p Permissions) Of(c Command) Permission {
	if found, ok := p[c]; ok {
		return found
	}
	return Unknown
}

// Refused tells whether the command cannot be run for certain.
func (p Permissions) Refused(c Command) bool { return p.Of(c) == Denied || p.Of(c) == Missing }

// question is a command whose permission is found out without running it. Its
// arguments satisfy the arity, which is checked first, and would be refused if
// they ever were executed.
type question struct {
	command Command
	args    []any
}

// questions begins with INFO, harmless even where MULTI turned out not to hold.
func (n *Node) questions() []question {
	const nothing = "godwit-asks"
	questions := []question{
		{Info, []any{"INFO", nothing}},
		{Psync, []any{"PSYNC", "?", "-1"}}, // where it can be queued; it is denied inside MULTI from 7.0 on
		{Replconf, []any{"REPLCONF", nothing, "1"}},
		{ReplicaOf, []any{"REPLICAOF", nothing, nothing}},
		{Failover, []any{"FAILOVER", nothing}},
		{ConfigGet, []any{"CONFIG", "GET", nothing}},
		{ConfigSet, []any{"CONFIG", "SET", nothing, "1"}},
		{ClientKill, []any{"CLIENT", "KILL", "TYPE", nothing}},
		{ACLSetUser, []any{"ACL", "SETUSER", nothing, "+" + nothing}},
	}
	if n.Mode != Cluster {
		return questions
	}
	questions = append(questions, question{Select, []any{"SELECT", nothing}})
	if dbs, known := n.ClusterDBs(); dbs > 1 || !known {
		key := reserved.Checkpoint(nothing, 0, 0, 0)
		questions = append(questions,
			question{Set, []any{"SET", key, "", nothing}},
			question{Del, []any{"DEL", key}}) // there is none
	}
	return questions
}

// readPermissions finds out which commands our user may run, on a connection of its own
// that is closed afterwards, so that a transaction it left open is dropped even
// where DISCARD is not permitted. Only a broken connection is an error.
func (n *Node) readPermissions(ctx context.Context, questions []question) error {
	client, err := server.New(n.Endpoint, "")
	if err != nil {
		return err
	}
	defer client.Close() //nolint:errcheck // nothing was left unsent
	conn := client.Redis().Conn()
	defer conn.Close() //nolint:errcheck // likewise
	for _, ask := range []func(context.Context, pipeliner, []question) error{
		n.askCommandInfo, n.askDryRun, n.askTransaction,
	} {
		var open []question
		for _, q := range questions {
			if n.Permissions.Of(q.command) == Unknown {
				open = append(open, q)
			}
		}
		if len(open) == 0 {
			return nil
		}
		if err := ask(ctx, conn, open); err != nil {
			return err
		}
	}
	return nil
}

// askCommandInfo finds the commands that the server does not have.
func (n *Node) askCommandInfo(ctx context.Context, conn pipeliner, open []question) error {
	args := []any{"COMMAND", "INFO"}
	for _, q := range open {
		args = append(args, q.args[0])
	}
	r := pipeline(ctx, conn, [][]any{args})[0]
	rows, ok := r.value.([]any)
	if !isReply(r.err) {
		return r.err
	}
	if !ok || len(rows) != len(open) {
		return nil
	}
	for i, q := range open {
		if row, isRow := rows[i].([]any); rows[i] == nil || isRow && len(row) == 0 {
			n.Permissions[q.command] = Missing
		}
	}
	return nil
}

// askDryRun has the server check its ACL for our user (acl.c, from 7.0 on).
func (n *Node) askDryRun(ctx context.Context, conn pipeliner, open []question) error {
	if !n.Version.AtLeast(7, 0) {
		return nil
	}
	user := n.User()
	// A client certificate can make us another user than the URL says.
	who := pipeline(ctx, conn, [][]any{{"ACL", "WHOAMI"}})[0]
	if !isReply(who.err) {
		return who.err
	}
	if name, ok := who.value.(string); ok {
		user = name
	}
	commands := make([][]any, len(open))
	for i, q := range open {
		commands[i] = append([]any{"ACL", "DRYRUN", user}, q.args...)
	}
	for i, r := range pipeline(ctx, conn, commands) {
		switch {
		case !isReply(r.err):
			return r.err
		case r.err != nil:
			if strings.HasSuffix(r.err.Error(), "not found") { // Command 'x' not found
				n.Permissions[open[i].command] = Missing
			}
		case r.value == "OK":
			n.Permissions[open[i].command] = Allowed
		default: // "User x has no permissions to run the 'x' command"
			n.Permissions[open[i].command] = Denied
		}
	}
	return nil
}

// askTransaction queues the commands in a MULTI that is never executed: the ACL
// is checked when a command is queued (server.c processCommand).
func (n *Node) askTransaction(ctx context.Context, conn pipeliner, open []question) error {
	// Nothing else is sent before it is certain that commands are queued.
	for _, step := range []struct {
		args []any
		want string
	}{{[]any{"MULTI"}, "OK"}, {n.questions()[0].args, "QUEUED"}} {
		r := pipeline(ctx, conn, [][]any{step.args})[0]
		if !isReply(r.err) {
			return r.err
		}
		if r.value != step.want {
			return nil
		}
	}
	commands := make([][]any, len(open), len(open)+1)
	for i, q := range open {
		commands[i] = q.args
	}
	commands = append(commands, []any{"DISCARD"})
	for i, r := range pipeline(ctx, conn, commands)[:len(open)] {
		if !isReply(r.err) {
			return r.err
		}
		n.Permissions[open[i].command] = permissionOf(r.err)
	}
	return nil
}

// permissionOf reads the reply to a command that was queued or run. Any error
// that is not about the ACL or the command's name may come before the ACL is checked.
func permissionOf(err error) Permission {
	switch {
	case err == nil:
		return Allowed
	case server.IsCode(err, "NOPERM"):
		return Denied
	case strings.Contains(strings.ToLower(err.Error()), "unknown command"):
		return Missing
	}
	return Unknown
}
