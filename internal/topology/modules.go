package topology

import (
	"slices"
	"strconv"
	"strings"

	"godwit/internal/rdb"
)

// Module is a module that a server has loaded, or has built in.
type Module struct {
	Name    string `json:"name"`
	Version int    `json:"version"` // as the module numbers itself
}

// String is the module and its version.
func (m Module) String() string { return m.Name + " " + strconv.Itoa(m.Version) }

// Modules that are built into some servers. Vector sets came with Redis 8; the Lua
// engine of Valkey 9 is part of every other server.
const (
	VectorSets = "vectorset"
	luaEngine  = "lua"
)

// infoModules reads "module:name=NAME,ver=VERSION,..." lines, all of the same name,
// and so not to be had from a map (module.c genModulesInfoString).
func infoModules(text string) []Module {
	modules := []Module{}
	for line := range strings.Lines(text) {
		value, ok := strings.CutPrefix(strings.TrimRight(line, "\r\n"), "module:")
		if ok {
			fields := infoFields(value)
			modules = append(modules, Module{Name: fields["name"], Version: int(fields.Int("ver"))})
		}
	}
	slices.SortFunc(modules, func(a, b Module) int { return strings.Compare(a.Name, b.Name) })
	return modules
}

// Module finds a module by its name.
func (n Node) Module(name string) (Module, bool) {
	for _, m := range n.Modules {
		if m.Name == name {
			return m, true
		}
	}
	return Module{}, false
}

// HasModule tells whether a module of that name is loaded or built in.
func (n Node) HasModule(name string) bool {
	_, has := n.Module(name)
	return has
}

// LoadedModules are those of n that are not built in.
func (n Node) LoadedModules() []Module {
	var loaded []Module
	for _, m := range n.Modules {
		if m.Name != VectorSets && m.Name != luaEngine {
			loaded = append(loaded, m)
		}
	}
	return loaded
}

// MissingModules are those that source has loaded and n has not, built-in ones
// aside.
func (n Node) MissingModules(source Node) []Module {
	var missing []Module
	for _, m := range source.LoadedModules() {
		if !n.HasModule(m.Name) {
			missing = append(missing, m)
		}
	}
	return missing
}

// OtherModules are those that source has loaded at another version than n, as
// source and n have them, built-in ones aside.
func (n Node) OtherModules(source Node) [][2]Module {
	var others [][2]Module
	for _, m := range source.LoadedModules() {
		if own, has := n.Module(m.Name); has && own != m {
			others = append(others, [2]Module{m, own})
		}
	}
	return others
}

// LacksModules tells whether n lacks a module that source has loaded, built-in ones
// aside, or has it at another version that is not accepted.
func (n Node) LacksModules(source Node, accepted []string) bool {
	return len(n.MissingModules(source)) > 0 || slices.ContainsFunc(n.OtherModules(source), func(m [2]Module) bool {
		return !slices.Contains(accepted, m[0].Name)
	})
}

// LoadsModulesOf tells of which modules' values n loads those of source: of all if
// it has all of source's modules at their versions, or at any where that is
// accepted. A value names its type and not the module, so they are not told apart.
func (n Node) LoadsModulesOf(source Node, accepted []string) func(rdb.ModuleID) bool {
	loads := !n.LacksModules(source, accepted)
	return func(id rdb.ModuleID) bool {
		if id.Name() == VectorSets {
			return n.HasModule(VectorSets)
		}
		return loads
	}
}
