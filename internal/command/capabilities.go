package command

import (
	"slices"
	"strings"

	"godwit/internal/rdb"
)

// Capabilities are what a server knows. Make them with NewCapabilities.
type Capabilities struct {
	Version   Version
	Format    rdb.Format // the newest that it loads
	Databases int        // 0 if not known
	Learnt    Learnt     // from the server itself; what it says counts, before the tables

	// Module tells whether the server can load values of that module; nil means
	// none. Vector sets are values of a module, see rdb.TranscoderOptions.
	Module func(rdb.ModuleID) bool

	options map[Option]since
}

// NewCapabilities are those of a version, until the server itself is asked.
func NewCapabilities(v Version, f rdb.Format, databases int) Capabilities {
	return Capabilities{Version: v, Format: f, Databases: databases, options: options()}
}

// Has tells whether the server knows a command, subcommand or option.
func (c *Capabilities) Has(o Option) bool {
	name, rest, isPart := strings.Cut(string(o), " ")
	if commands := c.Learnt.commands; commands != nil {
		if _, known := commands[name]; !known {
			return false
		}
		if !isPart {
			return true
		}
		if _, known := commands[name+"|"+rest]; known {
			return true
		}
	}
	if isPart {
		if known, told := c.Learnt.documents(name, rest); told {
			return known
		}
	}
	if s, later := c.options[o]; later {
		return s.includes(c.Version)
	}
	return true
}

// hasSubcommand is Has for a subcommand that a table may never have heard of.
func (c *Capabilities) hasSubcommand(name, sub string) bool {
	if _, known := c.Learnt.commands[name+"|"+sub]; known {
		return true
	}
	listed := false // a container is listed with all its subcommands, or with none
	for command := range c.Learnt.commands {
		listed = listed || strings.HasPrefix(command, name+"|")
	}
	return !listed && c.Has(Option(name+" "+sub))
}

// names lists the commands that are known.
func (c *Capabilities) names() []string {
	if c.Learnt.commands != nil {
		return c.Learnt.Names()
	}
	names := oldCommands()
	for o, s := range c.options {
		if !strings.Contains(string(o), " ") && s.includes(c.Version) {
			names = append(names, string(o))
		}
	}
	return names
}

// writes lists the commands that may occur in the server's replication stream.
func (c *Capabilities) writes() []string {
	if c.Learnt.commands == nil {
		return c.names()
	}
	return propagated(c.Learnt.commands)
}

// propagated are the commands of a list that may occur in a replication stream.
func propagated(commands map[string]listed) []string {
	var names []string
	for name, command := range commands {
		switch name {
		case "MIGRATE", "XREADGROUP":
			continue // propagated as DEL, and as XCLAIM and XGROUP
		case "PFCOUNT", "PUBLISH", "SPUBLISH", "SCRIPT", "FUNCTION":
			command.write = true // propagated without that flag of their own
		}
		if command.write && !strings.Contains(name, "|") {
			names = append(names, name)
		}
	}
	return names
}

// knows tells of a command that writes, which no table may have heard of.
func (c *Capabilities) knows(name string) bool {
	if _, later := c.options[Option(name)]; later || c.Learnt.commands != nil {
		return c.Has(Option(name))
	}
	return slices.Contains(oldCommands(), name)
}
