package apply

import (
	"errors"
	"fmt"

	"godwit/internal/psync"
	"godwit/internal/route"
	"godwit/internal/server"
)

// WayBackLostError says that a replica that is fed cannot be brought to where the
// cluster is: what it lacks is not to be had any more. Nothing of the replica was
// changed, and nothing will be.
type WayBackLostError struct {
	Replica string // address
	Shard   string // its slots, empty if no shard is the reason
	Reason  string
}

func (e *WayBackLostError) Error() string {
	if e.Shard == "" {
		return fmt.Sprintf("the way back to %s is lost: %s", e.Replica, e.Reason)
	}
	return fmt.Sprintf("the way back to %s is lost: the shard of slots %s: %s", e.Replica, e.Shard, e.Reason)
}

// HintText is what the user can do about it.
func (e *WayBackLostError) HintText() string {
	return fmt.Sprintf("the cluster serves on, and %s keeps what it had: end the migration with `godwit complete`, or go back by a migration of its own, from the cluster to an empty server", e.Replica)
}

// SlotMovedError says that a slot is on its way from one shard to another, or has
// gone, since the way back began.
type SlotMovedError struct {
	Shard   string // the slots that it had when the way back began
	Slot    uint16 // of the command, or the first that moves
	Command string // that told
	Offset  int64  // of the shard
}

func (e *SlotMovedError) Error() string {
	return fmt.Sprintf("slot %d has moved to or from the shard of slots %s since the cutover (%s at its offset %d)", e.Slot, e.Shard, e.Command, e.Offset)
}

// HintText is what the user can do about it.
func (e *SlotMovedError) HintText() string {
	return "slots may not move between shards as long as the way back is held open: end the migration with `godwit complete`; to go back nevertheless, migrate from the cluster to an empty server"
}

// noDBError says that the replica has not got a db that the cluster writes to: it
// would go on in the one it was in, without a word.
type noDBError struct {
	replica string
	db      int
}

func (e *noDBError) Error() string {
	return fmt.Sprintf("%s has no db %d, which the cluster writes to", e.replica, e.db)
}

// HintText is what the user can do about it.
func (e *noDBError) HintText() string {
	return fmt.Sprintf("start %s with a larger `databases`, or let no client use that db", e.replica)
}

// ends tells of an error of a feed that no waiting mends.
func ends(err error) bool {
	var lost *WayBackLostError
	var moved *SlotMovedError
	var db *noDBError
	var homeless *route.HomelessError
	return errors.As(err, &homeless) || errors.As(err, &lost) || errors.As(err, &moved) || errors.As(err, &db) || errors.Is(err, errUnfit) || lasting(err)
}

// errUnfit is of a command that has no meaning for a server that is no cluster.
var errUnfit = errors.New("cannot be carried back to a standalone server")

// deferred says why a replica is put off.
func deferred(p *psync.Peer, reason string) {
	_ = p.Defer(reason) // it asks again in any case
	_ = p.Close()
}

// unanswered tells of an error of a connection, not of a reply.
func unanswered(err error) bool {
	var connection *server.ConnError
	return errors.As(err, &connection)
}
