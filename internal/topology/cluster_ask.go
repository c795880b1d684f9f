package topology

import (
	"context"
	"errors"
	"fmt"
	"time"

	"godwit/internal/server"
)

// askTimeout bounds the asking of one node, so that one that hangs does not keep the
// map of the others from being read.
const askTimeout = 2 * time.Second

// inquiry is one thing that a node is asked of its cluster.
type inquiry int

const (
	askNodes      inquiry = iota // which nodes there are, and who owns which slots
	askInfo                      // cluster_state and the current epoch
	askSlots                     // by what host clients are to call the nodes
	askShardID                   // Redis and Valkey from 7.2 on
	askMigrations                // Valkey from 9.0 on
	askTasks                     // Redis from 8.4 on
	inquiries
)

// command is what is sent.
func (q inquiry) command() []any {
	switch q {
	case askInfo:
		return []any{"CLUSTER", "INFO"}
	case askSlots:
		return []any{"CLUSTER", "SLOTS"}
	case askShardID:
		return []any{"CLUSTER", "MYSHARDID"}
	case askMigrations:
		return []any{"CLUSTER", "GETSLOTMIGRATIONS"}
	case askTasks:
		return []any{"CLUSTER", "MIGRATION", "STATUS", "ALL"}
	case askNodes, inquiries:
	}
	return []any{"CLUSTER", "NODES"}
}

// member is a node that is asked, and remembers what need not be asked again.
type member struct {
	client  *server.Client
	done    [inquiries]bool
	shardID string
}

// ask has the node say what it knows of its cluster, with CLUSTER SLOTS if slots says
// so. Errors are those of server.Client.
func (m *member) ask(ctx context.Context, slots bool) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var asked []inquiry
	var commands [][]any
	for q := range inquiries {
		if !m.done[q] && (q != askSlots || slots) {
			asked, commands = append(asked, q), append(commands, q.command())
		}
	}
	a := answer{at: m.client.Endpoint(), shardID: m.shardID}
	for i, r := range pipeline(ctx, m.client.Redis(), commands) {
		var err error
		switch q := asked[i]; {
		case r.err != nil && (q == askNodes || q == askInfo || !isReply(r.err)):
			return answer{}, m.failed(ctx, r.err)
		case r.err != nil:
			m.done[q] = true // it does not know the command, or our user may not
		case q == askNodes:
			text, _ := r.value.(string)
			a.view, err = parseNodes(text)
		case q == askInfo:
			text, _ := r.value.(string)
			info := server.ParseInfo(text)
			a.ok, a.epoch = info["cluster_state"] == "ok", info.Int("cluster_current_epoch")
		case q == askSlots:
			a.slots = r.value
		case q == askShardID:
			a.shardID, _ = r.value.(string)
			m.shardID, m.done[q] = a.shardID, true
		case q == askMigrations || q == askTasks:
			a.moves, a.arrived, err = parseJobs(r.value)
		}
		if err != nil {
			return answer{}, fmt.Errorf("%s: %v: %w", m.client.Endpoint().Address, asked[i].command(), err)
		}
	}
	return a, nil
}

// failed words an error of CLUSTER NODES.
func (m *member) failed(ctx context.Context, err error) error {
	const command = "CLUSTER NODES"
	address := m.client.Endpoint().Address
	var reply *server.Error
	if errors.As(err, &reply) {
		return server.Replied(address, command, reply.Code+" "+reply.Message)
	}
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return server.Failed(address, command, err)
}
