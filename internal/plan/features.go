package plan

import (
	"fmt"
	"slices"
	"strings"

	"godwit/internal/command"
	"godwit/internal/rdb"
	"godwit/internal/topology"
)

// feature is something that a server may have no equal for, in words.
type feature struct {
	rdb.Feature
	name     string   // as people say it, many of them
	commands []string // of clients, which bring it into being
}

// features are those that can come up between servers that a plan allows.
func features() []feature {
	return []feature{
		{rdb.FeatureHashFieldTTL, "TTLs on fields of hashes", []string{"HEXPIRE", "HPEXPIRE", "HEXPIREAT", "HPEXPIREAT", "HSETEX", "HGETEX"}},
		{rdb.FeatureVectorSet, "vector sets", []string{"VADD", "VSETATTR"}},
		{rdb.FeatureStreamIDMP, "producers of XADD IDMP", []string{"XCFGSET"}},
		{rdb.FeatureFunction, "functions", []string{"FUNCTION|LOAD", "FUNCTION|RESTORE"}},
		{command.FeatureGeoStore, "equal results of stored searches by distance", []string{"GEOSEARCHSTORE"}},
	}
}

// lacks tells whether to cannot hold something that from can.
func lacks(from, to topology.Node, f rdb.Feature) bool {
	if f == command.FeatureGeoStore {
		return command.StoresGeoOtherwise(from.Capabilities().Version, to.Capabilities().Version)
	}
	theirs := from.RDBFormat()
	if !theirs.Known() {
		return false
	}
	lacking := slices.Contains(to.RDBFormat().Lacks(theirs), f)
	if f == rdb.FeatureVectorSet { // Redis 7.4 has the format of 8.0, and no vector sets
		return from.HasModule(vectorSets) && (lacking || !to.HasModule(vectorSets))
	}
	return lacking
}

// lacks tells whether the target cannot hold something that the source can.
func (in *input) lacks(f rdb.Feature) bool {
	if f == rdb.FeatureModule {
		return in.Target.LacksModules(in.Source, in.AcceptModules)
	}
	return lacks(in.Source, in.Target, f)
}

// drops tells whether the user would rather lose it.
func (in *input) drops(f rdb.Feature) bool { return slices.Contains(in.Drop, f) }

// SurveyOf says what is worth looking for at a source, before a target.
func SurveyOf(source, target topology.Node) topology.SurveyOptions {
	return topology.SurveyOptions{
		VectorSets: lacks(source, target, rdb.FeatureVectorSet),
		Producers:  lacks(source, target, rdb.FeatureStreamIDMP),
		Libraries:  lacks(source, target, rdb.FeatureFunction) || !callsServer(target) && callsServer(source),
	}
}

// callsServer tells whether functions may call server.* (Valkey, from 8.0 on).
func callsServer(n topology.Node) bool {
	return n.RDBFormat().Family == rdb.Valkey && n.Version.AtLeast(8, 0)
}

// found is how much of a feature the source is known to hold, and an example of
// it. known is false where that could not be found out for all of its data.
func (in *input) found(f rdb.Feature) (n int64, example string, known bool) {
	switch f {
	case rdb.FeatureHashFieldTTL:
		return in.Source.FieldExpires(), "", true
	case rdb.FeatureFunction:
		return int64(in.Source.Libraries), list(in.libraries(func(topology.Library) bool { return true })), true
	}
	if in.Source.Survey == nil {
		return 0, "", false
	}
	if f == command.FeatureGeoStore { // GEORADIUS may store, and statistics do not tell
		return 0, "", in.Source.Survey.Calls["GEORADIUS"]+in.Source.Survey.Calls["GEORADIUSBYMEMBER"] == 0
	}
	sample, taken := in.Source.Survey.Samples[f]
	if sample.Found > 0 {
		example = fmt.Sprintf("key %.100q of db %d", sample.Key, sample.DB)
	}
	return sample.Found, example, taken && sample.Whole
}

// libraries names those of the source's libraries that a test picks, as far as
// they are known.
func (in *input) libraries(pick func(topology.Library) bool) []string {
	if in.Source.Survey == nil {
		return nil
	}
	var names []string
	for _, l := range in.Source.Survey.Libraries {
		if pick(l) {
			names = append(names, l.Name)
		}
	}
	return names
}

// calls is how often clients have used a feature, "HEXPIRE (12 calls)" for each
// command. known is false where there are no statistics.
func (in *input) calls(f feature) (used []string, known bool) {
	if in.Source.Survey == nil {
		return nil, false
	}
	for _, c := range f.commands {
		if n := in.Source.Survey.Calls[c]; n > 0 {
			used = append(used, fmt.Sprintf("%s (%s)", strings.ReplaceAll(c, "|", " "), count(n, "call", "calls")))
		}
	}
	return used, true
}

// open are the features that the target does not have, that the source holds
// nothing of as far as is known, and that are not to be dropped.
func (in *input) open() []feature {
	var open []feature
	for _, f := range features() {
		if n, _, _ := in.found(f.Feature); n == 0 && in.lacks(f.Feature) && !in.drops(f.Feature) {
			open = append(open, f)
		}
	}
	return open
}

// newAtTarget names what the target has and the source has no equal for.
func (in *input) newAtTarget() string {
	var names []string
	for _, f := range features() {
		if lacks(in.Target, in.Source, f.Feature) {
			names = append(names, f.name)
		}
	}
	for _, m := range in.Source.MissingModules(in.Target) {
		names = append(names, "module "+m.Name)
	}
	return list(append(names, "options of some commands"))
}

// featureNames are what people call them.
func featureNames(all []feature) []string {
	names := make([]string, len(all))
	for i, f := range all {
		names[i] = f.name
	}
	return names
}

// dropFlag is the flag that leaves all of them out.
func dropFlag(all []feature) string {
	var words []string
	for _, f := range all {
		words = append(words, string(f.Feature))
	}
	return "--drop " + strings.Join(words, ",")
}
