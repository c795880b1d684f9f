package main

import (
	"context"
	"errors"
	"runtime/debug"

	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"

	"godwit/internal/status"
)

// Groups of verbs in the help.
const (
	groupMove   = "move"
	groupSwitch = "switch"
	groupLook   = "look"
)

// execute runs one verb and returns its exit code. Nothing below it exits.
func execute(ctx context.Context, args []string, s streams) int {
	logging.Disable() // go-redis would write into the live view; its errors reach us anyway
	started := false
	root := newRootCommand(s) //nolint:contextcheck // the verbs get theirs from cobra
	root.PersistentPreRun = func(*cobra.Command, []string) { started = true }
	root.SetArgs(args)
	root.SetIn(s.in)
	root.SetOut(s.out)
	root.SetErr(s.err)
	cmd, err := root.ExecuteContextC(ctx)
	if err == nil {
		return status.ExitDone
	}
	if !started { // cobra refused the verb, a flag or an argument
		err = misused(cmd, err)
	}
	return report(s.err, err, wantsJSON(cmd))
}

func newRootCommand(s streams) *cobra.Command {
	root := &cobra.Command{
		Use:   "godwit",
		Short: "Move live Redis and Valkey data between servers",
		Long: `godwit moves live Redis and Valkey data from a source to a target while any
number of clients write. Nothing acknowledged is lost, the switch stalls writes
for milliseconds, and until you say "complete", one command goes back.

  godwit plan --from redis://a:6379 --to redis://b:6379    what would happen
  godwit run  --from redis://a:6379 --to redis://b:6379    copy and follow
  godwit verify                                            compare both, key by key
  godwit cutover                                           switch to b
  godwit rollback                                          and back to a
  godwit complete                                          end it for good

Exit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 refused by the
plan, 4 differences found, or calls that a cluster would refuse, 5 a switch gave
up and the old primary serves as before, 130 interrupted.`,
		Version:       programVersion(),
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate("godwit {{.Version}}\n")
	root.Flags().Bool("version", false, "print the version") // without cobra's -v, which is --verbose here
	root.AddGroup(
		&cobra.Group{ID: groupMove, Title: "Move data:"},
		&cobra.Group{ID: groupSwitch, Title: "Switch and end:"},
		&cobra.Group{ID: groupLook, Title: "Look:"},
	)
	root.AddCommand(
		newPlanCommand(s), newRunCommand(s), newDemoCommand(s),
		newCutoverCommand(s), newRollbackCommand(s), newCompleteCommand(s), newAbortCommand(s),
		newStatusCommand(s), newVerifyCommand(s), newInspectCommand(s), newAuditCommand(s), newClusterCommand(s),
		newVersionCommand(s), newManCommand(s),
	)
	return root
}

// version is set by the linker: -ldflags "-X main.version=v1.2.3".
var version string

// programVersion is the version that was built, else the module's as the go
// command recorded it.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" {
		return "(devel)"
	}
	return info.Main.Version
}

// misused words an error of cobra as one of usage.
func misused(cmd *cobra.Command, err error) error {
	var usage *usageError
	if errors.As(err, &usage) {
		return err
	}
	return &usageError{err: err, hint: "see `" + cmd.CommandPath() + " --help`"}
}
