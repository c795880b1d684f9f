package command

import (
	"fmt"
	"strconv"

	"godwit/internal/rdb"
)

// NoEqualError says that a command of the stream cannot be said in the target's
// words. As a replica the target would drop it without a word.
type NoEqualError struct {
	Command string      // in capitals
	Option  string      // empty if it is the command itself
	Feature rdb.Feature // what may be dropped instead; empty if nothing may
	DB      int         // the one selected
	Key     []byte      // the one that would change; nil if there is none
	Target  Version
	Reason  string // what the target does with it; by default it drops it without a word
}

func (e *NoEqualError) Error() string {
	what := e.Command
	if e.Option != "" {
		what += " … " + e.Option
	}
	if e.Feature != "" {
		what += " (" + string(e.Feature) + ")"
	}
	if e.Key != nil {
		what += fmt.Sprintf(" of db %d, key %.100q", e.DB, e.Key)
	}
	reason := "has no equal, and would drop it without a word"
	if e.Reason != "" {
		reason = e.Reason
	}
	return fmt.Sprintf("%s: %s %s", what, e.Target, reason)
}

// SyntaxError says that a command is not as its server propagates it.
type SyntaxError struct {
	Command string // in capitals
	Reason  string
	DB      int
	Key     []byte
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s of db %d, key %.100q: %s", e.Command, e.DB, e.Key, e.Reason)
}

// printable is an argument as errors show it.
func printable(arg []byte) string {
	const limit = 40
	quoted := strconv.Quote(string(arg[:min(len(arg), limit)]))
	return quoted[1 : len(quoted)-1]
}
