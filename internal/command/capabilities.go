package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"godwit/internal/rdb"
)

// Capabilities are what a server knows. Make them with NewCapabilities.
type Capabilities struct {
	Version   Version
	Format    rdb.Format // the newest that it loads
	Databases int        // 0 if not known

	// Module tells whether the server can load values of that module; nil means
	// none. Vector sets are values of a module, see rdb.TranscoderOptions.
	Module func(rdb.ModuleID) bool

	commands  map[string]listed // in capitals, subcommands after a bar; nil until it was asked
	overruled map[Option]bool
	options   map[Option]since
}

// listed is a command that a server has listed.
type listed struct {
	keys  KeySpec
	write bool
}

// NewCapabilities are those of a version, until the server itself is asked.
func NewCapabilities(v Version, f rdb.Format, databases int) Capabilities {
	return Capabilities{Version: v, Format: f, Databases: databases, overruled: make(map[Option]bool), options: options()}
}

// Learn takes the reply to COMMAND, as a tree of string, int64 and []any, and
// goes by it from now on: a command is known if it is in it. Subcommands are
// listed from 7.0 on, and taken from the tables before; options are never listed.
func (c *Capabilities) Learn(reply []any) error {
	commands := make(map[string]listed)
	if err := learn(commands, reply); err != nil {
		return err
	}
	if len(commands) == 0 {
		return errors.New("reply to COMMAND: no command in it")
	}
	c.commands = commands
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

func learn(commands map[string]listed, reply []any) error {
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
			keys:  KeySpec{First: int(first), Last: int(last), Step: int(step)},
			write: slices.Contains(flags, any("write")),
		}
		if len(entry) > fieldSubcommands {
			subcommands, _ := entry[fieldSubcommands].([]any) // nil for a command without
			if err := learn(commands, subcommands); err != nil {
				return err
			}
		}
	}
	return nil
}

// Overrule says that the server knows an option, or does not, whatever the tables
// say: because it was tried.
func (c *Capabilities) Overrule(o Option, known bool) { c.overruled[o] = known }

// Has tells whether the server knows a command, subcommand or option.
func (c *Capabilities) Has(o Option) bool {
	if known, ok := c.overruled[o]; ok {
		return known
	}
	name, rest, isPart := strings.Cut(string(o), " ")
	if c.commands != nil {
		if _, known := c.commands[name]; !known {
			return false
		}
		if !isPart {
			return true
		}
		// A container is listed with all its subcommands, or with none.
		if _, known := c.commands[name+"|"+rest]; known {
			return true
		}
	}
	if s, later := c.options[o]; later {
		return s.includes(c.Version)
	}
	return true
}

// hasSubcommand is Has for a subcommand that a table may never have heard of.
func (c *Capabilities) hasSubcommand(name, sub string) bool {
	if known, ok := c.overruled[Option(name+" "+sub)]; ok {
		return known
	}
	if _, known := c.commands[name+"|"+sub]; known {
		return true
	}
	listed := false
	for command := range c.commands {
		listed = listed || strings.HasPrefix(command, name+"|")
	}
	return !listed && c.Has(Option(name+" "+sub))
}

// names lists the commands that are known.
func (c *Capabilities) names() []string {
	var names []string
	if c.commands != nil {
		for name := range c.commands {
			if !strings.Contains(name, "|") {
				names = append(names, name)
			}
		}
		return names
	}
	names = oldCommands()
	for o, s := range c.options {
		if !strings.Contains(string(o), " ") && s.includes(c.Version) {
			names = append(names, string(o))
		}
	}
	return names
}
