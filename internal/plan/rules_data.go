package plan

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"godwit/internal/rdb"
	"godwit/internal/topology"
)

// defaultDBs is what "databases" is where nobody has changed it.
const defaultDBs = 16

// dataRules see that the target can take what the source holds.
func dataRules() []rule {
	rules := []rule{
		{"target-has-keys", blocker, func(in *input) (string, string) {
			held := holdings(in.Target)
			if held == "" || in.Replace || in.attached() {
				return "", ""
			}
			return "the target holds " + held + ", which the copy would wipe", "name an empty server, or let them go with --replace"
		}},
		{"target-wiped", warning, func(in *input) (string, string) {
			held := holdings(in.Target)
			if held == "" || !in.Replace || in.attached() {
				return "", ""
			}
			return "the target will lose " + held + " (--replace)", ""
		}},
		// A replica that is sent a db it does not have exits while it loads a
		// snapshot, and writes to the wrong db when it reads the stream.
		{"databases", blocker, func(in *input) (string, string) {
			has, highest := databases(in.Target), in.Source.HighestDB()
			if int64(highest) < has || in.mayMap() {
				return "", ""
			}
			return fmt.Sprintf("the source has keys in db %d, and the target has only dbs 0 to %d", highest, has-1),
				fmt.Sprintf("set \"databases %d\" in the target's configuration file and restart it", max(databases(in.Source), int64(highest)+1))
		}},
		{"databases-fewer", warning, func(in *input) (string, string) {
			from, to := databases(in.Source), databases(in.Target)
			if from <= to || int64(in.Source.HighestDB()) >= to || in.mayMap() {
				return "", ""
			}
			return fmt.Sprintf("the source has dbs 0 to %d, and the target only 0 to %d: a client that writes to a higher one stops the migration", from-1, to-1),
				fmt.Sprintf("set \"databases %d\" in the target's configuration file and restart it", from)
		}},
		{"modules", blocker, func(in *input) (string, string) {
			var missing []string
			for _, m := range in.Target.MissingModules(in.Source) {
				missing = append(missing, m.Name)
			}
			if len(missing) == 0 || in.drops(rdb.FeatureModule) {
				return "", ""
			}
			return "the source has modules that the target lacks: " + list(missing),
				"load them at the target: " + in.Target.CLI("MODULE", "LOAD", "PATH") + ", or leave out all that modules hold and do with --drop " + string(rdb.FeatureModule)
		}},
		{"modules-version", blocker, func(in *input) (string, string) {
			others := otherModules(in, false)
			if len(others) == 0 || in.drops(rdb.FeatureModule) {
				return "", ""
			}
			return "the target has modules of the source at another version, which may not read its values: " + list(others),
				"load the source's version at the target, or take it as it is: --accept-module NAME"
		}},
		{"modules-accepted", warning, func(in *input) (string, string) {
			others := otherModules(in, true)
			if len(others) == 0 {
				return "", ""
			}
			return "the target must read the values of a module of another version: " + list(others) + " (--accept-module)", ""
		}},
		{"modules-dropped", warning, func(in *input) (string, string) {
			if !in.drops(rdb.FeatureModule) || !in.lacks(rdb.FeatureModule) {
				return "", ""
			}
			var names []string
			for _, m := range in.Source.LoadedModules() {
				names = append(names, m.Name)
			}
			return "the target does not get what modules of the source hold, nor what their commands write, to ordinary keys too: " + list(names) + " (--drop " + string(rdb.FeatureModule) + ")", ""
		}},
		{"target-not-persistent", warning, func(in *input) (string, string) {
			if persistence(in.Source) == "" || in.Target.Settings == nil || persistence(in.Target) != "" {
				return "", ""
			}
			return fmt.Sprintf("the source persists its data (%s), and the target does not: a restart of the target loses everything", persistence(in.Source)),
				"after the copy: " + in.Target.CLI("CONFIG", "SET", "appendonly", "yes") + ", then CONFIG REWRITE"
		}},
		{"target-persists", note, func(in *input) (string, string) {
			if persistence(in.Target) == "" {
				return "", ""
			}
			return fmt.Sprintf("the target persists its data (%s): it forks once the copy is loaded, or while it is", persistence(in.Target)), ""
		}},
		{"source-saving", note, func(in *input) (string, string) {
			if !in.Source.Persistence.Saving {
				return "", ""
			}
			return "the source is writing a snapshot of its own: the copy may have to wait for its end", ""
		}},
	}
	return rules
}

// holdings is what a full resync would wipe, empty for nothing.
func holdings(n topology.Node) string {
	var held []string
	if keys := n.Keys(); keys > 0 {
		text := count(keys, "key", "keys")
		if len(n.DBs) == 1 {
			text += fmt.Sprintf(" in db %d", n.DBs[0].Number)
		} else {
			text += fmt.Sprintf(" in %d dbs", len(n.DBs))
		}
		held = append(held, text)
	}
	if n.Libraries > 0 {
		held = append(held, count(int64(n.Libraries), "library of functions", "libraries of functions"))
	}
	return list(held)
}

// databases is how many dbs a server has, the default where it does not say.
func databases(n topology.Node) int64 {
	if has, ok := n.Settings.Int("databases"); ok {
		return has
	}
	return defaultDBs
}

// vectorSets is built into Redis 8 as a module.
const vectorSets = topology.VectorSets

// otherModules says which of the source's modules the target has at another
// version, of those that the user accepts or of those not.
func otherModules(in *input, accepted bool) []string {
	var names []string
	for _, m := range in.Target.OtherModules(in.Source) {
		if slices.Contains(in.AcceptModules, m[0].Name) == accepted {
			names = append(names, fmt.Sprintf("%s (version %d at the source, %d at the target)", m[0].Name, m[0].Version, m[1].Version))
		}
	}
	return names
}

// persistence says how a server persists its data, empty if it does not, or if
// it does not tell.
func persistence(n topology.Node) string {
	var how []string
	if n.Persistence.AOF {
		how = append(how, "appendonly yes")
	}
	if save := n.Settings["save"]; save != "" {
		how = append(how, "save "+strconv.Quote(save))
	}
	return strings.Join(how, ", ")
}
