package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"godwit/internal/migrate"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/status/verdict"
	"godwit/internal/verify"
)

// defaultSamples is how many differences of each kind are shown with their values.
const defaultSamples = 3

// compareOptions are the flags that say what is compared and how.
type compareOptions struct {
	verify.Options
	drop  []rdb.Feature
	route route.Route // by which the keys of --from have their names and dbs at --to
	anew  bool
}

func (o *compareOptions) addFlags(cmd *cobra.Command) {
	o.Samples = defaultSamples
	fs := cmd.Flags()
	fs.Var(choiceValue[verify.Method]{&o.Method, []verify.Method{verify.Snapshot, verify.Scan}}, "method", "how both sides are read (default: by snapshots where both permit them)")
	fs.Var(shareValue{&o.Sample}, "sample", "compare only this share of the keys, such as 1%, chosen by their names")
	fs.StringVar(&o.Keys, "keys", "", "compare only keys that match this `pattern`, as in KEYS")
	fs.Var(dbsValue{&o.DBs}, "db", "compare only these dbs; repeat it or separate by commas")
	fs.Var(sizeValue{&o.MaxRate}, "max-rate", "read at most this much per second of each side, such as 50mb")
	fs.DurationVar(&o.MaxDuration, "max-duration", 0, "give up after this long")
	fs.IntVar(&o.Samples, "samples", o.Samples, "differences of each kind that are shown with both values")
	fs.Var(repairValue{&o.Options}, "repair", "make the target as the source where they differ; delete-extra: delete what only the target has, too")
	fs.Lookup("repair").NoOptDefVal = repairChanged
	fs.Var(featuresValue{&o.drop}, "drop", "what the target does not have and was left out, as in run; repeat it or separate by commas")
	fs.Var(&routeValue{route: &o.route}, "db-map", "with --from and --to: where the keys of one of the source's dbs went, as in run; repeat it for each db")
	fs.BoolVar(&o.anew, "anew", false, "with --from and --to: begin anew, rather than go on with a scan that was interrupted")
	completeChoices(cmd, "method", string(verify.Snapshot), string(verify.Scan))
	completeChoices(cmd, "repair", repairDelete)
	completeChoices(cmd, "drop", featureNames()...)
	completeNone(cmd, "sample", "keys", "db", "db-map", "max-rate", "max-duration", "samples")
}

// check puts together what the flags said.
func (o *compareOptions) check() error {
	switch {
	case o.MaxDuration < 0:
		return usagef("", "--max-duration %v: use a duration such as 10m, or 0 for no limit", o.MaxDuration)
	case o.Samples < 0:
		return usagef("", "--samples %d: use 0 or more", o.Samples)
	}
	o.Drop = make(map[rdb.Feature]bool)
	for _, f := range o.drop {
		o.Drop[f] = true
	}
	slices.Sort(o.DBs)
	return nil
}

// running are the options for a running migration, which knows the others by itself.
func (o *compareOptions) running() migrate.VerifyOptions {
	return migrate.VerifyOptions{
		Method: o.Method, Sample: o.Sample, Keys: o.Keys, DBs: o.DBs, MaxRate: o.MaxRate, MaxDuration: o.MaxDuration,
		Samples: o.Samples, Repair: o.Repair, DeleteExtra: o.DeleteExtra,
	}
}

// scope is what the comparison covers and how, in words that are the same for the
// same one: a comparison that was interrupted is known by them.
func (o *compareOptions) scope() string {
	return fmt.Sprintf("method=%s sample=%v keys=%q dbs=%v drop=%v repair=%v delete=%v map=%v",
		o.Method, o.Sample, o.Keys, o.DBs, slices.Sorted(maps.Keys(o.Drop)), o.Repair, o.DeleteExtra, o.route)
}

// shareValue is a share of the whole, 1% or 0.01.
type shareValue struct{ share *float64 }

func (v shareValue) String() string {
	if v.share == nil || *v.share == 0 {
		return ""
	}
	return strconv.FormatFloat(100**v.share, 'g', 6, 64) + "%"
}
func (v shareValue) Type() string { return "share" }

func (v shareValue) Set(text string) error {
	digits, percent := strings.CutSuffix(strings.TrimSpace(text), "%")
	share, err := strconv.ParseFloat(digits, 64)
	if percent {
		share /= 100
	}
	if err != nil || !(share > 0 && share <= 1) {
		return errors.New("use a share such as 1% or 0.01")
	}
	*v.share = share
	return nil
}

// dbsValue is a flag that takes numbers of dbs.
type dbsValue struct{ dbs *[]int }

func (v dbsValue) String() string {
	if v.dbs == nil {
		return ""
	}
	words := make([]string, len(*v.dbs))
	for i, db := range *v.dbs {
		words[i] = strconv.Itoa(db)
	}
	return strings.Join(words, ",")
}
func (v dbsValue) Type() string { return "dbs" }

func (v dbsValue) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		db, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || db < 0 {
			return fmt.Errorf("%q is not the number of a db", word)
		}
		if !slices.Contains(*v.dbs, db) {
			*v.dbs = append(*v.dbs, db)
		}
	}
	return nil
}

// repairValue is --repair or --repair=delete-extra.
type repairValue struct{ options *verify.Options }

// The words of --repair.
const (
	repairNot     = "false"
	repairChanged = "true"
	repairDelete  = "delete-extra"
)

func (v repairValue) String() string {
	switch {
	case v.options == nil || !v.options.Repair:
		return ""
	case v.options.DeleteExtra:
		return repairDelete
	}
	return repairChanged
}
func (v repairValue) Type() string { return repairDelete }

func (v repairValue) Set(text string) error {
	switch text {
	case repairNot, repairChanged, repairDelete:
		v.options.Repair, v.options.DeleteExtra = text != repairNot, text == repairDelete
		return nil
	}
	return fmt.Errorf("use --repair or --repair=%s", repairDelete)
}

// kindsValue is a flag that takes kinds of differences.
type kindsValue struct{ kinds *[]verify.Kind }

func (v kindsValue) String() string {
	if v.kinds == nil {
		return ""
	}
	words := make([]string, len(*v.kinds))
	for i, kind := range *v.kinds {
		words[i] = string(kind)
	}
	return strings.Join(words, ",")
}
func (v kindsValue) Type() string { return "kind" }

func (v kindsValue) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		kind := verify.Kind(strings.TrimSpace(word))
		if !slices.Contains(verify.Kinds(), kind) {
			return fmt.Errorf("%q: use %s", word, strings.Join(verdict.KindNames(), ", "))
		}
		if !slices.Contains(*v.kinds, kind) {
			*v.kinds = append(*v.kinds, kind)
		}
	}
	return nil
}
