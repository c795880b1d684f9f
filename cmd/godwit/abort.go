package main

import (
	"github.com/spf13/cobra"

	"godwit/internal/migrate"
	"godwit/internal/status"
)

func newAbortCommand(s streams) *cobra.Command {
	var o endOptions
	cmd := &cobra.Command{
		Use:     "abort [NAME]",
		GroupID: groupSwitch,
		Short:   "Give the migration up before the switch",
		Long: `Detaches the target and restores every setting that godwit touched on it. The
source was never changed. Works without a running process too. After a cutover
there is nothing to abort: roll back first, or complete.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runEnd(cmd.Context(), cmd, args, &o, s, ender{(*status.Client).Abort, migrate.Running.Abort})
		},
	}
	o.addFlags(cmd, s)
	return cmd
}
