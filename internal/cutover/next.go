package cutover

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"godwit/internal/server"
)

// Next is what takes over from an old primary. Offsets are the old one's.
type Next interface {
	// Address names it.
	Address() string
	// Command is what the step sends to it, or what it is asked, as for redis-cli; empty
	// for nothing.
	Command(step Name) string
	// Follows is the offset up to which it has applied the stream; an error says why
	// it cannot take over. It is called before anything is stopped.
	Follows(ctx context.Context) (int64, error)
	// Applied is the offset up to which it has applied the stream.
	Applied(ctx context.Context) (int64, error)
	// Acknowledge tells the old primary how far that is.
	Acknowledge(ctx context.Context)
	// Promote has it take writes: the commit. After an error other than
	// *UncertainError it takes none.
	Promote(ctx context.Context) error
}

// Replica is a Next that is a replica of the old primary, through godwit.
type Replica struct {
	Side
	// ReplID is that of the stream as it calls it.
	ReplID string
	// Counted turns an offset of its own into one of the old primary's, where what it
	// is sent is not what that one sends, byte for byte; nil where it is.
	Counted func(offset int64) int64
	// ACK tells the old primary what it has applied, in its own count.
	ACK func(offset int64)
	Old string // address of the old primary

	runID string // before the pause
}

// Address is its host and port.
func (r *Replica) Address() string { return r.address() }

// Command is what a step sends to it.
func (r *Replica) Command(step Name) string {
	switch step {
	case CatchUp:
		return "INFO replication (until it lags less than 1 MB, and the old primary lists it as online)"
	case Drain:
		return "INFO replication (until slave_repl_offset is the old primary's; each answer is ACKed to it)"
	case Promote:
		return "REPLICAOF NO ONE"
	default:
		return ""
	}
}

// Follows is where it stands.
func (r *Replica) Follows(ctx context.Context) (int64, error) {
	info, err := r.Client.Info(ctx, "server", "replication")
	if err != nil {
		return 0, err
	}
	r.runID = info["run_id"]
	if info["role"] != "slave" || info["master_link_status"] != "up" {
		return 0, fmt.Errorf("%s does not follow: role %s, master_link_status %s", r.Address(), info["role"], info["master_link_status"])
	}
	return r.counted(info.Int("slave_repl_offset")), nil
}

// Applied is where it stands.
func (r *Replica) Applied(ctx context.Context) (int64, error) {
	offset, err := r.offset(ctx)
	return r.counted(offset), err
}

// Acknowledge asks it where it stands, and has that ACKed. Redis itself ACKs once a
// second.
func (r *Replica) Acknowledge(ctx context.Context) {
	if offset, err := r.offset(ctx); err == nil {
		r.ACK(offset)
	}
}

func (r *Replica) counted(offset int64) int64 {
	if r.Counted == nil {
		return offset
	}
	return r.Counted(offset)
}

// offset is where it stands, in its own count.
func (r *Replica) offset(ctx context.Context) (int64, error) {
	info, err := r.Client.Info(ctx, "replication")
	if err != nil {
		return 0, err
	}
	if info["role"] != "slave" {
		return 0, fmt.Errorf("%s is not a replica", r.Address())
	}
	if !strings.EqualFold(info["master_replid"], r.ReplID) {
		return 0, fmt.Errorf("%s has left the stream: its replid is %s, not %s", r.Address(), info["master_replid"], r.ReplID)
	}
	return info.Int("slave_repl_offset"), nil
}

// promoteTimeout bounds the wait for the answer of a replica that may have been
// promoted. The old primary refuses writes meanwhile and for good, so nothing is won
// by less: whoever cannot know must not go back.
const promoteTimeout = 10 * time.Second

// Promote makes it a primary. After an error other than *UncertainError it is a
// replica still, or has lost what made it worth promoting.
func (r *Replica) Promote(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, promoteTimeout)
	defer cancel()
	replies, err := r.Client.Transaction(ctx, []any{"REPLICAOF", "NO", "ONE"}, []any{"INFO", "server"})
	var refused *server.Error
	var unsent *server.ConnError
	switch {
	case err == nil:
		return r.sameRun(replies[1])
	case errors.As(err, &refused), errors.As(err, &unsent) && unsent.Op == "dial":
		return err
	}
	// The connection failed, so the command may have been carried out, or may
	// be yet, when it wakes up. Only the same command again makes it certain.
	for {
		info, again := r.Client.Info(ctx, "server")
		if again == nil && info["run_id"] != r.runID {
			return r.uncertain(fmt.Errorf("%s was restarted within its promotion: %w", r.Address(), err))
		}
		if again == nil {
			_, again = r.Client.Do(ctx, "REPLICAOF", "NO", "ONE")
		}
		if again == nil {
			return nil
		}
		select {
		case <-time.After(watchInterval):
		case <-ctx.Done():
			return r.uncertain(fmt.Errorf("%s does not answer, and may have been promoted: %w", r.Address(), err))
		}
	}
}

// sameRun sees that the promoted server is the process that has applied
// everything, not one that was started since with an empty memory.
func (r *Replica) sameRun(infoServer any) error {
	text, ok := infoServer.(string)
	if id := server.ParseInfo(text)["run_id"]; !ok || id != r.runID {
		return fmt.Errorf("%s was restarted just before its promotion", r.Address())
	}
	return nil
}

func (r *Replica) uncertain(err error) error {
	return &UncertainError{Step: Promote, Err: err,
		Hint: fmt.Sprintf("see INFO replication on %s: if its role is master, run godwit again and it finishes the switch; if it is slave, run godwit again and %s serves as before; if the server is lost, send REPLICAOF NO ONE to %s",
			r.Address(), r.Old, r.Old)}
}
