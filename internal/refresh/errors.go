package refresh

import (
	"errors"
	"fmt"
	"strings"

	"godwit/internal/server"
)

// ErrChanged says that a key which the connection watches has changed.
var ErrChanged = errors.New("a key that was watched has changed")

// KeyError is what a server answered about one key. It wraps a *server.Error, or
// says why the value was not sent.
type KeyError struct {
	DB   int
	Key  []byte
	Hint string
	Err  error
}

func (e *KeyError) Error() string {
	if e.DB == Libraries {
		return fmt.Sprintf("%v (function library %.200q)", e.Err, e.Key)
	}
	return fmt.Sprintf("%v (db %d, key %.200q)", e.Err, e.DB, e.Key)
}
func (e *KeyError) Unwrap() error { return e.Err }

// HintText is what the user can do about it; commands print it after the error.
func (e *KeyError) HintText() string { return e.Hint }

// keyError names the key of an error.
func keyError(db int, key []byte, err error) *KeyError {
	return &KeyError{DB: db, Key: key, Hint: hint(err), Err: err}
}

// Error is an error reply that belongs to no key, with what helps against it.
type Error struct {
	Hint string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// HintText is what the user can do about it; commands print it after the error.
func (e *Error) HintText() string { return e.Hint }

// hint is what helps against an error reply, "" if nothing is known to.
func hint(err error) string {
	var hinted interface{ HintText() string }
	if errors.As(err, &hinted) {
		return hinted.HintText()
	}
	var reply *server.Error
	if !errors.As(err, &reply) {
		return ""
	}
	switch reply.Code {
	case "OOM":
		return "the server has reached its maxmemory: raise it, or make room"
	case "READONLY":
		return "this server is a replica that takes no writes: name its primary"
	case "LOADING":
		return "the server is loading its data: try again once it has"
	case "MASTERDOWN":
		return "this replica has lost its primary and may not serve old data (replica-serve-stale-data): mend its link first"
	case "MOVED", "ASK":
		return "another shard of the cluster serves this key's slot by now: try again once slots have stopped moving"
	case "TRYAGAIN", "CLUSTERDOWN":
		return "the cluster is moving this slot, or is not whole: try again once it is"
	case "CROSSSLOT":
		return "in a cluster the keys of a transaction must be of one slot"
	case "NOREPLICAS":
		return "the server takes no writes without its replicas (min-replicas-to-write): attach them"
	case "MISCONF":
		return "the server takes no writes because it cannot save: see its log, and stop-writes-on-bgsave-error"
	case "BUSY":
		return "a script runs for too long on the server: end it with SCRIPT KILL, or wait for its end"
	}
	switch {
	case strings.HasPrefix(reply.Message, "unknown command"), strings.HasPrefix(reply.Message, "Unknown subcommand"):
		return "the server lacks this command, or has renamed it (rename-command)"
	case strings.Contains(reply.Message, "DUMP payload version"):
		return "the server does not load values of this RDB version"
	case strings.Contains(reply.Message, "Bad data format"):
		return "the server does not load values of this type: a module that it lacks, perhaps"
	case strings.Contains(reply.Message, "DB index is out of range"):
		return "the server has fewer dbs: raise its setting databases"
	}
	return ""
}
