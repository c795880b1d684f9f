package command

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Learnt is what a server has said of its commands. The zero value is one that was
// not asked, or did not say.
type Learnt struct {
	commands map[string]listed // in capitals, subcommands after a bar; nil if COMMAND is not known
	renamed  map[string]listed // likewise; which it has by a name that it does not tell
	words    map[string]words  // likewise; of commands whose arguments are known
}

// listed is a command that a server has listed.
type listed struct {
	keys   KeySpec
	write  bool
	module bool // it is a module's; which one's is not said before 7.0

	// movable says that keys does not tell all of its keys.
	movable bool
}

// words are those of a command's arguments: tokens, which are in capitals, and of
// arguments without one their names, which are not. Those of a container's
// subcommands are its own too, and so are their names.
type words map[string]bool

// Commands takes the reply to COMMAND, as a tree of string, int64 and []any: a
// command is known from now on if it is in it. Subcommands are listed from 7.0 on,
// options never. The error is of a reply that is none, and changes nothing.
func (l *Learnt) Commands(reply any) error {
	list, _ := reply.([]any)
	commands := make(map[string]listed)
	if err := learnCommands(commands, list); err != nil {
		return err
	}
	if len(commands) == 0 {
		return errors.New("reply to COMMAND: no command in it")
	}
	l.commands = commands
	return nil
}

// Fields of an entry of COMMAND's reply (server.c addReplyCommandInfo).
const (
	fieldName = iota
	fieldArity
	fieldFlags
	fieldFirstKey
	fieldLastKey
	fieldStep
	fieldSubcommands = 9 // from 7.0 on
)

func learnCommands(commands map[string]listed, reply []any) error {
	for i, element := range reply {
		entry, ok := element.([]any)
		if !ok && element == nil {
			continue // COMMAND INFO of a command that is not known
		}
		if len(entry) <= fieldStep {
			return fmt.Errorf("reply to COMMAND: element %d is no command", i)
		}
		name, ok := entry[fieldName].(string)
		first, ok1 := entry[fieldFirstKey].(int64)
		last, ok2 := entry[fieldLastKey].(int64)
		step, ok3 := entry[fieldStep].(int64)
		if !ok || name == "" || !ok1 || !ok2 || !ok3 {
			return fmt.Errorf("reply to COMMAND: element %d is no command", i)
		}
		flags, _ := entry[fieldFlags].([]any)
		commands[strings.ToUpper(name)] = listed{
			keys:   KeySpec{First: int(first), Last: int(last), Step: int(step)},
			write:  slices.Contains(flags, any("write")),
			module: slices.Contains(flags, any("module")),

			movable: slices.Contains(flags, any("movablekeys")),
		}
		if len(entry) > fieldSubcommands {
			subcommands, _ := entry[fieldSubcommands].([]any) // nil for a command without
			if err := learnCommands(commands, subcommands); err != nil {
				return err
			}
		}
	}
	return nil
}

