package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/internal/command"
	"godwit/internal/migrate"
	"godwit/internal/rdb"
	"godwit/internal/route"
	"godwit/internal/status/units"
)

// choiceValue is a flag that takes one of a few words.
type choiceValue[T ~string] struct {
	value   *T
	choices []T
}

func (c choiceValue[T]) String() string {
	if c.value == nil {
		return ""
	}
	return string(*c.value)
}
func (c choiceValue[T]) Type() string { return strings.Join(c.words(), "|") }

func (c choiceValue[T]) Set(text string) error {
	if !slices.Contains(c.choices, T(text)) {
		return fmt.Errorf("use %s", strings.Join(c.words(), ", "))
	}
	*c.value = T(text)
	return nil
}

func (c choiceValue[T]) words() []string {
	words := make([]string, len(c.choices))
	for i, choice := range c.choices {
		words[i] = string(choice)
	}
	return words
}

// sizeValue is a flag such as 64mb, in bytes.
type sizeValue struct{ bytes *int64 }

func (s sizeValue) String() string {
	if s.bytes == nil {
		return ""
	}
	return units.FlagBytes(*s.bytes)
}
func (s sizeValue) Type() string { return "size" }

func (s sizeValue) Set(text string) error {
	n, err := units.ParseBytes(text)
	if err != nil {
		return err
	}
	*s.bytes = n
	return nil
}

// windowValue is a duration, or `unlimited`.
type windowValue struct{ window *time.Duration }

const unlimited = "unlimited"

func (v windowValue) String() string {
	if v.window == nil || *v.window == migrate.UntilComplete {
		return unlimited
	}
	return v.window.String()
}
func (v windowValue) Type() string { return "duration" }

func (v windowValue) Set(text string) error {
	if text == unlimited {
		*v.window = migrate.UntilComplete
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 {
		return fmt.Errorf("use a duration such as 24h, 0 for none, or %s", unlimited)
	}
	*v.window = d
	return nil
}

// featuresValue is a flag that names features to drop.
type featuresValue struct{ features *[]rdb.Feature }

func (v featuresValue) String() string {
	if v.features == nil {
		return ""
	}
	words := make([]string, len(*v.features))
	for i, f := range *v.features {
		words[i] = string(f)
	}
	return strings.Join(words, ",")
}
func (v featuresValue) Type() string { return "feature" }

func (v featuresValue) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		f := rdb.Feature(strings.TrimSpace(word))
		if !slices.Contains(command.Features(), f) {
			return fmt.Errorf("%q: use %s", f, strings.Join(featureNames(), ", "))
		}
		if !slices.Contains(*v.features, f) {
			*v.features = append(*v.features, f)
		}
	}
	return nil
}

// namesValue is a flag that takes names.
type namesValue struct{ names *[]string }

func (v namesValue) String() string {
	if v.names == nil {
		return ""
	}
	return strings.Join(*v.names, ",")
}
func (v namesValue) Type() string { return "names" }

func (v namesValue) Set(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		name := strings.TrimSpace(word)
		if name == "" {
			return errors.New("a name is empty")
		}
		if !slices.Contains(*v.names, name) {
			*v.names = append(*v.names, name)
		}
	}
	return nil
}

// routeValue is a flag that maps dbs, one each time it is given.
type routeValue struct {
	route *route.Route
	given []string
}

func (v *routeValue) String() string { return strings.Join(v.given, " ") }
func (v *routeValue) Type() string   { return "mapping" }

func (v *routeValue) Set(text string) error {
	r, err := route.Parse(append(slices.Clone(v.given), text))
	if err != nil {
		return err
	}
	*v.route, v.given = r, append(v.given, text)
	return nil
}

// repeats tells of a flag that may be given several times, each time with one more value.
func repeats(v pflag.Value) bool {
	switch v.(type) {
	case featuresValue, namesValue, *routeValue:
		return true
	}
	return false
}

func featureNames() []string {
	features := command.Features()
	names := make([]string, len(features))
	for i, f := range features {
		names[i] = string(f)
	}
	return names
}

// Forms of output.
const (
	outputText = "text"
	outputJSON = "json"
)

// outputOptions say in what form a verb prints.
type outputOptions struct {
	form  string
	short bool // --json
}

func (o *outputOptions) addFlags(cmd *cobra.Command) {
	o.form = outputText
	fs := cmd.Flags()
	fs.Var(choiceValue[string]{&o.form, []string{outputText, outputJSON}}, "output", "form of the output")
	fs.BoolVar(&o.short, "json", false, "the same as --output json")
	completeChoices(cmd, "output", outputText, outputJSON)
}

func (o *outputOptions) json() bool { return o.short || o.form == outputJSON }

// completeChoices lets the shell complete the words of a flag.
func completeChoices(cmd *cobra.Command, flag string, choices ...string) {
	// It fails only for a flag that does not exist, which a test would show.
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(choices, cobra.ShellCompDirectiveNoFileComp))
}

// completeNone keeps the shell from completing file names for a flag.
func completeNone(cmd *cobra.Command, flags ...string) {
	for _, flag := range flags {
		_ = cmd.RegisterFlagCompletionFunc(flag, cobra.NoFileCompletions) // as above
	}
}

// setFlag sets a flag that the command line left alone, once for each value.
func setFlag(fs *pflag.FlagSet, name string, values ...string) error {
	f := fs.Lookup(name)
	if f == nil || f.Changed {
		return nil
	}
	for _, value := range values {
		if err := fs.Set(name, value); err != nil {
			return err
		}
	}
	return nil
}
