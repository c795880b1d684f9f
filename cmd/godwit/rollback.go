package main

import (
	"github.com/spf13/cobra"

	"godwit/internal/status"
)

func newRollbackCommand(s streams) *cobra.Command {
	var o switchOptions
	cmd := &cobra.Command{
		Use:     "rollback [NAME]",
		GroupID: groupSwitch,
		Short:   "Switch writes back to the source",
		Long: `Makes the source the primary again, with every write that was made to the target
since the cutover. It is the cutover in the other direction, with the same
guarantees; a new cutover is possible afterwards.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSwitch(cmd.Context(), cmd, args, &o, s, (*status.Client).Rollback)
		},
	}
	o.addFlags(cmd, s)
	return cmd
}