// Names lists the commands that are known, without their subcommands, in their order.
func (l *Learnt) Names() []string {
	var names []string
	for name := range l.commands {
		if !strings.Contains(name, "|") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Propagated lists those of them that may occur in a replication stream, in their
// order.
func (l *Learnt) Propagated() []string {
	names := propagated(l.commands)
	slices.Sort(names)
	return names
}

// Infos takes the reply to COMMAND INFO of all that are Propagated: a server lists a command that
// its configuration renamed by its proper name, and finds it by the other one alone
// (server.c commandCommand, commandInfoCommand). The error is of a reply that is
// none, and changes nothing.
func (l *Learnt) Infos(reply any) error {
	names := l.Propagated()
	list, _ := reply.([]any)
	if len(list) != len(names) {
		return fmt.Errorf("reply to COMMAND INFO: %d elements for %d commands", len(list), len(names))
	}
	l.renamed = make(map[string]listed)
	for i, name := range names {
		// Redis 6.0 and before answer with a nil list rather than nil.
		if entry, _ := list[i].([]any); len(entry) == 0 {
			l.renamed[name] = l.commands[name]
			delete(l.commands, name)
		}
	}
	return nil
}

// Worth lists the commands, by name, whose arguments are worth asking for: those
// that write, and those of which an option may be unknown.
func (l *Learnt) Worth() []string {
	worth := make(map[string]bool)
	for name, c := range l.commands {
		container, _, _ := strings.Cut(name, "|")
		worth[container] = worth[container] || c.write
	}
	for o := range options() {
		if name, _, isPart := strings.Cut(string(o), " "); isPart {
			_, known := l.commands[name]
			worth[name] = known
		}
	}
	maps.DeleteFunc(worth, func(_ string, wanted bool) bool { return !wanted })
	return slices.Sorted(maps.Keys(worth))
}

// Docs takes the reply to COMMAND DOCS of some commands, a map or a list of keys
// and values in turn: a word is known from now on if it is among a command's
// arguments. Of a command that it has no arguments of, it says nothing. The error
// is of a reply that is none, and changes nothing.
func (l *Learnt) Docs(reply any) error {
	all := make(map[string]words)
	if err := learnDocs(all, reply); err != nil {
		return err
	}
	if bitop := all["BITOP"]; bitop != nil {
		// Older than the documentation, and in that of 7.0 no tokens yet.
		for _, operation := range []string{"AND", "OR", "XOR", "NOT"} {
			bitop[operation] = true
		}
	}
	l.words = all
	return nil
}

// learnDocs reads what the server has on each command (server.c addReplyCommandDocs):
// among others "arguments" and "subcommands".
func learnDocs(all map[string]words, reply any) error {
	return eachPair(reply, func(name string, value any) error {
		found := make(words)
		err := eachPair(value, func(field string, value any) error {
			switch field {
			case "arguments":
				return found.learn(value)
			case "subcommands":
				parts := make(map[string]words)
				if err := learnDocs(parts, value); err != nil {
					return err
				}
				for part, has := range parts {
					all[part] = has
					_, sub, _ := strings.Cut(part, "|")
					found[sub] = true
					maps.Copy(found, has)
				}
			}
			return nil
		})
		all[strings.ToUpper(name)] = found
		return err
	})
}

// learn adds the words of arguments, which may have arguments of their own (server.c
// addReplyCommandArgList).
func (w words) learn(arguments any) error {
	list, ok := arguments.([]any)
	if !ok {
		return fmt.Errorf("reply to COMMAND DOCS: arguments of type %T", arguments)
	}
	for _, argument := range list {
		var name, token string
		err := eachPair(argument, func(field string, value any) error {
			switch field {
			case "name":
				name, _ = value.(string)
			case "token":
				token, _ = value.(string)
			case "arguments":
				return w.learn(value)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if token == "" {
			token = strings.ToLower(name)
		}
		w[token] = true
	}
	return nil
}

// eachPair goes through a map as RESP3 has it, or as RESP2 flattens it.
func eachPair(reply any, f func(key string, value any) error) error {
	switch reply := reply.(type) {
	case map[any]any:
		for key, value := range reply {
			name, ok := key.(string)
			if !ok {
				return fmt.Errorf("reply to COMMAND DOCS: a key of type %T", key)
			}
			if err := f(name, value); err != nil {
				return err
			}
		}
		return nil
	case []any:
		if len(reply)%2 != 0 {
			return errors.New("reply to COMMAND DOCS: a key without a value")
		}
		for i := 0; i < len(reply); i += 2 {
			name, ok := reply[i].(string)
			if !ok {
				return fmt.Errorf("reply to COMMAND DOCS: a key of type %T", reply[i])
			}
			if err := f(name, reply[i+1]); err != nil {
				return err
			}
		}
		return nil
	default:
		return fmt.Errorf("reply to COMMAND DOCS: %T where a map should be", reply)
	}
}

// documents tells whether a command has an option, as far as COMMAND DOCS told.
func (l *Learnt) documents(name, option string) (known, told bool) {
	if sub, rest, isOfPart := strings.Cut(option, " "); isOfPart {
		name, option = name+"|"+sub, rest
	}
	w := l.words[name]
	return w[option], len(w) > 0
}

// tokens are the words of a command that are neither names of arguments nor
// subcommands that only read.
func (l *Learnt) tokens(name string) []string {
	var tokens []string
	for w := range l.words[name] {
		sub, isSub := l.commands[name+"|"+w]
		if w == strings.ToUpper(w) && (!isSub || sub.write) {
			tokens = append(tokens, w)
		}
	}
	return tokens
}
