package relay

import "godwit/internal/rdb"

// Verdict is what becomes of a command.
type Verdict int

// The verdicts of an Editor.
const (
	Keep    Verdict = iota // passes as it is
	Drop                   // replaced by no-ops of the same length, so that offsets stay the source's own
	Replace                // replaced by what the Editor has made of it
	Whole                  // not decided: all of its arguments are wanted
)

// Editor judges the commands of a stream, in order. A link without one passes
// bytes on without looking at them.
type Editor interface {
	// Edit is given a command's arguments, valid during the call. total is how
	// many it has; args may be fewer when the command is larger than headSize,
	// but hold at least its name, and only then may the verdict be Whole: the
	// same command comes again with all of its arguments. An error ends the link;
	// it should name the command and the key.
	//
	// To replace a command, Edit appends to dst what takes its place: whole
	// commands, or nothing. Its length must be the same each time: a link that goes
	// on after a crash counts by it. Where it is shorter than the command, no-ops
	// make up for that; only a link with OwnReplID may have it longer.
	Edit(dst []byte, args [][]byte, total int) (out []byte, verdict Verdict, err error)
	// LeftOut is what the Edit before has left out of a command that it replaced,
	// for want of an equal; nil for nothing. It is valid until the next Edit.
	LeftOut() []rdb.LeftOut
	// Reset is called before a stream begins: db is selected there. After a
	// snapshot that does not matter, because a primary begins with a SELECT then
	// (replication.c replicationSetupSlaveForFullResync).
	Reset(db int)
	// DB is the one that is selected after the last command that was judged. A link
	// that goes on after a crash is sent no SELECT where it begins.
	DB() int
}
