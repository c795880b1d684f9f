package main

import (
	"github.com/spf13/cobra"

	"godwit/internal/status"
)

func newCutoverCommand(s streams) *cobra.Command {
	var o switchOptions
	cmd := &cobra.Command{
		Use:     "cutover [NAME]",
		GroupID: groupSwitch,
		Short:   "Switch writes to the target",
		Long: `Makes the target the primary: the source pauses writes, the target drains what
is left of the stream, the source is demoted and the target promoted. Should
anything be late or fail before that, the source serves as before and the exit
code is 5. Afterwards the source follows the target, so that "godwit rollback"
can go back without loss.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return runSwitch(cmd.Context(), cmd, args, &o, s, (*status.Client).Cutover)
		},
	}
	o.addFlags(cmd, s)
	return cmd
}
