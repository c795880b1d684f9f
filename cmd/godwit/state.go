package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"godwit/internal/migrate"
)

// stateOptions say which migration is meant.
type stateOptions struct {
	name     string
	stateDir string
	file     string // -f
	// ownFields has the file say what the verb's own flags say, too, not only run's.
	ownFields bool
}

func (o *stateOptions) addFlags(cmd *cobra.Command, s streams) {
	fs := cmd.Flags()
	fs.StringVar(&o.name, "name", migrate.DefaultName, "`name` of the migration")
	fs.StringVar(&o.stateDir, "state-dir", defaultStateDir(s), "`directory` of the journal, lock and socket")
	fs.StringVarP(&o.file, "file", "f", "", "migration `file` in YAML: a field for each flag of run, ${VAR} from the environment; flags win")
	_ = cmd.MarkFlagDirname("state-dir")            // fails only for a flag that does not exist
	_ = cmd.MarkFlagFilename("file", "yaml", "yml") // as above
	_ = cmd.RegisterFlagCompletionFunc("name", o.completeName)
}

// completeName offers the migrations under the state directory.
func (o *stateOptions) completeName(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	names, err := migrate.List(o.stateDir)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// completeArg offers them for the first argument.
func (o *stateOptions) completeArg(cmd *cobra.Command, args []string, text string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.completeName(cmd, args, text)
}

// defaultStateDir is $XDG_STATE_HOME/godwit or ~/.local/state/godwit. The XDG
// base directory specification has relative paths ignored.
func defaultStateDir(s streams) string {
	if dir, _ := s.env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "godwit")
	}
	home, _ := s.env("HOME")
	if home == "" {
		return ""
	}
	return filepath.Join(home, ".local", "state", "godwit")
}

// load reads the migration file, if one is given, into the flags of cmd, and
// sees that there is a state directory.
func (o *stateOptions) load(cmd *cobra.Command, s streams) error {
	if o.file != "" {
		run, _, err := cmd.Root().Find([]string{"run"})
		if err != nil {
			return err
		}
		known := pflag.NewFlagSet("file", pflag.ContinueOnError)
		known.AddFlagSet(run.Flags())
		if o.ownFields {
			known.AddFlagSet(cmd.Flags())
		}
		if err := applyFile(o.file, cmd.Flags(), known, s.env); err != nil {
			return err
		}
	}
	if o.stateDir == "" {
		return usagef("give --state-dir", "no state directory: neither XDG_STATE_HOME nor HOME is set")
	}
	dir, err := filepath.Abs(o.stateDir)
	if err != nil {
		return usagef("", "--state-dir: %w", err)
	}
	o.stateDir = dir
	return nil
}

// choose settles which migration is meant: the argument, the name by flag or
// file, else the only one there is.
func (o *stateOptions) choose(fs *pflag.FlagSet, args []string) error {
	if len(args) > 0 {
		if fs.Changed("name") && o.name != args[0] {
			return usagef("", "two names are given, %s and %s", args[0], o.name)
		}
		o.name = args[0]
		return nil
	}
	if fs.Changed("name") {
		return nil
	}
	names, err := migrate.List(o.stateDir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	switch {
	case len(names) == 0 || slices.Contains(names, o.name):
		return nil
	case len(names) == 1:
		o.name = names[0]
		return nil
	}
	return usagef("name one of them", "there is no migration %s, but %s", o.name, strings.Join(names, ", "))
}

// missing words the error of a migration that the state directory does not know.
func (o *stateOptions) missing(err error) error {
	if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return &hintedError{
		err:  fmt.Errorf("no migration %s in %s", o.name, o.stateDir),
		hint: "start one with `godwit run`, or point --state-dir to where it was started",
	}
}
