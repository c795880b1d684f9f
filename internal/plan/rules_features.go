package plan

import (
	"fmt"

	"godwit/internal/rdb"
	"godwit/internal/topology"
)

// featureRules find what the source uses and the target has no equal for.
func featureRules() []rule {
	return []rule{
		{"field-ttl", blocker, func(in *input) (string, string) {
			n, _, _ := in.found(rdb.FeatureHashFieldTTL)
			if n == 0 || !in.lacks(rdb.FeatureHashFieldTTL) || in.drops(rdb.FeatureHashFieldTTL) {
				return "", ""
			}
			return fmt.Sprintf("%s of the source with a TTL on a field, which the target (%s) does not have", count(n, "hash", "hashes"), in.Target.Version),
				"choose a target that has them (Redis from 7.4, Valkey from 9.0 on), remove these TTLs with HPERSIST, or leave them out with --drop " + string(rdb.FeatureHashFieldTTL)
		}},
		{"vector-set", blocker, func(in *input) (string, string) {
			return in.sampled(rdb.FeatureVectorSet, "vector set", "vector sets", "delete them")
		}},
		{"stream-producers", blocker, func(in *input) (string, string) {
			return in.sampled(rdb.FeatureStreamIDMP, "stream that remembers producers of XADD IDMP", "streams that remember producers of XADD IDMP", "wait until they are forgotten (XCFGSET IDMP-DURATION)")
		}},
		{"functions", blocker, func(in *input) (string, string) {
			n, names, _ := in.found(rdb.FeatureFunction)
			if n == 0 || !in.lacks(rdb.FeatureFunction) || in.drops(rdb.FeatureFunction) {
				return "", ""
			}
			if names != "" {
				names = " (" + names + ")"
			}
			return fmt.Sprintf("the source has %s of functions%s, which the target (%s) does not know", count(n, "library", "libraries"), names, in.Target.Version),
				"choose a target from 7.0 on, delete them: " + in.Source.CLI("FUNCTION", "FLUSH") + ", or leave them out with --drop " + string(rdb.FeatureFunction)
		}},
		// A library that does not load ends the loading of the whole snapshot.
		{"functions-server", blocker, func(in *input) (string, string) {
			names := in.libraries(func(l topology.Library) bool { return l.Server })
			if len(names) == 0 || callsServer(in.Target) || in.lacks(rdb.FeatureFunction) {
				return "", ""
			}
			return fmt.Sprintf("functions of the source call server.*, which the target (%s) does not have: %s", in.Target.Version, list(names)),
				"have them call redis.*, which every server has, with FUNCTION LOAD REPLACE, or FUNCTION DELETE them"
		}},
		{"used-commands", warning, func(in *input) (string, string) {
			var commands []string
			var used []feature
			for _, f := range in.open() {
				if calls, _ := in.calls(f); len(calls) > 0 {
					commands, used = append(commands, calls...), append(used, f)
				}
			}
			if len(used) == 0 {
				return "", ""
			}
			return fmt.Sprintf("clients of the source have used %s since its statistics began, and the target has no %s: the next one ends the link, by name", list(commands), alternatives(featureNames(used))),
				"see that no client sends them any more, or leave out what they do with " + dropFlag(used)
		}},
		{"later", warning, func(in *input) (string, string) {
			open := in.unsure()
			if len(open) == 0 {
				return "", ""
			}
			hint := "see that no client uses them, or leave them out with " + dropFlag(open)
			for _, f := range open {
				if f.Feature == rdb.FeatureVectorSet {
					hint += "; to see whether there is a vector set, cursor by cursor: " + in.Source.CLI("SCAN", "0", "TYPE", vectorSets, "COUNT", "10000")
				}
			}
			return "the target has no " + alternatives(featureNames(open)) + ", and it is not known that the source uses none: the first one found stops the migration", hint
		}},
		{"unused", note, func(in *input) (string, string) {
			unsure := make(map[rdb.Feature]bool)
			for _, f := range in.unsure() {
				unsure[f.Feature] = true
			}
			var unused []feature
			for _, f := range in.open() {
				if calls, _ := in.calls(f); len(calls) == 0 && !unsure[f.Feature] {
					unused = append(unused, f)
				}
			}
			if len(unused) == 0 {
				return "", ""
			}
			return "the target has no " + alternatives(featureNames(unused)) + "; the source has none either, and no client has used them since its statistics began. Should one appear, the migration stops", ""
		}},
		{"dropped", warning, func(in *input) (string, string) {
			return in.dropped(in.lacks, "what the target does not have is left out, and counted: %s (--drop)")
		}},
		{"dropped-back", warning, func(in *input) (string, string) {
			if !in.wantsBack() {
				return "", ""
			}
			return in.dropped(in.lostBack, "on the way back %s is left out, and counted (--drop), so a rollback keeps every other write")
		}},
		{"drop-needless", note, func(in *input) (string, string) {
			return in.dropped(func(f rdb.Feature) bool { return !in.lacks(f) && !in.lostBack(f) }, "--drop %s leaves nothing out: neither server lacks what the other one has of it")
		}},
	}
}

// sampled is the finding of what a scan has found.
func (in *input) sampled(f rdb.Feature, one, many, mend string) (text, hint string) {
	n, example, whole := in.found(f)
	if n == 0 || !in.lacks(f) || in.drops(f) {
		return "", ""
	}
	least := ""
	if !whole {
		least = "at least "
	}
	return fmt.Sprintf("the source has %s%s, such as %s, which the target (%s) cannot be sent", least, count(n, one, many), example, in.Target.Version),
		fmt.Sprintf("choose a target of the source's version or newer, %s, or leave them out with --drop %s", mend, f)
}

// unsure are the open features that clients are not known to have used, and of
// which the source may hold something all the same.
func (in *input) unsure() []feature {
	var unsure []feature
	for _, f := range in.open() {
		_, _, whole := in.found(f.Feature)
		calls, counted := in.calls(f)
		if len(calls) == 0 && (!whole || !counted) {
			unsure = append(unsure, f)
		}
	}
	return unsure
}

// lostBack tells whether the source lacks what the target has.
func (in *input) lostBack(f rdb.Feature) bool {
	if f == rdb.FeatureModule {
		return in.Source.LacksModules(in.Target, in.AcceptModules)
	}
	return lacks(in.Target, in.Source, f)
}

// dropped is a finding about the features to drop that a test picks; format is
// given their names.
func (in *input) dropped(pick func(rdb.Feature) bool, format string) (text, hint string) {
	var names []string
	for _, f := range in.Drop {
		if pick(f) {
			names = append(names, string(f))
		}
	}
	if len(names) == 0 {
		return "", ""
	}
	return fmt.Sprintf(format, list(names)), ""
}
