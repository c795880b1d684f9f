package relay

import (
	"fmt"
	"strconv"
	"strings"

	"godwit/internal/server"
)

// Guard is an Editor that ends the link at the first command that the target
// would not carry out. An older server as a replica swallows commands and
// options that it does not know: the link stays up, the offsets are equal and
// the data is missing. So where the source is another product or a newer
// version than the target, each command is looked at.
type Guard struct {
	known     map[string]struct{} // names in capitals
	target    server.Version
	databases int
	name      [maxName]byte
}

const maxName = 64

// NewGuard makes a guard for a target that knows these commands, by any case,
// and has that many dbs, 0 for not known.
func NewGuard(commands []string, target server.Version, databases int) *Guard {
	g := &Guard{known: make(map[string]struct{}, len(commands)), target: target, databases: databases}
	for _, c := range commands {
		g.known[strings.ToUpper(c)] = struct{}{}
	}
	return g
}

// UnknownCommandError says which command the target would not have carried out.
type UnknownCommandError struct {
	Command string
	Option  string // empty when the command itself is unknown
	Key     string
	Target  server.Version
}

func (e *UnknownCommandError) Error() string {
	what := e.Command
	if e.Option != "" {
		what += " … " + e.Option
	}
	return fmt.Sprintf("%s of key %.100q: %s does not know it, and would drop it without a word", what, e.Key, e.Target)
}

// Edit keeps what the target knows.
func (g *Guard) Edit(dst []byte, args [][]byte, total int) ([]byte, Verdict, error) {
	name := args[0]
	if len(name) > maxName {
		return dst, Keep, g.unknown(args, "")
	}
	upper := g.name[:len(name)]
	for i, c := range name {
		if 'a' <= c && c <= 'z' {
			c -= 'a' - 'A'
		}
		upper[i] = c
	}
	if _, ok := g.known[string(upper)]; !ok {
		return dst, Keep, g.unknown(args, "")
	}
	if option := g.option(upper, args, total); option != "" {
		return dst, Keep, g.unknown(args, option)
	}
	return dst, Keep, nil
}

// option finds an option that came later than the target's version. Only
// places where a command has options are looked at, so that no value is
// mistaken for one.
func (g *Guard) option(name []byte, args [][]byte, total int) string {
	switch string(name) {
	case "SELECT":
		// A replica stays in the db it was in, and writes there.
		if len(args) > 1 && g.databases > 0 {
			if db, err := strconv.Atoi(string(args[1])); err != nil || db >= g.databases {
				return "db"
			}
		}
	case "SET":
		if len(args) < total && total > 3 {
			return "an option behind a value too large to look beyond"
		}
		for i := 3; i < len(args); i++ {
			switch o := args[i]; {
			case equalFold(o, "EX") || equalFold(o, "PX"):
				i++
			case equalFold(o, "EXAT") || equalFold(o, "PXAT"):
				if !g.target.AtLeast(6, 2) {
					return string(o)
				}
				i++
			case equalFold(o, "NX") || equalFold(o, "XX") || equalFold(o, "KEEPTTL") || equalFold(o, "GET"):
			default:
				return string(o) // IFEQ and what may come after it
			}
		}
	case "XADD", "XTRIM":
		for _, o := range streamOptions(args[min(2, len(args)):]) {
			known := false // IDMP and what may come after it
			switch {
			case isOneOf(o, "MAXLEN", "LIMIT"):
				known = true
			case isOneOf(o, "NOMKSTREAM", "MINID"):
				known = g.target.AtLeast(6, 2)
			case isOneOf(o, "KEEPREF", "DELREF", "ACKED"):
				known = g.target.Product == server.Redis && g.target.AtLeast(8, 2)
			}
			if !known {
				return string(o)
			}
		}
	case "ZADD", "GEOADD":
		for _, o := range args[min(2, len(args)):] {
			if !isOneOf(o, "NX", "XX", "CH", "INCR", "GT", "LT") {
				break // the first score
			}
			if !g.target.AtLeast(6, 2) && (name[0] == 'G' || isOneOf(o, "GT", "LT")) {
				return string(o)
			}
		}
	case "XSETID":
		if !g.target.AtLeast(7, 0) && len(args) > 3 {
			return string(args[3])
		}
	case "XGROUP":
		if g.target.AtLeast(7, 0) {
			return ""
		}
		for _, o := range args[min(5, len(args)):] {
			if isOneOf(o, "ENTRIESREAD") {
				return string(o)
			}
		}
	case "LPOP", "RPOP":
		if !g.target.AtLeast(6, 2) && len(args) > 2 {
			return "count"
		}
	}
	return ""
}

func (g *Guard) unknown(args [][]byte, option string) error {
	e := &UnknownCommandError{Command: strings.ToUpper(string(args[0][:min(len(args[0]), maxName)])), Option: option, Target: g.target}
	if len(args) > 1 {
		e.Key = string(args[1][:min(len(args[1]), 100)])
	}
	return e
}

// streamOptions are the option words of an XADD or XTRIM among what follows its
// key. An XADD in a stream has an explicit ID, which begins with a digit and
// ends them.
func streamOptions(args [][]byte) (options [][]byte) {
	for i := 0; i < len(args); i++ {
		word := args[i]
		if len(word) == 0 || '0' <= word[0] && word[0] <= '9' {
			break
		}
		options = append(options, word)
		switch {
		case isOneOf(word, "MAXLEN", "MINID"):
			if i++; i < len(args) && isOneOf(args[i], "=", "~") {
				i++ // now at the threshold
			}
		case isOneOf(word, "LIMIT"):
			i++
		}
	}
	return options
}

func isOneOf(b []byte, words ...string) bool {
	for _, w := range words {
		if equalFold(b, w) {
			return true
		}
	}
	return false
}

func equalFold(b []byte, word string) bool {
	return len(b) == len(word) && strings.EqualFold(string(b), word)
}
