package main

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// A migration file says in YAML what the flags of `godwit run` say: one field
// for each, with the flag's own name and value, or a list of values for a flag that
// may be repeated. So that nothing a flag can say
// is missing, the fields are not listed anywhere; the flags are.

// applyFile sets the flags of fs that the command line left alone from the
// migration file at path. known are the flags that a file may have: those of
// `godwit run`; a verb with fewer flags takes what concerns it.
func applyFile(path string, fs, known *pflag.FlagSet, env func(string) (string, bool)) error {
	file, err := os.Open(path)
	if err != nil {
		return usagef("", "migration file: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	var document, more yaml.Node
	decoder := yaml.NewDecoder(file)
	if err := decoder.Decode(&document); err != nil && !errors.Is(err, io.EOF) {
		return usagef("", "%s: %w", path, err)
	}
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return usagef("", "%s:%d: more than one document", path, more.Line)
	}
	if len(document.Content) == 0 || document.Content[0].Tag == "!!null" {
		return nil
	}
	root := document.Content[0]
	if root.Kind != yaml.MappingNode {
		return usagef("write one field a line, such as from: redis://host:6379", "%s:%d: not a mapping", path, root.Line)
	}
	seen := make(map[string]bool)
	for i := 0; i+1 < len(root.Content); i += 2 {
		field, value := root.Content[i], root.Content[i+1]
		at := fmt.Sprintf("%s:%d: %s", path, field.Line, field.Value)
		switch {
		case field.Value == "file" || known.Lookup(field.Value) == nil:
			return usagef(suggest(field.Value, known), "%s: unknown field", at)
		case seen[field.Value]:
			return usagef("", "%s: given twice", at)
		}
		seen[field.Value] = true
		texts, err := fileValues(value, known.Lookup(field.Value), env)
		if err != nil {
			return usagef("", "%s: %w", at, err)
		}
		if err := setFlag(fs, field.Value, texts...); err != nil {
			return usagef("", "%s: %w", at, err)
		}
	}
	return nil
}

// fileValues are what a field says: one value, or those of a list.
func fileValues(value *yaml.Node, flag *pflag.Flag, env func(string) (string, bool)) ([]string, error) {
	nodes := []*yaml.Node{value}
	if value.Kind == yaml.SequenceNode && repeats(flag.Value) {
		nodes = value.Content
	}
	texts := make([]string, len(nodes))
	for i, n := range nodes {
		switch {
		case n.Kind == yaml.MappingNode && repeats(flag.Value):
			return nil, errors.New("expected a value: put one that ends in a colon in quotes")
		case n.Kind != yaml.ScalarNode:
			return nil, errors.New("expected a single value")
		}
		var err error
		if texts[i], err = expand(n.Value, flag.Name == "from" || flag.Name == "to", env); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// expand replaces each ${NAME} by that variable of the environment; $${ stands
// for ${ itself. In a URL, a variable in the place of the user or password is
// taken literally, whatever characters it has.
func expand(text string, isURL bool, env func(string) (string, bool)) (string, error) {
	var missing error
	variable := regexp.MustCompile(`\$?\$\{([A-Za-z_][A-Za-z0-9_]*)\}`)
	userinfo := strings.LastIndexByte(text, '@')
	var b strings.Builder
	last := 0
	for _, at := range variable.FindAllStringSubmatchIndex(text, -1) {
		b.WriteString(text[last:at[0]])
		last = at[1]
		if strings.HasPrefix(text[at[0]:], "$$") {
			b.WriteString(text[at[0]+1 : at[1]])
			continue
		}
		name := text[at[2]:at[3]]
		value, found := env(name)
		if !found && missing == nil {
			missing = fmt.Errorf("the environment variable %s is not set", name)
		}
		if isURL && at[0] < userinfo {
			value = url.PathEscape(value)
			value = strings.NewReplacer("@", "%40", ":", "%3A").Replace(value)
		}
		b.WriteString(value)
	}
	b.WriteString(text[last:])
	return b.String(), missing
}

// suggest names the field that was probably meant.
func suggest(name string, known *pflag.FlagSet) string {
	wanted := strings.ReplaceAll(strings.ToLower(name), "_", "-")
	if known.Lookup(wanted) != nil && wanted != "file" {
		return "did you mean " + wanted + "?"
	}
	var names []string
	known.VisitAll(func(f *pflag.Flag) {
		if f.Name != "file" && f.Name != "help" {
			names = append(names, f.Name)
		}
	})
	slices.Sort(names)
	return "the fields are the flags of `godwit run`: " + strings.Join(names, ", ")
}
