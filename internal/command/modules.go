package command

import (
	"strings"

	"godwit/internal/rdb"
)

// loadsModules tells whether values of modules that are not built in load. It is
// all of them or none: neither a value nor, before 7.0, a command says which module
// it is of.
func (c *Capabilities) loadsModules() bool { return c.Module != nil && c.Module(0) }

// ofModules are the commands of modules that the server has loaded, and whether
// they write. Those of modules that are built in, of vector sets, have rules of
// their own.
func (c *Capabilities) ofModules() map[string]bool {
	builtIn := optionRules()
	commands := make(map[string]bool)
	for name, command := range c.Learnt.commands {
		if _, known := builtIn[name]; command.module && !known && !strings.Contains(name, "|") {
			commands[name] = command.write
		}
	}
	return commands
}

// ofModule is a command of a module that the target lacks, or has at a version
// that is not accepted. Where the module's values are left out of the copy, a
// target that has the command would make others of what is added from now on.
func (r *Rewriter) ofModule() (Verdict, error) { return Replace, r.noFeature(rdb.FeatureModule, "") }
